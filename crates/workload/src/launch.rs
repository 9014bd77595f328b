//! What the launcher and the enclave say to each other.
//!
//! The launcher hands `mse-enclave` one end of a UNIX stream socket as standard input. Both
//! sides send frames: a length (4 bytes, big-endian, at most [`MAX_FRAME`]) and that many bytes
//! of JSON. On the simulated TEE the same socket leads to the quoting service; the measurement
//! in a quote is the launcher's own, never a claim of the enclave. When the socket closes, the
//! enclave ends: no enclave outlives its launcher.
//!
//! The first frame is a launch order of one of three kinds: an app that its owner provisions, a
//! service that a CAS does, or a CAS itself, whose program is `mse-cas`.
//!
//! The launcher is the operator's and not trusted: the enclave checks what it is told (the
//! workload is measured, the bundle has its digest), and tells nothing that is secret.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use mse_crypto::Zeroizing;
use serde::{Deserialize, Serialize};

/// A frame's JSON is at most this long: 1 MiB.
pub const MAX_FRAME: usize = 1024 * 1024;

/// The variable by which a session says how its program shows that it is well: `http:PORT/PATH` or
/// `tcp:PORT`, and after it `period=10s`, `timeout=5s`, `failures=3`, if they are not the enclave's
/// own. The enclave takes it, and the program does not get it.
pub const HEALTH: &str = "MSE_HEALTH";

/// From the launcher to the enclave.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToEnclave {
    /// The first frame: what to run and with what.
    Launch(Box<Launch>),
    /// The first frame for a service: what to run and which CAS to ask.
    LaunchService(Box<ServiceLaunch>),
    /// The first frame for a CAS: whose it is, and where it keeps what it knows.
    LaunchCas(Box<CasLaunch>),
    /// The answer to [`FromEnclave::GetQuote`].
    Quote {
        /// The request's id.
        id: u64,
        /// The raw quote in hex, or why there is none.
        quote: Result<String, String>,
    },
    /// The answer to [`FromEnclave::GetSealKey`].
    SealKey {
        /// The request's id.
        id: u64,
        /// The key, or why there is none.
        key: Result<SealKeyText, String>,
    },
    /// Stop in order; what has not stopped after `grace_seconds` is killed.
    Stop {
        /// How long the app may take.
        grace_seconds: u64,
    },
}

/// Which programs, on the same platform, have the same sealing key (SGX: `EGETKEY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealPolicy {
    /// Those with exactly this measurement.
    Measurement,
    /// Those that the same key signed: newer and older versions too.
    Signer,
}

/// A sealing key of the simulated platform, 32 bytes in hex. It is as secret as that platform
/// keeps anything, and does not get into logs.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealKeyText(pub Zeroizing<String>);

impl fmt::Debug for SealKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKeyText")
    }
}

/// The access token of a session: the launcher shows by it that it may start the session's
/// services. The CAS is only shown a proof of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessToken(pub Zeroizing<String>);

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken")
    }
}

/// What the launcher puts at the enclave's disposal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// The workload's JSON, exactly the bytes that were measured.
    pub workload: String,
    /// The encrypted bundle.
    pub bundle: PathBuf,
    /// The owner's certificate chain as PEM, with origin `owner`; its digest is in the workload.
    pub certificate_chain: Option<String>,
    /// The curated runtime.
    pub python: Python,
    /// An empty folder of the enclave's own, 0700, for the app's socket.
    pub run_dir: PathBuf,
    /// How long to wait for provisioning before giving up.
    pub provisioning_seconds: u64,
    /// The uid the app runs as outside its user namespace, when the launcher is root.
    pub app_uid: Option<u32>,
    /// Where to take TLS connections: in a container on an address that others reach. By default on
    /// a free port of loopback.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
}

/// What the launcher puts at a service's disposal. All of it but the workload is unmeasured: the
/// tree is checked against the workload, the CAS proves who it is, and the rest is taken for what
/// it is, a value of the host's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceLaunch {
    /// The JSON of a [`crate::ServiceWorkload`], exactly the bytes that were measured.
    pub workload: String,
    /// The folder with the program's tree, or that is the root directory of its image.
    pub tree: PathBuf,
    /// `host:port` of the CAS. Which CAS it must be, the workload says.
    pub cas: String,
    /// Values for `@@1`, `@@2`… in the arguments that the CAS releases.
    pub arguments: Vec<String>,
    /// Values for `\@\@NAME` in the environment that the CAS releases.
    pub environment: BTreeMap<String, String>,
    /// Six digits, if the session asks for a one-time password.
    pub one_time_password: Option<String>,
    /// What the session has as its access token, if it has one.
    #[serde(default)]
    pub access_token: Option<AccessToken>,
    /// How long to try to get the release before giving up.
    pub release_seconds: u64,
    /// The uid the program runs as outside its user namespace, when the launcher is root.
    pub app_uid: Option<u32>,
    /// Folders for the encrypted volumes of the session, by their names in it.
    #[serde(default)]
    pub volumes: BTreeMap<String, PathBuf>,
    /// Where names lead that the service connects to through its network shield; others are looked
    /// up. Either way it is the host's choice, and the certificate there must be the right one.
    #[serde(default)]
    pub hosts: BTreeMap<String, IpAddr>,
}

