//! All services of a mesh, each with the task that watches it; and their update, one at a time.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::engine::Engine;
use super::folder::RunFolder;
use super::service::{Line, Supervised};
use super::state::{MeshState, ServiceState, Standing};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::target::{RunPlan, RunService};

/// The services that run.
pub(super) struct Fleet<F> {
    engine: Engine,
    folder: RunFolder,
    each: F,
    /// In the order of the Meshfile.
    running: Vec<One>,
    /// Another version of one of them: the next until it is well, then the one before until it has
    /// ended.
    beside: Option<One>,
    /// The mesh as it is noted.
    noted: watch::Sender<Noted>,
    noting: JoinHandle<()>,
}

/// A service, and the task that watches it.
struct One {
    service: RunService,
    state: watch::Receiver<ServiceState>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What the state file is made of.
#[derive(Clone)]
struct Noted {
    plan: RunPlan,
    services: Vec<watch::Receiver<ServiceState>>,
    /// How many updates there were.
    updates: u32,
    updating: bool,
    /// Why the last one was given up.
    trouble: Option<String>,
}

impl<F: Fn(&Line) + Clone + Send + Sync + 'static> Fleet<F> {
    pub(super) fn start(
        plan: &RunPlan,
        engine: Engine,
        folder: &RunFolder,
        each: F,
    ) -> Result<Self, Failure> {
        let (noted, changes) = watch::channel(Noted {
            plan: plan.clone(),
            services: Vec::new(),
            updates: 0,
            updating: false,
            trouble: None,
        });
        let noting = tokio::spawn(note_changes(folder.clone(), changes));
        let mut fleet = Self {
            engine,
            folder: folder.clone(),
            each,
            running: Vec::new(),
            beside: None,
            noted,
            noting,
        };
        // All are known before any is started: one may come after another that is listed later.
        let mut waiting = Vec::new();
        let mut states = BTreeMap::new();
        for service in &plan.services {
            let (sender, receiver) = watch::channel(ServiceState::waiting(service));
            states.insert(service.name.clone(), receiver);
            waiting.push((service, sender));
        }
        for (service, state) in waiting {
            let one = fleet.supervise(service, state, &states)?;
            fleet.running.push(one);
        }
        fleet.note();
        Ok(fleet)
    }

    fn supervise(
        &self,
        service: &RunService,
        state: watch::Sender<ServiceState>,
        states: &BTreeMap<String, watch::Receiver<ServiceState>>,
    ) -> Result<One, Failure> {
        let (stop, stopping) = watch::channel(false);
        let before = service.after.iter();
        let receiver = state.subscribe();
        let supervised = Supervised {
            service: service.clone(),
            engine: self.engine.clone(),
            log: self.folder.log(&service.name)?,
            before: before
                .filter_map(|name| states.get(name).cloned())
                .collect(),
            state,
            stopping,
        };
        Ok(One {
            service: service.clone(),
            state: receiver,
            stop,
            task: tokio::spawn(supervised.run(self.each.clone())),
        })
    }

    /// Returns when all have ended by themselves.
    pub(super) async fn ended(&mut self) {
        for one in &mut self.running {
            if !one.task.is_finished() {
                let _ = (&mut one.task).await;
            }
        }
    }

    /// Ends all.
    pub(super) async fn stop(&mut self) {
        // An update was cut short.
        self.running.extend(self.beside.take());
        for one in &self.running {
            one.stop.send_replace(true);
        }
        self.ended().await;
    }

    /// Whoever asked for an update sees that it goes on.
    pub(super) fn updating(&self) {
        self.noted.send_modify(|noted| {
            noted.updating = true;
            noted.trouble = None;
        });
    }

    /// And how it ended.
    pub(super) fn updated(&self, trouble: Option<Failure>) {
        self.noted.send_modify(|noted| {
            noted.updating = false;
            noted.updates += 1;
            noted.trouble = trouble.map(|failure| failure.message().to_owned());
        });
    }

    /// What runs the services.
    pub(super) fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// Replaces the services that are others in `plan`, one after the other: the next when the one
    /// before is well. If one does not get well, the rest stay as they are.
    pub(super) async fn update(&mut self, plan: RunPlan, engine: Engine) -> Result<(), Failure> {
        self.engine = engine;
        let is_wanted = |one: &One| plan.services.iter().any(|new| new.name == one.service.name);
        for service in &plan.services {
            let at = self
                .running
                .iter()
                .position(|one| one.service.name == service.name);
            match at {
                Some(at) if self.running[at].is_as(service) => {}
                Some(at) if self.can_be_two(at, service) => self.exchange(at, service).await?,
                at => self.replace(at, service).await?,
            }
        }
        // Last, so that they stay known if a new one does not get well.
        while let Some(at) = self.running.iter().position(|one| !is_wanted(one)) {
            // Known until it has ended: this may be cut short.
            self.running[at].end().await;
            self.running.remove(at);
        }
        let order = |one: &One| {
            let mut names = plan.services.iter();
            names.position(|new| new.name == one.service.name)
        };
        self.running.sort_by_key(order);
        self.noted.send_modify(|noted| noted.plan = plan.clone());
        self.note();
        Ok(())
    }

