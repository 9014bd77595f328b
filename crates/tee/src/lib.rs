//! What a program has inside a TEE, whichever TEE it is.
//!
//! | module | what |
//! | --- | --- |
//! | [`attester`] | evidence about this very program, from the simulated platform, configfs-tsm or Gramine |
//! | [`crowd`] | its listener's connections: bounded, and no stranger fills them |
//! | [`host`] | the socket to the launcher: quotes and orders come in, reports go out |
//! | [`program`] | what such programs have in common before they do anything |

pub mod attester;
pub mod crowd;
pub mod host;
pub mod program;
