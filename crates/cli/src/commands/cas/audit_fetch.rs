//! `mse cas audit head`, `fetch` and `watch`

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use mse_api::cas::{AUDIT_HEAD, AUDIT_LINES, AuditLines};
use mse_audit::export::{FORMAT, Header, MAX_LINE};
use mse_audit::head::SignedHead;
use mse_crypto::signing::VerifyingKey;
use serde::Serialize;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::audit::Export;
use crate::cas::{CasChoice, KnownCas};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Report, good, pairs};

/// Entries that are asked for at once: they fit into an answer, however long they are.
const PAGE: u64 = 256;

/// Show the newest head of a CAS's audit log, its signature verified
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas audit head
  mse cas audit head --json | jq .tree_size")]
pub(super) struct HeadCommand {
    #[command(flatten)]
    cas: CasChoice,
}

impl HeadCommand {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let key = cas.audit_key()?;
        let head = newest_head(&mut cas, &key).await?;
        scene.ui.report(&Shown(head))
    }
}

/// Fetch the whole audit log of a CAS into a file
///
/// The file is what `mse cas audit verify` reads; it ends with the newest head at the time of asking,
/// whose signature is verified under the key that was attested. Its owner may read the log, and who
/// may update the session `/`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas audit fetch -o log.jsonl
  mse cas audit fetch -o log.jsonl --key-file log.pub.pem && mse cas audit verify log.jsonl --key log.pub.pem")]
pub(super) struct Fetch {
    /// Write the log to this file, which only you may read; it is replaced as a whole
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write the log's public key (PEM), as it was attested, to this file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    cas: CasChoice,
}

impl Fetch {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let key = cas.audit_key()?;
        let (file, head) = fetch(scene, &mut cas, &key, folder_of(&self.output)).await?;
        file.persist(&self.output)
            .map_err(|error| Failure::file("write", &self.output, &error.error))?;
        if let Some(file) = &self.key_file {
            crate::private_file::write(file, key.to_pem().as_bytes())?;
        }
        scene.ui.report(&Fetched {
            file: self.output,
            head,
        })
    }
}

/// Fetch the audit log of a CAS, verify it, and keep what was seen: in one go, for cron
///
/// Ends with 0 only if the log is whole, unchanged, and goes on from what the witness file knows;
/// with the exit codes of `mse cas audit verify`, and 11 if the store of the CAS was set back.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas audit watch --witness seen.json
  mse cas audit watch --witness seen.json -o log.jsonl --json")]
pub(super) struct Watch {
    /// What earlier runs have seen; made if it is not there
    #[arg(long, value_name = "FILE")]
    witness: PathBuf,
    /// Keep the log in this file, also if it is not in order
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cas: CasChoice,
}

impl Watch {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let key = cas.audit_key()?;
        let name = format!("the log of {}", cas.name);
        let export = |file| Export {
            file,
            name: &name,
            key: &key,
        };
        let near = self.output.as_deref().unwrap_or(&self.witness);
        let (file, _) = fetch(scene, &mut cas, &key, folder_of(near)).await?;
        match &self.output {
            None => export(file.path()).verify(scene, Some(&self.witness)),
            Some(output) => {
                file.persist(output)
                    .map_err(|error| Failure::file("write", output, &error.error))?;
                export(output).verify(scene, Some(&self.witness))
            }
        }
    }
}

/// Writes an export into a temporary file in `folder`: up to the newest head when it begins,
/// whatever is appended meanwhile.
async fn fetch(
    scene: &Scene<'_>,
    cas: &mut KnownCas,
    key: &VerifyingKey,
    folder: &Path,
) -> Result<(NamedTempFile, SignedHead), Failure> {
    let head = newest_head(cas, key).await?;
    let size = head.head().tree_size;
    let failed = |error: std::io::Error| Failure::file("write into the folder", folder, &error);
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    let header = Header {
        export: FORMAT.to_owned(),
        frontier: Vec::new(),
        head: head.clone(),
        start: 0,
    };
    let header = serde_json::to_string(&header)
        .map_err(|error| Failure::other(format!("the header cannot be written: {error}")))?;
    writeln!(out, "{header}").map_err(failed)?;
    let step = scene.ui.step(format!("Fetching {size} entries"));
    let mut from = 0;
    while from < size {
        let limit = PAGE.min(size - from);
        let (start, count) = (from.to_string(), limit.to_string());
        let page: AuditLines = cas
            .get(AUDIT_LINES, &[("from", &start), ("limit", &count)])
            .await?;
        prove_page(&page, from, limit)?;
        for line in &page.lines {
            writeln!(out, "{line}").map_err(failed)?;
        }
        from += limit;
    }
    out.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    step.done(&format!("Fetched {size} entries"));
    Ok((file, head))
}