/// What the launcher puts at a CAS's disposal. All of it but the workload is unmeasured: what the
/// CAS stores is sealed, whoever it listens to proves who they are, and the rest can only keep it
/// from working.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CasLaunch {
    /// The JSON of a [`crate::CasWorkload`], exactly the bytes that were measured.
    pub workload: String,
    /// The folder of this instance: its sealed root key, and by default its store and its witness.
    pub data: PathBuf,
    /// A database of its own; without one, an SQLite file in the folder.
    pub database: Option<DatabaseUrl>,
    /// `address:port` to listen on; port 0 is a free one.
    pub listen: String,
    /// DNS names and IP addresses for the TLS certificate.
    pub names: Vec<String>,
    /// Base URLs of services with collateral, asked in this order; `vendors` stands for those of
    /// the vendors, which are asked if there is none.
    pub collateral: Vec<String>,
    /// Base URLs of key-value stores that sessions may have values in; others are not asked.
    #[serde(default)]
    pub key_value_stores: Vec<String>,
    /// Whether it is new.
    pub start: CasStart,
    /// Where the last position of the store is noted, against rollback; by default a file in the
    /// folder, which goes back with the folder.
    pub witness: Option<PathBuf>,
    /// Takes the store as it is found, though the witness is missing or ahead of it.
    pub as_found: bool,
    /// A backup to put in the place of a store that is gone. Where the witness or anybody else saw
    /// more than it holds, it is refused.
    #[serde(default)]
    pub restore: Option<PathBuf>,
}

/// How a CAS begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum CasStart {
    /// A new CAS: refused if anything is there already.
    Create,
    /// The one whose state is there.
    Open,
    /// One more replica: gets the root key from one that runs.
    Join {
        /// `host:port` of the replica.
        address: String,
        /// Who it must be.
        cas_key: crate::CasKey,
        /// For another program than the one that runs: the approvers' signatures, JSON.
        #[serde(default)]
        authorization: Option<String>,
    },
    /// The root key comes from shares that people hold; they are given over the network.
    Recover {
        /// Which root key, 24 hexadecimal digits.
        key_id: String,
    },
}

/// The URL of a database; it may hold a password, and does not get into logs.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(pub Zeroizing<String>);

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

/// Where the curated Python environment lies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Python {
    /// The interpreter.
    pub interpreter: PathBuf,
    /// Folders the interpreter needs besides `/usr` and `/lib` (its base prefix).
    pub prefixes: Vec<PathBuf>,
    /// The folder of the curated environment.
    pub environment: PathBuf,
    /// The image's own name; name, lock and script have the workload's image digest.
    pub image: String,
    /// The image's lock file: which packages the environment was made of.
    pub lock: String,
    /// The script that serves an application.
    pub serve: String,
}

/// From the enclave to the launcher.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromEnclave {
    /// Asks the quoting service for a quote.
    GetQuote {
        /// Repeated in the answer.
        id: u64,
        /// 64 bytes in hex.
        report_data: String,
    },
    /// Asks the platform for the enclave's sealing key.
    GetSealKey {
        /// Repeated in the answer.
        id: u64,
        /// Who shall have the same key.
        policy: SealPolicy,
    },
    /// Where the enclave listens, on loopback unless the launcher gave an address.
    Listening {
        /// TCP port.
        port: u16,
    },
    /// What protects the host and the app from each other, and what does not.
    Confinement {
        /// One for each means.
        entries: Vec<Confinement>,
    },
    /// How far it is.
    Phase(Phase),
    /// Whether a service is well, by the check that its session names. Told before it runs and
    /// when it changes; not at all, if the session names none.
    Health {
        /// Whether the last check succeeded.
        well: bool,
    },
    /// How a service ended, unless it was stopped. The phase says the same for people.
    ServiceEnded(ServiceEnd),
}

