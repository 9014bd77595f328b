//! Running a mesh on this machine.
//!
//! ```text
//! plan ─▶ engine (process or container) ─▶ one supervised task per service
//!                                            after others are well ─▶ launch ─▶ events ─▶ restart
//! ```

mod containers;
mod engine;
mod fleet;
mod folder;
mod service;
mod state;

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use engine::{Engine, EngineKind, Manner, NetworkKind};
pub(crate) use folder::RunFolder;
pub(crate) use service::{ENCLAVE, Line};
pub(crate) use state::{MeshState, Standing};

use self::fleet::Fleet;
use super::target::RunPlan;
use crate::failure::Failure;
use crate::interrupt::interrupted;

/// What asks a mesh that runs to take what was applied meanwhile.
pub(crate) const UPDATE: &str = "USR1";

/// Runs all services to their end, or until the user interrupts. `each` hears every line that a
/// service writes; `reload` gives what was applied since, when somebody asks for an update, and the
/// engine for it in the place of the one that there was.
pub(crate) async fn run(
    plan: RunPlan,
    engine: Engine,
    folder: &RunFolder,
    reload: impl AsyncFn(Engine) -> Result<(RunPlan, Engine), Failure>,
    each: impl Fn(&Line) + Clone + Send + Sync + 'static,
) -> Result<MeshState, Failure> {
    let mut updates =
        signal(SignalKind::user_defined1()).map_err(|error| Failure::other(error.to_string()))?;
    let mut fleet = Fleet::start(&plan, engine, folder, each)?;
    let interruption = interrupted();
    tokio::pin!(interruption);
    let mut is_asked = false;
    loop {
        if !is_asked {
            tokio::select! {
                () = fleet.ended() => break,
                _ = &mut interruption => {
                    fleet.stop().await;
                    break;
                }
                _ = updates.recv() => {}
            }
        }
        fleet.updating();
        let updated = async {
            let (plan, engine) = reload(fleet.engine()).await?;
            fleet.update(plan, engine).await
        };
        is_asked = tokio::select! {
            updated = updated => {
                fleet.updated(updated.err());
                false
            }
            // What was applied meanwhile counts, and what was applied before may never get well.
            _ = updates.recv() => {
                fleet.leave_off().await;
                true
            }
            _ = &mut interruption => {
                fleet.stop().await;
                break;
            }
        };
    }
    let state = fleet.finish().await?;
    folder.write(&state)?;
    Ok(state)
}
