//! The whole server over its real sockets, with a stand-in for the enclave program and for the
//! Python environments: what it does with requests, crashes and time.

mod bench;
mod create;
mod gateway;
mod life;
mod login;
mod openapi;
mod outage;
mod pccs;
mod program;
mod recovery;
mod strangers;