/// How a service ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum ServiceEnd {
    /// Its program ended.
    Program {
        /// Its exit code; 128 and the signal's number if a signal ended it.
        code: u8,
    },
    /// A check failed: the program did not start, or was ended.
    Refused {
        /// Which.
        check: ServiceCheck,
    },
}

impl ServiceEnd {
    /// The exit code of `mse-enclave` that goes with it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Program { code } => code,
            Self::Refused { check } => check.exit_code(),
        }
    }
}

/// What is checked before a service runs, and while it does. Each has an exit code of
/// `mse-enclave`, which never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceCheck {
    /// 64: the workload and the launch order are of the right shape.
    Launch,
    /// 65: the tree has the measured digest.
    Tree,
    /// 66: the CAS answers in time.
    CasReachable,
    /// 67: the server is the measured CAS.
    CasIdentity,
    /// 68: the CAS releases to this enclave.
    Release,
    /// 69: what the CAS sent can be read, and opens for this enclave and connection.
    Answer,
    /// 70: what it released can be put into effect here.
    Configuration,
    /// 71: the machine gives evidence and a sandbox.
    Machine,
    /// 72: the release has not lapsed while the CAS was out of reach.
    Renewal,
    /// 73: the session was not revoked, and still releases to this enclave.
    Revocation,
    /// 74: the folder of a volume holds the recorded state, and not an old copy, a fork or nothing.
    VolumeStale,
    /// 75: a volume can be read and written: it is whole, and opens under its key.
    Volume,
    /// 76: the CAS records the states of a volume: nobody else has written meanwhile, and it
    /// could be reached in time.
    VolumeRecord,
}

impl fmt::Display for ServiceCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Launch => "launch",
            Self::Tree => "tree",
            Self::CasReachable => "cas-reachable",
            Self::CasIdentity => "cas-identity",
            Self::Release => "release",
            Self::Answer => "answer",
            Self::Configuration => "configuration",
            Self::Machine => "machine",
            Self::Renewal => "renewal",
            Self::Revocation => "revocation",
            Self::VolumeStale => "volume-stale",
            Self::Volume => "volume",
            Self::VolumeRecord => "volume-record",
        })
    }
}

impl ServiceCheck {
    /// The exit code of `mse-enclave` when it fails.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Launch => 64,
            Self::Tree => 65,
            Self::CasReachable => 66,
            Self::CasIdentity => 67,
            Self::Release => 68,
            Self::Answer => 69,
            Self::Configuration => 70,
            Self::Machine => 71,
            Self::Renewal => 72,
            Self::Revocation => 73,
            Self::VolumeStale => 74,
            Self::Volume => 75,
            Self::VolumeRecord => 76,
        }
    }
}

/// One means of confinement, and whether this machine allowed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Such as `user namespace`, `seccomp`, `memory limit`.
    pub name: String,
    /// Whether it is in force.
    pub applied: bool,
    /// How, or why not.
    pub detail: String,
}

/// How far an enclave is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Shows its evidence and waits for its secrets.
    AwaitingProvisioning,
    /// Provisioned; the app is starting.
    Starting,
    /// The app answers its health endpoint.
    Running,
    /// It ended because something went wrong.
    Failed {
        /// What, for the owner to read.
        reason: String,
    },
    /// It ended as asked or at its expiry.
    Stopped {
        /// Which of the two.
        reason: String,
    },
}

/// One frame of `message`.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len())
        .ok()
        .filter(|_| json.len() <= MAX_FRAME)
        .ok_or(FrameError::TooLong(json.len()))?;
    let mut frame = Vec::with_capacity(4 + json.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&json);
    Ok(frame)
}

/// The length that a frame's first four bytes announce.
pub fn frame_length(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    Ok(length)
}

/// The message of a frame's JSON.
pub fn decode<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(json)?)
}