    /// After an update that was cut short.
    pub(super) async fn leave_off(&mut self) {
        if let Some(one) = &mut self.beside {
            one.end().await;
        }
        self.beside = None;
    }

    /// One that has ended has nothing to keep.
    fn can_be_two(&self, at: usize, new: &RunService) -> bool {
        let old = &self.running[at];
        !old.task.is_finished() && self.engine.can_be_two(&old.service, new)
    }

    /// Ends the one before, if there is one, and then starts `new`.
    async fn replace(&mut self, at: Option<usize>, new: &RunService) -> Result<(), Failure> {
        if let Some(at) = at {
            self.running[at].end().await;
        }
        let one = self.begin(new)?;
        let mut state = one.state.clone();
        match at {
            Some(at) => self.running[at] = one,
            None => self.running.push(one),
        }
        self.note();
        until_settled(&mut state).await
    }

    /// Starts `new` beside the one before, which ends when `new` is well, and stays if it does not
    /// get well.
    async fn exchange(&mut self, at: usize, new: &RunService) -> Result<(), Failure> {
        let one = self.begin(new)?;
        let mut state = one.state.clone();
        self.beside = Some(one);
        let settled = until_settled(&mut state).await;
        // Both are known until one of them has ended: this may be cut short at each step.
        if settled.is_ok()
            && let Some(next) = &mut self.beside
        {
            std::mem::swap(&mut self.running[at], next);
            self.note();
        }
        self.leave_off().await;
        settled.map_err(|failure| {
            let stays = format!("{}; the one before still runs", failure.message());
            Failure::new(failure.exit(), stays)
        })
    }

    fn begin(&self, service: &RunService) -> Result<One, Failure> {
        let (sender, _) = watch::channel(ServiceState::waiting(service));
        self.supervise(service, sender, &self.states())
    }

    fn states(&self) -> BTreeMap<String, watch::Receiver<ServiceState>> {
        let running = self.running.iter();
        running
            .map(|one| (one.service.name.clone(), one.state.clone()))
            .collect()
    }

    fn note(&self) {
        let services = self.running.iter().map(|one| one.state.clone()).collect();
        self.noted.send_modify(|noted| noted.services = services);
    }

    /// The last state.
    pub(super) async fn finish(self) -> Result<MeshState, Failure> {
        self.noting.abort();
        self.engine.finish().await?;
        let state = self.noted.borrow().state();
        Ok(state)
    }
}

impl One {
    /// Whether it runs what `other` says, and is neither given up nor asked to end.
    fn is_as(&self, other: &RunService) -> bool {
        !self.task.is_finished()
            && !*self.stop.borrow()
            && serde_json::to_value(&self.service).ok() == serde_json::to_value(other).ok()
    }

    async fn end(&mut self) {
        self.stop.send_replace(true);
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }
}

/// Until it is well, or it is clear that it will not be.
async fn until_settled(state: &mut watch::Receiver<ServiceState>) -> Result<(), Failure> {
    let settled = |one: &ServiceState| {
        matches!(
            one.standing,
            Standing::Healthy | Standing::Done | Standing::Failed | Standing::Restarting
        )
    };
    let state = match state.wait_for(settled).await {
        Ok(state) => state.clone(),
        Err(_) => return Err(Failure::other("a service ended while it was started")),
    };
    match state.standing {
        Standing::Healthy | Standing::Done => Ok(()),
        _ => Err(Failure::new(
            Exit::Refused,
            format!(
                "the new `{}` does not run: {}",
                state.name,
                state.why.as_deref().unwrap_or("no word of why")
            ),
        )),
    }
}

impl Noted {
    fn state(&self) -> MeshState {
        let services = self.services.iter().map(|one| one.borrow().clone());
        MeshState {
            updates: self.updates,
            updating: self.updating,
            trouble: self.trouble.clone(),
            ..MeshState::of(&self.plan, services)
        }
    }
}

/// Keeps the state file as things are.
async fn note_changes(folder: RunFolder, mut changes: watch::Receiver<Noted>) {
    loop {
        let mut noted = changes.borrow_and_update().clone();
        for one in &mut noted.services {
            one.mark_unchanged();
        }
        if !noted.services.is_empty()
            && let Err(error) = folder.write(&noted.state())
        {
            tracing::warn!(%error, "the state of the mesh cannot be written");
        }
        let mut services = noted.services;
        let services = services.iter_mut().map(|one| Box::pin(changed(one)));
        let any = async {
            if services.len() == 0 {
                std::future::pending::<()>().await;
            }
            futures_util::future::select_all(services).await;
        };
        tokio::select! {
            () = any => {}
            more = changes.changed() => if more.is_err() { return; },
        }
    }
}

/// One that has ended changes no more; the others may.
async fn changed(state: &mut watch::Receiver<ServiceState>) {
    if state.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
