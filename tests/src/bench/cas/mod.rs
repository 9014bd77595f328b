//! The CAS under load: the real program on a simulated platform, with its SQLite store and its
//! witness on the disk, over real sockets. The clients run on the same cores.
//!
//! | module | what |
//! | --- | --- |
//! | `side` | a CAS with sessions |
//! | `wire` | a client that costs little, so that the server gets the cores |
//! | `load` | many clients at once: rates, latencies, the server's processor time |
//! | `releases`, `floor` | releases, and what they cannot cost less than |
//! | `flood` | strangers who open connections and say nothing |
//! | `sessions` | updates against the disk's own flushes; a store with many sessions |

pub(super) mod flood;
mod floor;
mod load;
pub(super) mod releases;
pub(super) mod sessions;
mod side;
mod wire;
