//! Whether the program is well, by the check that the session names: `MSE_HEALTH` is
//! `http:PORT/PATH` or `tcp:PORT`, and after it, with blanks between, any of `period=10s`,
//! `timeout=5s` and `failures=3`.
//!
//! The check is made here, inside of the program's own network, and is none of the host's choice:
//! who may choose it may ask the program, behind its network shield, for whatever it likes. The host
//! learns one bit.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use mse_crypto::Zeroizing;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::health::status;
use crate::sandbox::InsideSockets;
use mse_workload::launch::HEALTH;

/// A path is at most this long.
const MAX_PATH: usize = 1024;
/// How often it is asked until it is well for the first time.
const WAITING: Duration = Duration::from_millis(100);
/// At most this many seconds between two questions, and until an answer: a day.
const LONGEST: u32 = 24 * 3600;

/// How a program shows that it is well, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    sign: Sign,
    pace: Pace,
}

/// A sign of health.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sign {
    port: NonZeroU16,
    /// A GET is answered by a success or a redirection; without a path, a connection is accepted.
    path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// How often it is asked when it was well once.
    period: Duration,
    /// An answer that takes longer is none.
    timeout: Duration,
    /// How many bad answers in a row make it ill.
    failures: NonZeroU32,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Course {
    is_well: bool,
    was_ever_well: bool,
    /// Bad answers since the last good one.
    bad: u32,
}

/// How the enclave gets to the program's loopback.
pub(super) enum Way {
    /// It is the enclave's as well.
    Shared,
    /// The program has a network of its own.
    Own(Arc<InsideSockets>),
}

impl Check {
    /// Takes it out of what the session gives the program.
    pub(super) fn take(
        environment: &mut BTreeMap<String, Zeroizing<String>>,
    ) -> Result<Option<Self>, InvalidCheck> {
        let given = environment.remove(HEALTH);
        given.map(|text| text.parse()).transpose()
    }

    /// Asks again and again, and tells when the program gets well or ill.
    ///
    /// # Errors
    ///
    /// Whoever is told has one.
    pub(super) async fn watch<E>(
        &self,
        way: &Way,
        mut tell: impl FnMut(bool) -> Result<(), E>,
    ) -> Result<Infallible, E> {
        let mut course = Course::default();
        loop {
            if let Some(is_well) = course.go_on(self.is_well(way).await, self.pace) {
                tracing::info!(is_well, "the health of the program");
                tell(is_well)?;
            }
            sleep(course.pause(self.pace)).await;
        }
    }

    async fn is_well(&self, way: &Way) -> bool {
        let asked = async {
            let stream = way.connect(self.sign.port.get()).await.ok()?;
            match &self.sign.path {
                None => Some(true),
                Some(path) => {
                    let status = status(stream, path).await?;
                    Some(status.is_success() || status.is_redirection())
                }
            }
        };
        matches!(timeout(self.pace.timeout, asked).await, Ok(Some(true)))
    }
}

impl Course {
    /// After one more answer; `Some` if the program is now what it was not before.
    fn go_on(&mut self, is_good: bool, pace: Pace) -> Option<bool> {
        self.bad = if is_good {
            0
        } else {
            self.bad.saturating_add(1)
        };
        let is_well = is_good || (self.is_well && self.bad < pace.failures.get());
        self.was_ever_well |= is_well;
        let was_well = std::mem::replace(&mut self.is_well, is_well);
        (is_well != was_well).then_some(is_well)
    }

    fn pause(&self, pace: Pace) -> Duration {
        if self.was_ever_well {
            pace.period
        } else {
            WAITING
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            failures: NonZeroU32::MIN,
        }
    }
}

impl Way {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        match self {
            Self::Shared => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
            Self::Own(sockets) => sockets.connect(port).await,
        }
    }
}

impl FromStr for Check {
    type Err = InvalidCheck;

    fn from_str(text: &str) -> Result<Self, InvalidCheck> {
        let mut words = text.split(' ');
        let sign = words.next().unwrap_or_default().parse()?;
        let (mut period, mut timeout, mut failures) = (None, None, None);
        for word in words {
            let (name, value) = word.split_once('=').ok_or(InvalidCheck)?;
            match name {
                "period" => once(&mut period, seconds(value)?)?,
                "timeout" => once(&mut timeout, seconds(value)?)?,
                "failures" => {
                    let failed = number(value).and_then(NonZeroU32::new);
                    once(&mut failures, failed.ok_or(InvalidCheck)?)?;
                }
                _ => return Err(InvalidCheck),
            }
        }
        let usual = Pace::default();
        let pace = Pace {
            period: period.unwrap_or(usual.period),
            timeout: timeout.unwrap_or(usual.timeout),
            failures: failures.unwrap_or(usual.failures),
        };
        Ok(Self { sign, pace })
    }
}

impl FromStr for Sign {
    type Err = InvalidCheck;

