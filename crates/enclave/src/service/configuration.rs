//! What the CAS released, checked and made into a program to start.
//!
//! The image key comes among the files and goes no further than this ([`ImageKey`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::{CodeKey, Zeroizing};
use mse_ratls::release::{Configuration, InjectedFile, VolumeGrant};
use mse_shield::policy::is_shield_variable;
use mse_shield::{Policy, PolicyError};
use mse_workload::Base;
use mse_workload::image::IMAGE_KEY;
use mse_workload::launch::{HEALTH, ServiceLaunch};

use super::TREE;
use super::health::{Check, InvalidCheck};
use crate::sandbox::{FileMode, InvalidPath, ReleasedFile, SandboxPath, StartDir};

/// A configuration has at most this many files.
const MAX_FILES: usize = 1024;
/// Begins an argument that the host gives: the whole word `@@N`.
const HOST_ARGUMENT: &str = "@@";
/// Begins the name of a variable that the host gives.
const HOST_VARIABLE: &str = r"\@\@";

/// A program and everything that it is told. No `Debug`: most of it is secret.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) arguments: Vec<Zeroizing<String>>,
    pub(super) environment: BTreeMap<String, Zeroizing<String>>,
    pub(super) directory: StartDir,
    pub(super) files: Files,
    pub(super) mounts: Vec<Mount>,
    /// How it shows that it is well.
    pub(super) health: Option<Check>,
    /// What becomes of its connections. Keys in it may change while it runs.
    pub(super) shield: Option<Policy>,
    pub(super) image_key: Option<ImageKey>,
}

/// What opens the encrypted part of an image. The program never has it.
pub(super) struct ImageKey(pub(super) CodeKey);

/// What the session says of a volume. Its state is none of it: that changes while the program runs.
#[derive(PartialEq, Eq)]
pub(super) struct Mount([String; 4]);

/// Files for the program, by where it expects them.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<SandboxPath, Content>);

#[derive(PartialEq, Eq)]
struct Content {
    mode: FileMode,
    bytes: Zeroizing<Vec<u8>>,
}

impl Program {
    /// Checks `configuration` and puts the values of the host in where it asks for them.
    pub(super) fn of(
        configuration: &Configuration,
        base: &Base,
        host: &ServiceLaunch,
    ) -> Result<Self, ConfigurationError> {
        let (name, arguments) = configuration
            .arguments
            .split_first()
            .ok_or(ConfigurationError::NoProgram)?;
        if name.is_empty() || host_argument(name).is_some() {
            return Err(ConfigurationError::NoProgram);
        }
        let directory = configuration.working_directory.as_deref();
        let directory = directory.unwrap_or(default_directory(base));
        let mut environment = configuration.environment.clone();
        let health = Check::take(&mut environment)?;
        let mut shield = Policy::take(&mut environment)?;
        if let Some(policy) = &mut shield {
            policy.route(&host.hosts);
        }
        let mut files = Files::of(&configuration.files)?;
        let image_key = match base {
            Base::Image { .. } => files.take_image_key()?,
            _ => None,
        };
        let program = Self {
            name: name.to_string(),
            arguments: with_host_arguments(arguments, &host.arguments)?,
            environment: with_host_variables(&environment, &host.environment)?,
            directory: StartDir::try_from(PathBuf::from(directory))?,
            files,
            mounts: configuration.volumes.iter().map(Mount::of).collect(),
            health,
            shield,
            image_key,
        };
        program.check_text()?;
        Ok(program)
    }

    /// What the kernel takes for the end of a string is in none.
    fn check_text(&self) -> Result<(), ConfigurationError> {
        if self.name.contains('\0') || self.arguments.iter().any(|one| one.contains('\0')) {
            return Err(ConfigurationError::ArgumentText);
        }
        for (name, value) in &self.environment {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(ConfigurationError::Variable(shown(name)));
            }
        }
        Ok(())
    }
}

impl Mount {
    fn of(grant: &VolumeGrant) -> Self {
        let VolumeGrant {
            name,
            path,
            files,
            update_policy,
            ..
        } = grant;
        Self([name, path, files, update_policy].map(String::clone))
    }
}