/// That a page has the form of one. What it says is for the auditor.
fn prove_page(page: &AuditLines, from: u64, limit: u64) -> Result<(), Failure> {
    let wrong = |what: String| {
        Failure::new(
            Exit::Audit(mse_audit::verify::Verdict::Malformed),
            format!("the CAS gives no log: {what}"),
        )
        .with_hint("tell the owner of the CAS")
    };
    if let Some(line) = page
        .lines
        .iter()
        .find(|line| line.len() > MAX_LINE || line.contains(['\n', '\r']))
    {
        return Err(wrong(format!(
            "a line of {} bytes is too long, or is several",
            line.len()
        )));
    }
    // Behind each entry is one checkpoint at most.
    let most = usize::try_from(limit.saturating_mul(2)).unwrap_or(usize::MAX);
    if page.next != from + limit || page.lines.len() > most {
        return Err(wrong(format!(
            "asked for {limit} entries from number {from}, it goes to {} with {} lines",
            page.next,
            page.lines.len()
        )));
    }
    Ok(())
}

async fn newest_head(cas: &mut KnownCas, key: &VerifyingKey) -> Result<SignedHead, Failure> {
    let head: Option<Value> = cas.get(AUDIT_HEAD, &[]).await?;
    let head = head
        .ok_or_else(|| Failure::new(Exit::NotFound, "the audit log of the CAS has no entry yet"))?;
    verified(&head, key)
}

fn verified(head: &Value, key: &VerifyingKey) -> Result<SignedHead, Failure> {
    let refused = |why: String| {
        Failure::new(
            Exit::Refused,
            format!("the head of the audit log is not the attested CAS's: {why}"),
        )
        .with_hint("nothing was kept of it; tell the owner of the CAS")
    };
    let head = SignedHead::from_json(head.to_string().as_bytes())
        .map_err(|error| refused(error.to_string()))?;
    head.verify(key)
        .map_err(|error| refused(error.to_string()))?;
    Ok(head)
}

fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(SignedHead);

impl Report for Shown {
    fn text(&self) -> String {
        let head = self.0.head();
        pairs(&[
            ("Log", head.log_id.to_string()),
            ("Entries", head.tree_size.to_string()),
            ("Root", head.root.to_string()),
            ("Signed", rfc3339(head.time.get())),
        ])
    }
}

fn rfc3339(milliseconds: u64) -> String {
    crate::moment::rfc3339(milliseconds / 1000)
}

#[derive(Serialize)]
struct Fetched {
    file: PathBuf,
    head: SignedHead,
}

impl Report for Fetched {
    fn text(&self) -> String {
        format!(
            "{} {}\n{}",
            good("The audit log has been saved at:"),
            self.file.display(),
            Shown(self.head.clone()).text()
        )
    }
}

#[cfg(test)]
mod tests {
    use mse_audit::entry::UnixMillis;
    use mse_audit::head::{Head, LogId};
    use mse_crypto::Digest;
    use mse_crypto::signing::{Algorithm, SigningKey};

    use super::*;

    #[test]
    fn only_the_attested_key_signs_heads() {
        let keys = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519));
        let head = Head {
            log_id: LogId::of(&keys[0].public()),
            previous: None,
            root: Digest::of(b""),
            time: UnixMillis::now(),
            tree_size: 7,
        }
        .sign(&keys[0]);
        let mut json: Value = serde_json::from_slice(&head.to_json()).unwrap();
        assert!(verified(&json, &keys[0].public()).is_ok());
        assert!(verified(&json, &keys[1].public()).is_err());
        json["tree_size"] = 8.into();
        assert!(verified(&json, &keys[0].public()).is_err());
    }

    #[test]
    fn pages_have_what_was_asked_for() {
        let page = |lines: &[&str], next| AuditLines {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            next,
            head: None,
        };
        assert!(prove_page(&page(&["a", "b"], 12), 10, 2).is_ok());
        assert!(prove_page(&page(&["a"], 11), 10, 2).is_err());
        assert!(prove_page(&page(&["a\nb"], 12), 10, 2).is_err());
        assert!(prove_page(&page(&["a"; 5], 12), 10, 2).is_err());
        assert!(prove_page(&page(&[&"x".repeat(MAX_LINE + 1)], 12), 10, 2).is_err());
    }
}
