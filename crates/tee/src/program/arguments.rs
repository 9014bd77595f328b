//! What a program inside a TEE was started to do.

use std::path::PathBuf;

use crate::attester::{Choice, MAX_PRIVILEGE_LEVEL, UnknownChoice, Wish};

/// The environment variable that chooses the attester where there is no `--attester`.
pub(crate) const ATTESTER: &str = "MSE_ATTESTER";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Be an enclave: a launcher has the other end of standard input.
    Run(Wish),
    /// Show what the attester gives.
    Attest {
        /// The root directory of the machine.
        root: PathBuf,
        /// Which attester.
        wish: Wish,
    },
    /// Print the version.
    Version,
}

/// Reads the arguments after the program's name, and the value of [`ATTESTER`].
pub(crate) fn parse(
    arguments: impl Iterator<Item = String>,
    attester: Option<String>,
) -> Result<Command, UsageError> {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == "--version").is_some() {
        return match arguments.next() {
            None => Ok(Command::Version),
            Some(more) => Err(UsageError::Unexpected(more)),
        };
    }
    let is_attest = arguments.next_if(|first| first == "attest").is_some();
    let mut root = PathBuf::from("/");
    let mut wish = Wish::default();
    let mut chosen = None;
    while let Some(option) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| UsageError::NoValue(option.clone()))
        };
        match option.as_str() {
            "--attester" => chosen = Some(value()?),
            "--vmpl" => wish.privilege_level = Some(level(&value()?)?),
            "--root" if is_attest => root = value()?.into(),
            _ => return Err(UsageError::Unexpected(option)),
        }
    }
    if let Some(name) = chosen.or(attester) {
        wish.kind = name.parse::<Choice>()?;
    }
    Ok(if is_attest {
        Command::Attest { root, wish }
    } else {
        Command::Run(wish)
    })
}

fn level(text: &str) -> Result<u8, UsageError> {
    text.parse()
        .ok()
        .filter(|level| *level <= MAX_PRIVILEGE_LEVEL)
        .ok_or_else(|| UsageError::Level(text.to_owned()))
}

/// Arguments that make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// Not known, or not here.
    #[error("unexpected argument `{0}`")]
    Unexpected(String),
    /// An option at the end.
    #[error("`{0}` needs a value")]
    NoValue(String),
    /// No such level.
    #[error("`{0}` is no privilege level: `--vmpl` takes 0 to {MAX_PRIVILEGE_LEVEL}")]
    Level(String),
    /// No such attester.
    #[error(transparent)]
    Attester(#[from] UnknownChoice),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], attester: Option<&str>) -> Result<Command, UsageError> {
        parse(
            arguments.iter().map(|argument| (*argument).to_owned()),
            attester.map(str::to_owned),
        )
    }

    fn wish(kind: Choice, privilege_level: Option<u8>) -> Wish {
        Wish {
            kind,
            privilege_level,
        }
    }

    #[test]
    fn a_launcher_gives_no_arguments() {
        assert_eq!(parsed(&[], None), Ok(Command::Run(Wish::default())));
        assert_eq!(parsed(&["--version"], None), Ok(Command::Version));
    }

    #[test]
    fn the_option_wins_over_the_environment() {
        let run = |kind| Ok(Command::Run(wish(kind, None)));
        assert_eq!(parsed(&[], Some("tsm")), run(Choice::Tsm));
        assert_eq!(
            parsed(&["--attester", "gramine"], Some("tsm")),
            run(Choice::Gramine)
        );
        assert_eq!(
            parsed(&["--attester", "simulated"], None),
            run(Choice::Simulated)
        );
        assert_eq!(parsed(&[], Some("auto")), run(Choice::Auto));
    }

    #[test]
    fn a_self_check_takes_a_root() {
        assert_eq!(
            parsed(&["attest", "--root", "/tmp/x", "--vmpl", "3"], None),
            Ok(Command::Attest {
                root: "/tmp/x".into(),
                wish: wish(Choice::Auto, Some(3)),
            })
        );
        // A running enclave looks at its own machine and at no other.
        assert_eq!(
            parsed(&["--root", "/tmp/x"], None),
            Err(UsageError::Unexpected("--root".into()))
        );
    }

    #[test]
    fn nobody_chooses_the_report_data() {
        assert_eq!(
            parsed(&["attest", "--report-data", "00"], None),
            Err(UsageError::Unexpected("--report-data".into()))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for level in ["4", "-1", "", "x"] {
            assert_eq!(
                parsed(&["--vmpl", level], None),
                Err(UsageError::Level(level.into()))
            );
        }
        assert_eq!(
            parsed(&["--attester"], None),
            Err(UsageError::NoValue("--attester".into()))
        );
        let error = parsed(&["--attester", "nitro"], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`nitro` is no attester: choose `auto`, `simulated`, `tsm` or `gramine`"
        );
        assert!(matches!(
            parsed(&[], Some("")),
            Err(UsageError::Attester(_))
        ));
        assert_eq!(
            parsed(&["--version", "x"], None),
            Err(UsageError::Unexpected("x".into()))
        );
    }
}
