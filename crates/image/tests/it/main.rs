//! Images, built and moved with the tools of this machine.

mod build;
mod fixture;
mod platform;
mod registry;
mod server;
mod tiny;
mod unpack;