/// A frame that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Over [`MAX_FRAME`].
    #[error("a frame of {0} bytes on the launch socket: at most {MAX_FRAME} are taken")]
    TooLong(usize),
    /// Not JSON of this shape.
    #[error("a frame on the launch socket is malformed: {0}")]
    Json(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An internally tagged enum cannot hold everything that compiles.
    #[test]
    fn every_message_survives_its_frame() {
        let from_enclave = [
            FromEnclave::GetQuote {
                id: 7,
                report_data: "00".repeat(64),
            },
            FromEnclave::GetSealKey {
                id: 8,
                policy: SealPolicy::Signer,
            },
            FromEnclave::Listening { port: 443 },
            FromEnclave::Confinement {
                entries: vec![Confinement {
                    name: "seccomp".into(),
                    applied: true,
                    detail: "an allow-list".into(),
                }],
            },
            FromEnclave::Phase(Phase::AwaitingProvisioning),
            FromEnclave::Phase(Phase::Failed {
                reason: "because".into(),
            }),
            FromEnclave::Health { well: true },
            FromEnclave::ServiceEnded(ServiceEnd::Program { code: 3 }),
            FromEnclave::ServiceEnded(ServiceEnd::Refused {
                check: ServiceCheck::CasIdentity,
            }),
        ];
        for message in from_enclave {
            assert_eq!(again(&message), format!("{message:?}"));
        }
        let to_enclave = [
            ToEnclave::Quote {
                id: 7,
                quote: Err("none".into()),
            },
            ToEnclave::SealKey {
                id: 8,
                key: Ok(SealKeyText(Zeroizing::new("00".repeat(32)))),
            },
            ToEnclave::Stop { grace_seconds: 3 },
            ToEnclave::Launch(Box::new(Launch {
                workload: "{}".into(),
                bundle: "/b".into(),
                certificate_chain: None,
                python: Python {
                    interpreter: "/p".into(),
                    prefixes: vec!["/usr".into()],
                    environment: "/e".into(),
                    image: "mse-flask".into(),
                    lock: "flask==3".into(),
                    serve: "pass".into(),
                },
                run_dir: "/r".into(),
                provisioning_seconds: 1,
                app_uid: Some(61184),
                listen: Some(([0, 0, 0, 0], 8443).into()),
            })),
            ToEnclave::LaunchService(Box::new(ServiceLaunch {
                workload: "{}".into(),
                tree: "/t".into(),
                cas: "cas.example:18765".into(),
                arguments: vec!["one".into()],
                environment: [("ZONE".into(), "a".into())].into(),
                one_time_password: Some("123456".into()),
                access_token: Some(AccessToken(Zeroizing::new("token".into()))),
                release_seconds: 60,
                app_uid: None,
                volumes: [("data".into(), "/srv/data".into())].into(),
                hosts: [("db".into(), [127, 0, 0, 1].into())].into(),
            })),
            ToEnclave::LaunchCas(Box::new(CasLaunch {
                workload: "{}".into(),
                data: "/d".into(),
                database: Some(DatabaseUrl(Zeroizing::new(
                    "postgres://u:secret@h/d".into(),
                ))),
                listen: "127.0.0.1:0".into(),
                names: vec!["cas.example".into()],
                collateral: vec!["vendors".into()],
                key_value_stores: vec!["https://vault.example".into()],
                start: CasStart::Join {
                    address: "h:1".into(),
                    cas_key: crate::CasKey::of(b"key"),
                    authorization: None,
                },
                witness: None,
                as_found: false,
                restore: Some("/b".into()),
            })),
        ];
        for message in to_enclave {
            let shown = format!("{message:?}");
            assert_eq!(again(&message), shown);
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    fn again<T: Serialize + for<'de> Deserialize<'de> + fmt::Debug>(message: &T) -> String {
        let frame = encode(message).unwrap();
        let (prefix, json) = frame.split_first_chunk().unwrap();
        assert_eq!(frame_length(*prefix).unwrap(), json.len());
        format!("{:?}", decode::<T>(json).unwrap())
    }

    /// They are part of the interface: scripts and units of operators know them.
    #[test]
    fn every_check_keeps_its_name_and_its_exit_code() {
        use ServiceCheck::{
            Answer, CasIdentity, CasReachable, Configuration, Launch, Machine, Release, Renewal,
            Revocation, Tree, Volume, VolumeRecord, VolumeStale,
        };
        let known = [
            (Launch, "launch", 64),
            (Tree, "tree", 65),
            (CasReachable, "cas-reachable", 66),
            (CasIdentity, "cas-identity", 67),
            (Release, "release", 68),
            (Answer, "answer", 69),
            (Configuration, "configuration", 70),
            (Machine, "machine", 71),
            (Renewal, "renewal", 72),
            (Revocation, "revocation", 73),
            (VolumeStale, "volume-stale", 74),
            (Volume, "volume", 75),
            (VolumeRecord, "volume-record", 76),
        ];
        for (check, name, code) in known {
            assert_eq!(check.to_string(), name);
            assert_eq!(serde_json::to_value(check).unwrap(), name);
            assert_eq!(ServiceEnd::Refused { check }.exit_code(), code);
        }
        assert_eq!(ServiceEnd::Program { code: 3 }.exit_code(), 3);
    }

    #[test]
    fn oversized_frames_are_refused_by_their_prefix() {
        assert!(frame_length([0xff; 4]).is_err());
        assert!(frame_length([0, 0, 1, 0]).is_ok());
    }
}
