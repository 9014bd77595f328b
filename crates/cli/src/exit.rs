//! The exit codes. They are part of the interface: a code never changes its meaning.

use std::process::ExitCode;

use mse_audit::verify::Verdict;

/// How a command ends that does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 1: an enclave, its evidence, its platform or a session is not what it must be.
    Refused,
    /// 2: the command line is wrong.
    Usage,
    /// 3: `mse.toml`, a context, a session or a trust file is wrong.
    InvalidConfiguration,
    /// 4: there is no valid login.
    NotLoggedIn,
    /// 5: the platform refused, or is out of reach.
    Platform,
    /// 6: what was named does not exist.
    NotFound,
    /// 7: it took too long.
    TimedOut,
    /// 8: the app's tests failed.
    TestsFailed,
    /// 9: the user said no, or interrupted.
    Cancelled,
    /// 11: the store of a CAS was set back, or is another one.
    RolledBack,
    /// 12: it is there already, was changed meanwhile, or was revoked.
    Conflict,
    /// 13: the CAS does not let you.
    Forbidden,
    /// 24: there are differences, and the command was asked to end so.
    Different,
    /// 14 to 23: an audit log is not in order.
    Audit(Verdict),
    /// 10: anything else, mostly files that cannot be read or written.
    Other,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::InvalidConfiguration => 3,
            Self::NotLoggedIn => 4,
            Self::Platform => 5,
            Self::NotFound => 6,
            Self::TimedOut => 7,
            Self::TestsFailed => 8,
            Self::Cancelled => 9,
            Self::RolledBack => 11,
            Self::Conflict => 12,
            Self::Forbidden => 13,
            Self::Different => 24,
            Self::Audit(verdict) => verdict.code(),
            Self::Other => 10,
        }
    }

    /// The name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "verification-refused",
            Self::Usage => "usage",
            Self::InvalidConfiguration => "invalid-configuration",
            Self::NotLoggedIn => "not-logged-in",
            Self::Platform => "platform",
            Self::NotFound => "not-found",
            Self::TimedOut => "timed-out",
            Self::TestsFailed => "tests-failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled-back",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Different => "different",
            Self::Audit(verdict) => verdict.name(),
            Self::Other => "other",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// For `mse --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  verification refused
  2  wrong usage
  3  mse.toml, a context, a session or a trust file is wrong
  4  not logged in
  5  the platform refused, or is out of reach
  6  not found
  7  took too long
  8  the app's tests failed
  9  cancelled
  10 anything else, such as a file that cannot be written
  11 the store of a CAS was set back
  12 it is there already, was changed meanwhile, or was revoked
  13 the CAS does not let you
  14 to 23: an audit log is not in order (`mse cas audit verify --help`)
  24 there are differences (`mse mesh diff --exit-code`)";
