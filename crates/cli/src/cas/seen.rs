//! Where the store of a pinned CAS was when it was last spoken to, kept beside the pin: a store that
//! was set back since is found out.

use std::fmt;
use std::path::PathBuf;

use mse_api::cas::PositionView;
use serde::{Deserialize, Serialize};

use super::{CasName, CasPin};
use crate::conf_dir::ConfDir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// A position is much shorter.
const MAX_FILE: u64 = 4096;

/// The file with the position. 0600, JSON: `{"store", "sequence", "head"}`.
#[derive(Clone)]
pub(crate) struct Seen {
    file: PathBuf,
    store: String,
}

/// A position as it is asked about: `sequence:head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    store: String,
    pub(crate) sequence: u64,
    pub(crate) head: String,
}

impl Seen {
    pub(crate) fn of(conf: &ConfDir, name: &CasName, pin: &CasPin) -> Self {
        Self {
            file: conf.cas_pins().join(file_name(name)),
            store: pin.store_id.clone(),
        }
    }

    /// What was seen of this very store, if anything.
    pub(crate) fn load(&self) -> Result<Option<Position>, Failure> {
        let Some(text) = private_file::read(&self.file, MAX_FILE)? else {
            return Ok(None);
        };
        let seen: Position = serde_json::from_str(&text).map_err(|error| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!("`{}`: {error}", self.file.display()),
            )
            .with_hint("it says where the CAS was when you last spoke to it; restore it from a backup, or accept the CAS as it is: `mse cas position --accept`")
        })?;
        // After the name was given to another CAS, the file speaks of another store.
        Ok((seen.store == self.store).then_some(seen))
    }

    /// Remembers the position of an answer that was accepted, unless a later one is known.
    pub(crate) fn remember(&self, position: Option<&str>) -> Result<(), Failure> {
        let Some((sequence, head)) = position.and_then(|text| text.split_once(':')) else {
            return Ok(());
        };
        let Ok(sequence) = sequence.parse() else {
            return Ok(());
        };
        match self.load()? {
            Some(known) if known.sequence == sequence && known.head != head => {
                Err(forked(sequence))
            }
            // Another replica may be a little behind.
            Some(known) if known.sequence >= sequence => Ok(()),
            _ => self.write(sequence, head),
        }
    }

    /// Takes a position for what was seen, whatever was before.
    pub(crate) fn replace(&self, position: &PositionView) -> Result<(), Failure> {
        self.write(position.sequence, &position.head)
    }

    /// Refuses the position of another store than the CAS had when it was attested.
    pub(crate) fn prove_store(&self, position: &PositionView) -> Result<(), Failure> {
        if position.store == self.store {
            return Ok(());
        }
        Err(Failure::new(
            Exit::RolledBack,
            format!(
                "THE CAS HAS ANOTHER STORE: `{}`, and it had `{}` when it was attested",
                position.store, self.store
            ),
        )
        .with_hint("do not use it before its owner has told you why; then attest it again: `mse cas attest ADDRESS --replace`"))
    }

    fn write(&self, sequence: u64, head: &str) -> Result<(), Failure> {
        let seen = Position {
            store: self.store.clone(),
            sequence,
            head: head.to_owned(),
        };
        let json = serde_json::to_string(&seen)
            .map_err(|error| Failure::other(format!("the position cannot be written: {error}")))?;
        private_file::write(&self.file, format!("{json}\n").as_bytes())
    }
}

fn forked(sequence: u64) -> Failure {
    Failure::new(
        Exit::RolledBack,
        format!(
            "THE STORE OF THE CAS WAS FORKED: its transaction {sequence} is not the one that was seen before"
        ),
    )
    .with_hint("give this CAS nothing and take nothing from it before its owner has told you why")
}

/// The name of the file, in the folder of the pins.
pub(super) fn file_name(name: &CasName) -> String {
    format!("{name}.position")
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(folder: &std::path::Path, store: &str) -> Seen {
        Seen {
            file: folder.join("prod.position"),
            store: store.to_owned(),
        }
    }

    #[test]
    fn what_was_seen_only_moves_on_and_is_of_one_store() {
        let folder = tempfile::tempdir().unwrap();
        let one = seen(folder.path(), "aa");
        assert!(one.load().unwrap().is_none());
        one.remember(None).unwrap();
        assert!(one.load().unwrap().is_none());
        for position in ["7:ff", "3:00", "7:ff", "no", "x:1"] {
            one.remember(Some(position)).unwrap();
            assert_eq!(one.load().unwrap().unwrap().to_string(), "7:ff");
        }
        let forked = one.remember(Some("7:fe"));
        assert_eq!(forked.unwrap_err().exit(), Exit::RolledBack);
        one.remember(Some("8:ee")).unwrap();
        assert_eq!(one.load().unwrap().unwrap().to_string(), "8:ee");
        assert!(seen(folder.path(), "bb").load().unwrap().is_none());
        let set_back = PositionView {
            store: "aa".into(),
            sequence: 2,
            head: "11".into(),
        };
        one.prove_store(&set_back).unwrap();
        let refused = seen(folder.path(), "bb").prove_store(&set_back);
        assert_eq!(refused.unwrap_err().exit(), Exit::RolledBack);
        one.replace(&set_back).unwrap();
        assert_eq!(one.load().unwrap().unwrap().to_string(), "2:11");
        std::fs::write(folder.path().join("prod.position"), "{").unwrap();
        assert!(one.load().is_err());
    }
}
