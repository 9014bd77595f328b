//! Several instances of one CAS: the real program on PostgreSQL, over real sockets.

mod join;
mod partition;
mod recovery;
mod rollback;
mod upgrade;

use mse_api::cas::{AUDIT_LINES, AuditLines, SESSIONS, SessionView, StoredSession, Upload};
use mse_audit::entry::{Entry, Event};
use mse_ratls::cas::client::{CasClient, CasError};
use mse_runtime::process::CasSpec;
use mse_tests::cas_program::{CasMachine, Person, RunningCas};
use mse_tests::postgres::Database;
use mse_tests::programs::program;
use mse_workload::launch::CasStart;

async fn machine() -> CasMachine {
    CasMachine::new(&program("mse-cas")).await
}

/// How to launch the replica `name` on `database`.
fn spec(machine: &CasMachine, name: &str, database: &Database<'_>, start: CasStart) -> CasSpec {
    CasSpec {
        data: machine.folder.path().join(name),
        database: Some(database.url()),
        ..machine.spec(start)
    }
}

/// To join `cas`.
fn join(cas: &RunningCas) -> CasStart {
    CasStart::Join {
        address: cas.address.clone(),
        cas_key: cas.key,
        authorization: None,
    }
}

fn session(name: &str, word: &str, predecessor: Option<&str>) -> String {
    let predecessor = predecessor.map_or(String::new(), |hash| format!("predecessor: {hash}\n"));
    format!(
        "name: {name}
version: '0.3.12'
salt: {salt}
{predecessor}access_policy: {{read: [CREATOR], update: [CREATOR]}}
secrets:
- {{name: word, kind: ascii, value: {word}}}
",
        salt = "0a".repeat(16),
    )
}

async fn upload(client: &mut CasClient, text: String) -> Result<StoredSession, CasError> {
    client.post(SESSIONS, &Upload::Text(text)).await
}

async fn read(cas: &RunningCas, who: &Person, name: &str) -> Result<SessionView, CasError> {
    let mut client = cas.connect(Some(who)).await?;
    client.get(&format!("/v1/session?name={name}")).await
}

/// What happened, by the log of `cas`.
async fn events(cas: &RunningCas, owner: &Person) -> Vec<Event> {
    let mut client = cas.connect(Some(owner)).await.unwrap();
    let page: AuditLines = client.get(&format!("{AUDIT_LINES}?from=0")).await.unwrap();
    page.lines
        .iter()
        .filter(|line| !line.starts_with("{\"head\""))
        .map(|line| Entry::from_canonical(line.as_bytes()).unwrap().event)
        .collect()
}

/// The code and the message of a refusal.
fn refusal<T>(answer: Result<T, CasError>) -> (String, String) {
    match answer.err().expect("it is refused") {
        CasError::Refused { code, message, .. } => (code, message),
        other => panic!("{other}"),
    }
}

/// The program with one more byte at its end: it runs just the same.
fn changed_program(machine: &CasMachine) -> std::path::PathBuf {
    let mut bytes = std::fs::read(program("mse-cas")).unwrap();
    bytes.push(0);
    let path = machine.folder.path().join("mse-cas");
    std::fs::write(&path, bytes).unwrap();
    path
}
