//! What the end-to-end tests and the benchmarks share: the real programs, started over real sockets.

pub mod bench;
pub mod capture;
pub mod cas;
pub mod cas_program;
pub mod cluster;
pub mod containers;
pub mod enclave;
pub mod example_mesh;
pub mod image_root;
pub mod kubernetes;
pub mod namespaces;
pub mod node;
pub mod operator;
pub mod owner;
pub mod platform;
pub mod played;
pub mod postgres;
pub mod programs;
pub mod redis_and_flask;
pub mod registry;
pub mod releases;
pub mod rest;
pub mod services;
pub mod stranger;