    fn from_str(text: &str) -> Result<Self, InvalidCheck> {
        let (port, path) = match text.split_once(':') {
            Some(("tcp", port)) => (port, None),
            Some(("http", rest)) => {
                let path = rest.find('/').ok_or(InvalidCheck)?;
                (&rest[..path], Some(rest[path..].to_owned()))
            }
            _ => return Err(InvalidCheck),
        };
        let is_path = |path: &String| {
            path.len() <= MAX_PATH && path.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !path.as_ref().is_none_or(is_path) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidCheck);
        }
        let port = port.parse().map_err(|_| InvalidCheck)?;
        Ok(Self { port, path })
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), InvalidCheck> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(InvalidCheck),
    }
}

/// `10s`: from one second to a day.
fn seconds(text: &str) -> Result<Duration, InvalidCheck> {
    text.strip_suffix('s')
        .and_then(number)
        .filter(|seconds| (1..=LONGEST).contains(seconds))
        .map(|seconds| Duration::from_secs(seconds.into()))
        .ok_or(InvalidCheck)
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Another text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session's variable `{HEALTH}` names no health check: write `http:8080/health` or `tcp:8080`, and after it `period=10s`, `timeout=5s` or `failures=3`, each once and with one blank before it"
)]
pub(crate) struct InvalidCheck;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn checks_are_read_and_other_texts_refused() {
        let check: Check = "http:8080/health?deep=1".parse().unwrap();
        assert_eq!(check.sign.port.get(), 8080);
        assert_eq!(check.sign.path.as_deref(), Some("/health?deep=1"));
        assert_eq!(check.pace, Pace::default());
        assert_eq!("tcp:1".parse::<Check>().unwrap().sign.path, None);
        let check: Check = "tcp:1 failures=3 period=86400s timeout=1s".parse().unwrap();
        let pace = Pace {
            period: Duration::from_secs(86400),
            timeout: Duration::from_secs(1),
            failures: 3.try_into().unwrap(),
        };
        assert_eq!(check.pace, pace);
        let long = format!("http:1/{}", "x".repeat(MAX_PATH));
        for bad in [
            "",
            "8080",
            "tcp:",
            "tcp:0",
            "tcp:65536",
            "tcp:+1",
            "tcp:1/x",
            "http:8080",
            "http:/health",
            "http:x/health",
            "http:1/a b",
            "http:1/\r\n",
            "https:1/",
            "udp:1",
            "tcp:1 ",
            "tcp:1  period=1s",
            "tcp:1\tperiod=1s",
            "tcp:1 period=1",
            "tcp:1 period=0s",
            "tcp:1 period=s",
            "tcp:1 period=+1s",
            "tcp:1 timeout=86401s",
            "tcp:1 failures=0",
            "tcp:1 failures=",
            "tcp:1 failures=4294967296",
            "tcp:1 failures=1 failures=1",
            "tcp:1 delay=1s",
            "period=1s tcp:1",
            long.as_str(),
        ] {
            assert_eq!(bad.parse::<Check>(), Err(InvalidCheck), "{bad:?}");
        }
    }

    #[test]
    fn only_so_many_bad_answers_in_a_row_make_it_ill() {
        let pace = Pace {
            failures: 2.try_into().unwrap(),
            ..Pace::default()
        };
        let mut course = Course::default();
        let mut told = |good| course.go_on(good, pace);
        let answers = [
            false, false, true, true, false, true, false, false, false, true,
        ];
        assert_eq!(
            answers.map(&mut told),
            [
                None,
                None,
                Some(true),
                None,
                None,
                None,
                None,
                Some(false),
                None,
                Some(true)
            ]
        );
    }

    #[test]
    fn it_is_asked_often_until_it_is_well_for_the_first_time() {
        let pace = Pace {
            period: Duration::from_secs(30),
            ..Pace::default()
        };
        let mut course = Course::default();
        course.go_on(false, pace);
        assert_eq!(course.pause(pace), WAITING);
        for good in [true, false] {
            course.go_on(good, pace);
            assert_eq!(course.pause(pace), pace.period);
        }
    }

    #[test]
    fn the_program_does_not_get_the_variable() {
        let mut environment = BTreeMap::from([
            (HEALTH.to_owned(), Zeroizing::new("tcp:80".to_owned())),
            ("OTHER".to_owned(), Zeroizing::new(String::new())),
        ]);
        assert!(Check::take(&mut environment).unwrap().is_some());
        assert_eq!(environment.len(), 1);
        assert!(Check::take(&mut environment).unwrap().is_none());
    }

    async fn answering(answer: &'static str) -> Check {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 256];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http:{port}/health").parse().unwrap()
    }

    #[tokio::test]
    async fn good_answers_are_well_and_others_are_not() {
        for (answer, well) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\n\r\n", true),
            ("HTTP/1.1 503 No\r\n\r\n", false),
            ("", false),
        ] {
            let check = answering(answer).await;
            assert_eq!(check.is_well(&Way::Shared).await, well, "{answer}");
        }
    }

    #[tokio::test]
    async fn an_open_port_is_enough_without_a_path() {
        let mut check = answering("").await;
        check.sign.path = None;
        assert!(check.is_well(&Way::Shared).await);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        check.sign.port = closed.local_addr().unwrap().port().try_into().unwrap();
        drop(closed);
        assert!(!check.is_well(&Way::Shared).await);
    }
}