impl Files {
    fn of(injected: &[InjectedFile]) -> Result<Self, ConfigurationError> {
        if injected.len() > MAX_FILES {
            return Err(ConfigurationError::TooManyFiles(injected.len()));
        }
        let mut files = BTreeMap::new();
        for file in injected {
            let place = SandboxPath::try_from(file.path.as_str())?;
            let bytes = BASE64
                .decode(file.content.as_bytes())
                .map(Zeroizing::new)
                .map_err(|_| ConfigurationError::Content(place.clone()))?;
            // The program's user is the only one there is; nobody else is given anything.
            let mode = FileMode::from(file.mode & 0o700);
            if files
                .insert(place.clone(), Content { mode, bytes })
                .is_some()
            {
                return Err(ConfigurationError::TwoFiles(place));
            }
        }
        Ok(Self(files))
    }

    /// Takes the image key out.
    fn take_image_key(&mut self) -> Result<Option<ImageKey>, ConfigurationError> {
        let place = SandboxPath::try_from(IMAGE_KEY)?;
        let Some(content) = self.0.remove(&place) else {
            return Ok(None);
        };
        std::str::from_utf8(&content.bytes)
            .ok()
            .and_then(|text| CodeKey::from_hex(text.trim()).ok())
            .map(|key| Some(ImageKey(key)))
            .ok_or(ConfigurationError::ImageKey)
    }

    /// Where they are expected.
    pub(super) fn places(&self) -> impl Iterator<Item = &SandboxPath> {
        self.0.keys()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = ReleasedFile<'_>> {
        self.0.iter().map(|(place, content)| ReleasedFile {
            place,
            mode: content.mode,
            content: &content.bytes,
        })
    }

    /// What the program finds at `path`.
    pub(super) fn content(&self, path: &str) -> Option<Zeroizing<Vec<u8>>> {
        let place = SandboxPath::try_from(path).ok()?;
        self.0.get(&place).map(|content| content.bytes.clone())
    }

    /// Leaves only those at `places`, and gives the number of the others.
    pub(super) fn keep(&mut self, places: &BTreeSet<SandboxPath>) -> usize {
        let before = self.0.len();
        self.0.retain(|place, _| places.contains(place));
        before - self.0.len()
    }
}

/// Where a program starts if the session does not say.
fn default_directory(base: &Base) -> &'static str {
    match base {
        Base::Image { .. } => "/",
        _ => TREE,
    }
}

/// Replaces each word `@@N` by the host's N-th argument. Only whole words: a secret that happens
/// to hold such text is left alone.
fn with_host_arguments(
    arguments: &[Zeroizing<String>],
    given: &[String],
) -> Result<Vec<Zeroizing<String>>, ConfigurationError> {
    let mut used = BTreeSet::new();
    arguments
        .iter()
        .map(|argument| {
            let Some(number) = host_argument(argument) else {
                return Ok(argument.clone());
            };
            if !used.insert(number) {
                return Err(ConfigurationError::SameHostArgument(number));
            }
            let value = number.checked_sub(1).and_then(|index| given.get(index));
            value
                .cloned()
                .map(Zeroizing::new)
                .ok_or(ConfigurationError::HostArgument {
                    number,
                    given: given.len(),
                })
        })
        .collect()
}

