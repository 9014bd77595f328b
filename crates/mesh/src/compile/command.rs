//! The command line of a service. It is taken apart before values are put in, so that a value is a
//! part of one word.

use mse_crypto::Zeroizing;
use mse_session::{HostArguments, Template};
use serde_json::{Value, json};

use super::{CompileError, shield};
use crate::model::ServiceName;
use crate::text::{MeshPiece, MeshText};
use crate::values::MeshValues;

/// Words with their values.
pub(super) struct CommandLine {
    /// As the program gets them, but for references.
    pub(super) meant: Vec<Zeroizing<String>>,
    /// As the session says them.
    written: Vec<Zeroizing<String>>,
    /// Values that would ask the host for a word. The session refers to them, since what a reference
    /// stands for is not looked into.
    kept: Vec<Zeroizing<String>>,
}

impl CommandLine {
    pub(super) fn of(
        service: &ServiceName,
        text: &MeshText,
        values: &MeshValues,
    ) -> Result<Self, CompileError> {
        let wrong = |why: String| CompileError::Text {
            service: service.clone(),
            what: "`command`".to_owned(),
            why,
        };
        let words = text
            .words()
            .ok_or_else(|| wrong("a quotation mark is not closed".to_owned()))?;
        let mut line = Self {
            meant: Vec::new(),
            written: Vec::new(),
            kept: Vec::new(),
        };
        for word in words {
            let meant = values
                .resolve(&word)
                .map_err(|error| CompileError::Undefined {
                    service: service.clone(),
                    error: error.at("`command`"),
                })?;
            let is_own = asked_by_itself(&word)
                .is_some_and(|own| asked(&meant).is_ok_and(|asked| asked == own));
            let written = if is_own {
                meant.clone()
            } else {
                line.keep(&word, values)
            };
            asked(&written).map_err(wrong)?;
            line.meant.push(meant);
            line.written.push(written);
        }
        Ok(line)
    }

    /// The word, with references in the place of its values.
    fn keep(&mut self, word: &MeshText, values: &MeshValues) -> Zeroizing<String> {
        let mut written = Zeroizing::new(String::new());
        for piece in word.pieces() {
            match piece {
                MeshPiece::Literal(text) => written.push_str(text),
                MeshPiece::Variable(variable) => {
                    let value = values.get(variable.name()).or(variable.default());
                    self.kept
                        .push(Zeroizing::new(value.unwrap_or_default().to_owned()));
                    written.push_str("$$MSE::");
                    written.push_str(&name(self.kept.len()));
                    written.push_str("$$");
                }
            }
        }
        written
    }

    /// For the session.
    pub(super) fn words(&self) -> Vec<&str> {
        self.written.iter().map(|word| word.as_str()).collect()
    }

    /// What its words refer to.
    pub(super) fn secrets(&self) -> impl Iterator<Item = Value> {
        let kept = (1..).zip(&self.kept);
        kept.map(|(number, value)| {
            json!({"name": name(number), "kind": "ascii", "value": value.as_str()})
        })
    }
}

fn name(number: usize) -> String {
    format!("{}word-{number}", shield::PREFIX)
}

/// Which words of the host's a word asks for, whatever its values are. None: it cannot be said.
fn asked_by_itself(word: &MeshText) -> Option<Vec<u16>> {
    let shape: String = word
        .pieces()
        .iter()
        .map(|piece| match piece {
            MeshPiece::Literal(text) => text.as_str(),
            // Part of a name, if it stands in a reference, and of no number.
            MeshPiece::Variable(_) => "x",
        })
        .collect();
    asked(&shape).ok()
}

fn asked(text: &str) -> Result<Vec<u16>, String> {
    let parsed = Template::parse(text, HostArguments::Allowed);
    let parsed = parsed.map_err(|error| error.to_string())?;
    Ok(parsed.template.host_arguments().collect())
}
