//! Secrets that nobody sees: generated inside, formatted as programs want them.
//!
//! | module | what |
//! | --- | --- |
//! | [`kind`], [`format`](mod@format) | the kinds of secrets and their forms, as sessions name them |
//! | [`spec`], [`names`], [`validity`] | what is to be made: kinds with their parameters |
//! | [`given`] | what an owner writes into a session, checked by its kind |
//! | [`value`], [`frame`] | what was made or given, and its compact form for the store |
//! | [`generate`](mod@generate) | makes values, renews them, and says what an update keeps |
//! | [`key`], [`certificate`], [`jwt`], [`pgp`] | the material of each kind |
//! | [`render`](mod@render), [`pkcs12`] | the bytes that a program gets |
//! | [`versioned`] | a value and the one before it, with a time of grace |
//! | [`owner`] | values that an owner sends sealed to the CAS |
//!
//! Everyone else's formats need primitives that MSE itself does not use (RSA, SHA-1 for the names of
//! OpenPGP keys, AES-CBC and PBKDF2 for PKCS#12): they are called here, and stay out of `mse-crypto`.
//!
//! Nothing here reads a clock, a file or the network: the time is a parameter, and so are the other
//! secrets that one is made from.

mod certificate;
mod format;
mod frame;
mod generate;
mod given;
mod jwt;
mod key;
mod kind;
mod names;
mod owner;
mod pgp;
mod pkcs12;
mod render;
mod spec;
mod validity;
mod value;
mod versioned;

pub use certificate::IssueError;
pub use format::{Format, PgpEncoding, PgpHalf, UnknownFormat};
pub use generate::{ALPHABET, Dependencies, GenerateError, generate, migrates, renew};
pub use given::{Given, InvalidGiven, MAX_GIVEN_BYTES};
pub use key::{Algorithm, InvalidKey, PrivateKey, PublicKey};
pub use kind::{KeyType, Kind, UnknownKeyType, UnknownKind};
pub use names::{DnsName, InvalidName, SubjectAltName};
pub use owner::{Binding, InvalidOwnerValue, OwnerValue};
pub use render::{RenderError, escape_json, render};
pub use spec::{
    CertificateSpec, Endpoint, InvalidPayload, InvalidSize, JwtPayload, JwtSpec, KeySource, Role,
    Size, Spec, UnknownEndpoint,
};
pub use validity::{InvalidValidity, Validity};
pub use value::{InvalidValue, Value};
pub use versioned::{Accepted, NotAccepted, Version, Versioned};
