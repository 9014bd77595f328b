//! One service of a mesh: started after others, watched, started again.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use mse_api::LogStream;
use mse_workload::launch::{Phase, ServiceCheck, ServiceEnd};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::engine::Engine;
use super::state::{ServiceState, Standing};
use crate::following::{Heard, follow};
use crate::mesh::target::RunService;

/// Before lines of the enclave in the log of a service.
pub(crate) const ENCLAVE: &str = "[enclave] ";

/// Who is well for so long starts anew with the shortest pause.
const SETTLED: Duration = Duration::from_secs(30);
/// The pauses before it is started again: this, twice as much, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A line that a service wrote, or its enclave.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) service: String,
    /// Whether the program wrote it, and not its enclave.
    pub(crate) is_program: bool,
    pub(crate) text: String,
}

pub(super) struct Supervised {
    pub(super) service: RunService,
    pub(super) engine: Engine,
    pub(super) log: File,
    /// Those that it comes after.
    pub(super) before: Vec<watch::Receiver<ServiceState>>,
    pub(super) state: watch::Sender<ServiceState>,
    pub(super) stopping: watch::Receiver<bool>,
}

/// How one run of a service ended.
enum Ended {
    /// It was asked to.
    Stopped,
    /// The program ended, with this code.
    Program(u8),
    /// A check failed.
    Refused(ServiceCheck),
    /// The enclave or its launcher ended for another reason.
    Otherwise,
}

impl Supervised {
    pub(super) async fn run(mut self, each: impl Fn(&Line)) {
        if self.wait_for_others().await.is_err() {
            self.set(Standing::Stopped, None);
            return;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            self.set(Standing::Attesting, None);
            let (ended, why) = self.once(&each).await;
            match ended {
                Ended::Stopped => return self.set(Standing::Stopped, why),
                Ended::Program(0) => return self.set(Standing::Done, why),
                Ended::Refused(check) if !is_passing(check) => {
                    return self.set(Standing::Failed, why);
                }
                Ended::Program(_) | Ended::Refused(_) | Ended::Otherwise => {}
            }
            if began.elapsed() > SETTLED {
                pause = FIRST_PAUSE;
            }
            self.set(Standing::Restarting, why);
            self.state.send_modify(|state| state.restarts += 1);
            tokio::select! {
                () = sleep(pause) => {}
                () = asked(&mut self.stopping) => return self.set(Standing::Stopped, None),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `Err`: it is to stop before it began.
    async fn wait_for_others(&mut self) -> Result<(), ()> {
        for other in &mut self.before {
            let well =
                |state: &ServiceState| matches!(state.standing, Standing::Healthy | Standing::Done);
            tokio::select! {
                found = other.wait_for(well) => found.map(drop).map_err(drop)?,
                () = asked(&mut self.stopping) => return Err(()),
            }
        }
        Ok(())
    }

    /// From its launch to its end.
    async fn once(&mut self, each: &impl Fn(&Line)) -> (Ended, Option<String>) {
        let mut running = match self.engine.launch(&self.service).await {
            Ok(running) => running,
            Err(error) => return (Ended::Otherwise, Some(error)),
        };
        self.state.send_modify(|state| state.pid = running.pid());
        let mut stopping = self.stopping.clone();
        let mut is_well = !self.service.checked;
        let mut runs = false;
        let ended = follow(&mut running, asked(&mut stopping), |heard| {
            match heard {
                Heard::Line(stream, text) => self.line(stream, text, each),
                Heard::Phase(Phase::Running) => {
                    runs = true;
                    self.set(how_it_runs(is_well, Standing::Starting), None);
                }
                Heard::Phase(_) => {}
                Heard::Health { well } => {
                    is_well = well;
                    if runs {
                        self.set(how_it_runs(well, Standing::Unhealthy), None);
                    }
                }
            }
            Ok::<_, Infallible>(())
        });
        let Ok(ended) = ended.await;
        drop(running);
        self.state.send_modify(|state| state.pid = None);
        let how = match ended.end {
            _ if ended.was_asked => Ended::Stopped,
            Some(ServiceEnd::Program { code }) => Ended::Program(code),
            Some(ServiceEnd::Refused { check }) => Ended::Refused(check),
            None => Ended::Otherwise,
        };
        (how, ended.reason.or(ended.how))
    }

    fn line(&mut self, stream: LogStream, text: String, each: &impl Fn(&Line)) {
        let is_program = stream == LogStream::App;
        // A full disk must not end the service.
        let _ = if is_program {
            writeln!(self.log, "{text}")
        } else {
            writeln!(self.log, "{ENCLAVE}{text}")
        };
        each(&Line {
            service: self.service.name.clone(),
            is_program,
            text,
        });
    }

    fn set(&self, standing: Standing, why: Option<String>) {
        self.state.send_modify(|state| {
            state.standing = standing;
            state.why = why;
        });
    }
}

fn how_it_runs(is_well: bool, otherwise: Standing) -> Standing {
    if is_well {
        Standing::Healthy
    } else {
        otherwise
    }
}

/// Returns when it is to stop.
async fn asked(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether what failed may be well the next time.
fn is_passing(check: ServiceCheck) -> bool {
    matches!(
        check,
        ServiceCheck::CasReachable | ServiceCheck::Machine | ServiceCheck::Renewal
    )
}
