//! Running a mesh on this machine.
//!
//! ```text
//! plan ─▶ engine (process or container) ─▶ one supervised task per service
//!                                            after others are well ─▶ launch ─▶ events ─▶ restart
//! ```

mod containers;
mod engine;
mod folder;
mod service;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use engine::{Engine, EngineKind, Manner, NetworkKind};
pub(crate) use folder::RunFolder;
pub(crate) use service::Line;
pub(crate) use state::{MeshState, ServiceState, Standing};

use self::service::Supervised;
use super::target::RunPlan;
use crate::failure::Failure;
use crate::interrupt::interrupted;

/// How long programs may take to end.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Runs all services to their end, or until the user interrupts. `each` hears every line that a
/// service writes.
pub(crate) async fn run(
    plan: &RunPlan,
    engine: Engine,
    folder: &RunFolder,
    each: impl Fn(&Line) + Clone + Send + Sync + 'static,
) -> Result<MeshState, Failure> {
    let (stop, stopping) = watch::channel(false);
    let mut receivers = BTreeMap::new();
    let mut senders = Vec::new();
    for service in &plan.services {
        let (sender, receiver) = watch::channel(ServiceState::waiting(service));
        receivers.insert(service.name.clone(), receiver);
        senders.push((service, sender));
    }
    let mut tasks = JoinSet::new();
    for (service, state) in senders {
        let before = service
            .after
            .iter()
            .filter_map(|name| receivers.get(name).cloned())
            .collect();
        let supervised = Supervised {
            service: service.clone(),
            engine: engine.clone(),
            log: folder.log(&service.name)?,
            before,
            state,
            stopping: stopping.clone(),
        };
        tasks.spawn(supervised.run(each.clone()));
    }
    let noting = {
        let folder = folder.clone();
        let plan = plan.clone();
        let receivers = receivers.clone();
        tokio::spawn(async move { note_changes(&folder, &plan, receivers).await })
    };
    let ended = async { while tasks.join_next().await.is_some() {} };
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        _ = interrupted() => {
            stop.send_replace(true);
            ended.await;
        }
    }
    noting.abort();
    engine.finish().await?;
    let state = MeshState::of(plan, receivers.values().map(|one| one.borrow().clone()));
    folder.write(&state)?;
    Ok(state)
}

/// Keeps the state file as things are.
async fn note_changes(
    folder: &RunFolder,
    plan: &RunPlan,
    mut receivers: BTreeMap<String, watch::Receiver<ServiceState>>,
) {
    loop {
        let states = receivers
            .values_mut()
            .map(|one| one.borrow_and_update().clone());
        let state = MeshState::of(plan, states);
        if let Err(error) = folder.write(&state) {
            tracing::warn!(%error, "the state of the mesh cannot be written");
        }
        let changes = receivers.values_mut().map(|one| Box::pin(one.changed()));
        if futures_util::future::select_all(changes).await.0.is_err() {
            // One that has ended changes no more; the others may.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