/// The number in a word `@@N`.
fn host_argument(word: &str) -> Option<usize> {
    let digits = word.strip_prefix(HOST_ARGUMENT)?;
    let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Replaces each variable `\@\@NAME` by `NAME` with the host's value, or an empty one.
fn with_host_variables(
    environment: &BTreeMap<String, Zeroizing<String>>,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Zeroizing<String>>, ConfigurationError> {
    let mut whole = BTreeMap::new();
    for (key, value) in environment {
        let (name, value) = match key.strip_prefix(HOST_VARIABLE) {
            Some(name) if is_shield_variable(name) || name == HEALTH => {
                return Err(ConfigurationError::ShieldOfHost(shown(name)));
            }
            Some(name) => {
                let value = given.get(name).cloned().unwrap_or_default();
                (name, Zeroizing::new(value))
            }
            None => (key.as_str(), value.clone()),
        };
        if whole.insert(name.to_owned(), value).is_some() {
            return Err(ConfigurationError::TwoValues(shown(name)));
        }
    }
    Ok(whole)
}

fn shown(name: &str) -> String {
    name.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// Why a configuration cannot be put into effect. Names where, and no released value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigurationError {
    #[error(
        "the session names no program: the first word of `command` must be one, and not the host's choice"
    )]
    NoProgram,
    #[error(
        "the session's command takes argument {number} of the host (`@@{number}`), which gave {given}; they count from 1: give them at the launch"
    )]
    HostArgument { number: usize, given: usize },
    #[error("the session's command takes argument {0} of the host (`@@{0}`) twice")]
    SameHostArgument(usize),
    #[error("the session's command has an argument with a NUL byte")]
    ArgumentText,
    #[error(
        "the session's environment has a variable `{0}` that no program can be given: no name may be empty or contain `=`, and nothing a NUL byte"
    )]
    Variable(String),
    #[error("the session's environment gives the variable `{0}` and also takes it from the host")]
    TwoValues(String),
    #[error(transparent)]
    Health(#[from] InvalidCheck),
    #[error(transparent)]
    Shield(#[from] PolicyError),
    #[error(
        "the session takes the variable `{0}` from the host, which must not choose how the service's connections are protected, or what it is asked: give its value in the session"
    )]
    ShieldOfHost(String),
    #[error("the session injects {0} files: at most {MAX_FILES} are taken")]
    TooManyFiles(usize),
    #[error("the session injects two files at `{0}`")]
    TwoFiles(SandboxPath),
    #[error("the content of the injected file `{0}` is not base64")]
    Content(SandboxPath),
    #[error(
        "the session injects something else than a key at `{IMAGE_KEY}`: the image key is 64 hexadecimal digits"
    )]
    ImageKey,
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> ServiceLaunch {
        ServiceLaunch {
            workload: String::new(),
            tree: "/".into(),
            cas: String::new(),
            arguments: vec!["first".into(), "second".into()],
            environment: [
                ("ZONE".into(), "z1".into()),
                ("LD_PRELOAD".into(), "x".into()),
            ]
            .into(),
            one_time_password: None,
            access_token: None,
            release_seconds: 1,
            hosts: BTreeMap::new(),
            app_uid: None,
            volumes: BTreeMap::new(),
        }
    }

    fn configuration(arguments: &[&str], environment: &[(&str, &str)]) -> Configuration {
        let secret = |text: &str| Zeroizing::new(text.to_owned());
        Configuration {
            session_hash: String::new(),
            arguments: arguments.iter().map(|one| secret(one)).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), secret(value)))
                .collect(),
            working_directory: None,
            files: Vec::new(),
            volumes: Vec::new(),
        }
    }

    fn file(path: &str, mode: u32, content: &str) -> InjectedFile {
        InjectedFile {
            path: path.into(),
            mode,
            content: Zeroizing::new(content.into()),
        }
    }

    fn refusal(configuration: &Configuration) -> String {
        match Program::of(configuration, &Base::Machine {}, &host()) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn host_values_come_in_only_where_the_session_asks_for_them() {
        let configuration = configuration(
            &["run", "@@2", "a@@1", "@@x", "@@", "--zone"],
            &[
                (r"\@\@ZONE", "ignored"),
                (r"\@\@NONE", "ignored"),
                ("A", "@@1"),
            ],
        );
        let Ok(program) = Program::of(&configuration, &Base::Machine {}, &host()) else {
            panic!("refused");
        };
        let arguments: Vec<&str> = program.arguments.iter().map(|one| one.as_str()).collect();
        assert_eq!(arguments, ["second", "a@@1", "@@x", "@@", "--zone"]);
        let environment: Vec<(&str, &str)> = program
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(environment, [("A", "@@1"), ("NONE", ""), ("ZONE", "z1")]);
        assert_eq!(program.directory.as_path().to_str(), Some("/app"));
    }

    #[test]
    fn missing_and_repeated_host_arguments_are_fatal() {
        for (arguments, expected) in [
            (&["run", "@@3"][..], "gave 2"),
            (&["run", "@@0"], "count from 1"),
            (&["run", "@@1", "@@01"], "twice"),
            (&["@@1"], "no program"),
            (&[], "no program"),
            (&[""], "no program"),
            (&["run", "a\0b"], "NUL"),
        ] {
            let message = refusal(&configuration(arguments, &[]));
            assert!(message.contains(expected), "{arguments:?}: {message}");
        }
    }

    #[test]
    fn variables_that_cannot_be_are_refused_without_their_value() {
        for (environment, expected) in [
            (&[("", "canary")][..], "``"),
            (&[("A=B", "canary")], "`A=B`"),
            (&[("A", "canary\0")], "`A`"),
            (&[("ZONE", "canary"), (r"\@\@ZONE", "")], "`ZONE`"),
        ] {
            let message = refusal(&configuration(&["run"], environment));
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn the_host_says_where_names_lead_and_nothing_else_of_the_shield() {
        let variables = [
            ("MSE_NETWORK_SHIELD", "protected"),
            ("MSE_NETWORK_SHIELD_CLIENT_1", "protected"),
            ("MSE_NETWORK_SHIELD_CLIENT_1_DESTINATION", "TCP:db:5432"),
            ("MSE_NETWORK_SHIELD_CLIENT_1_SERVER_AUTH", "file:/ca"),
            ("MSE_NETWORK_SHIELD_CLIENT_2", "protected"),
            ("MSE_NETWORK_SHIELD_CLIENT_2_DESTINATION", "TCP:cache:6379"),
            ("MSE_NETWORK_SHIELD_CLIENT_2_DESTINATION_IP", "192.0.2.1"),
            ("MSE_NETWORK_SHIELD_CLIENT_2_SERVER_AUTH", "file:/ca"),
        ];
        let mut host = host();
        host.hosts = ["db", "cache"]
            .map(|name| (name.into(), [127, 0, 0, 1].into()))
            .into();
        let configuration = configuration(&["run"], &variables);
        let Ok(program) = Program::of(&configuration, &Base::Machine {}, &host) else {
            panic!("it is a configuration")
        };
        let clients = program.shield.expect("there is one").clients;
        let reached = clients
            .iter()
            .map(|rule| rule.address.map(|address| address.to_string()));
        assert_eq!(
            reached.collect::<Vec<_>>(),
            [Some("127.0.0.1".to_owned()), Some("192.0.2.1".to_owned())]
        );
    }

    #[test]
    fn the_program_is_not_told_of_its_shield_and_the_host_has_no_say_in_it() {
        let shielded = configuration(&["run"], &[("A", "1"), ("MSE_NETWORK_SHIELD", "protected")]);
        let Ok(program) = Program::of(&shielded, &Base::Machine {}, &host()) else {
            panic!("refused");
        };
        assert!(program.shield.is_some_and(|policy| policy.isolates()));
        let names: Vec<&str> = program.environment.keys().map(String::as_str).collect();
        assert_eq!(names, ["A"]);
        for (name, value, expected) in [
            (r"\@\@MSE_NETWORK_SHIELD", "", "must not choose"),
            (r"\@\@SCONE_NETWORK_SHIELD_SERVER_1", "", "must not choose"),
            ("SCONE_NETWORK_SHIELD", "on", "`on` is not one of"),
        ] {
            let message = refusal(&configuration(&["run"], &[(name, value)]));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn files_have_a_place_of_their_own_and_belong_to_the_program_alone() {
        let mut with_files = configuration(&["run"], &[]);
        with_files.files = vec![file("/etc/a", 0o6755, "YQ=="), file("/etc/b", 0o400, "")];
        let Ok(program) = Program::of(&with_files, &Base::Machine {}, &host()) else {
            panic!("refused");
        };
        let found: Vec<_> = program
            .files
            .iter()
            .map(|file| {
                (
                    file.place.to_string(),
                    file.mode.bits(),
                    file.content.to_vec(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("/etc/a".to_owned(), 0o700, b"a".to_vec()),
                ("/etc/b".to_owned(), 0o400, Vec::new())
            ]
        );
        for (files, expected) in [
            (vec![file("etc/a", 0, "")], "not absolute"),
            (vec![file("/etc/../a", 0, "")], "`..`"),
            (vec![file("/a", 0, ""), file("/a", 0, "")], "two files"),
            (vec![file("/a", 0, "canary!")], "base64"),
        ] {
            with_files.files = files;
            let message = refusal(&with_files);
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn the_image_key_is_taken_out_of_the_files() {
        let image = Base::Image {
            sealed: None,
            unmeasured: Vec::new(),
        };
        let of = |base: &Base, content: &str| {
            let mut configuration = configuration(&["run"], &[]);
            configuration.files = vec![file("/etc/a", 0o400, ""), file(IMAGE_KEY, 0o400, content)];
            Program::of(&configuration, base, &host())
        };
        let digits = BASE64.encode("ab".repeat(32) + "\n");
        let Ok(program) = of(&image, &digits) else {
            panic!("refused");
        };
        let key = program.image_key.expect("a key");
        assert_eq!(key.0.to_hex().as_str(), "ab".repeat(32));
        let places: Vec<_> = program.files.places().map(ToString::to_string).collect();
        assert_eq!(places, ["/etc/a"]);
        assert_eq!(program.directory.as_path().to_str(), Some("/"));
        // Without an image it is a file like others.
        let Ok(program) = of(&Base::Machine {}, &digits) else {
            panic!("refused");
        };
        assert!(program.image_key.is_none());
        assert_eq!(program.files.places().count(), 2);
        let canary = BASE64.encode("canary");
        let Err(error) = of(&image, &canary) else {
            panic!("accepted");
        };
        assert!(error.to_string().contains(IMAGE_KEY), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
