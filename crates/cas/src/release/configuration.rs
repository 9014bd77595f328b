//! What a service is told: the session's words with values in the place of references.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::Zeroizing;
use mse_ratls::release::{Configuration, InjectedFile, VolumeGrant};
use mse_session::{EnvironmentValue, Piece, RenderError, Service, Session, SessionHash, Template};

use crate::values::{Values, ValuesError};

/// The configuration of `service` in the session with this hash, with these volumes
/// ([`super::volumes`]).
///
/// Words of the host's command line (`@@N`) stay as they are written, and variables that the host
/// gives have the name `\@\@NAME` and no value: the enclave puts them in, after the release.
pub fn configuration(
    session: &Session,
    hash: SessionHash,
    service: &Service,
    values: &Values,
    volumes: Vec<VolumeGrant>,
) -> Result<Configuration, ConfigurationError> {
    let command = service
        .command
        .as_ref()
        .ok_or_else(|| ConfigurationError::NoCommand(service.name.to_string()))?;
    let arguments = command.0.iter().enumerate().map(|(at, template)| {
        let place = || format!("argument {at} of the command");
        let word = text(&place, template, values)?;
        // The enclave takes whole words for the host's: none may become one, and none be in part.
        let is_hosts = matches!(template.pieces(), [Piece::HostArgument(_)]);
        if is_hosts != is_host_word(&word) || (!is_hosts && template.host_arguments().count() > 0) {
            return Err(ConfigurationError::HostWord(place()));
        }
        Ok(word)
    });
    let mut environment = BTreeMap::new();
    for (name, value) in &service.environment {
        match value {
            EnvironmentValue::Given(template) => {
                let place = || format!("the variable `{name}`");
                environment.insert(name.to_string(), text(&place, template, values)?);
            }
            EnvironmentValue::FromHost => {
                environment.insert(format!("{FROM_HOST}{name}"), Zeroizing::default());
            }
        }
    }
    if service.file_system.is_some() {
        return Err(ConfigurationError::FileSystem(service.name.to_string()));
    }
    let files = session
        .image_of(service)
        .into_iter()
        .flat_map(|image| &image.injection_files)
        .map(|file| {
            let template = file
                .content
                .as_ref()
                .ok_or_else(|| ConfigurationError::FileOfImage(file.path.clone()))?;
            let content = rendered(&|| format!("the file `{}`", file.path), template, values)?;
            Ok(InjectedFile {
                path: file.path.clone(),
                mode: file.permission.bits().into(),
                content: Zeroizing::new(BASE64.encode(content.as_slice())),
            })
        });
    Ok(Configuration {
        session_hash: hash.to_string(),
        arguments: arguments.collect::<Result<_, _>>()?,
        environment,
        working_directory: service.pwd.clone(),
        files: files.collect::<Result<_, ConfigurationError>>()?,
        volumes,
    })
}

/// Whether the enclave would put a word of the host's in its place: `@@1`.
fn is_host_word(word: &str) -> bool {
    word.strip_prefix("@@")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Begins the name of a variable whose value the host gives.
const FROM_HOST: &str = "\\@\\@";

fn text(
    place: &dyn Fn() -> String,
    template: &Template,
    values: &Values,
) -> Result<Zeroizing<String>, ConfigurationError> {
    let bytes = rendered(place, template, values)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(ConfigurationError::NotText(place())),
    }
}

fn rendered(
    place: &dyn Fn() -> String,
    template: &Template,
    values: &Values,
) -> Result<Zeroizing<Vec<u8>>, ConfigurationError> {
    template
        .render(
            |reference| values.render(reference),
            |number| Ok(format!("@@{number}")),
        )
        .map_err(|error| match error {
            RenderError::Value(error) => ConfigurationError::Value(error),
            RenderError::NotText(_) => ConfigurationError::NotText(place()),
        })
}

/// Why a service cannot be configured. Names the place, and no value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// Nothing to run.
    #[error("the service `{0}` has no command")]
    NoCommand(String),
    /// Something in the place of a text.
    #[error("{0} would not be text: ask for the secret as `:hex` or `:base64`")]
    NotText(String),
    /// `@@N` as a part of a word, or a value that reads like one.
    #[error(
        "{0} must be `@@N` and nothing else, or not read like it: words of the host stand alone"
    )]
    HostWord(String),
    /// A reference that stands for nothing.
    #[error(transparent)]
    Value(#[from] ValuesError),
    /// A template that lies in the image.
    #[error(
        "the file `{0}` is to be made of a template in the image: write its `content` into the session"
    )]
    FileOfImage(String),
    /// Not built.
    #[error(
        "the service `{0}` has a main file system (`fspf_path`), which this CAS does not serve: make it a volume"
    )]
    FileSystem(String),
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mse_session::{Compatibility, Variables, check_text};

    use super::*;
    use crate::values::NoImports;

    fn of(services: &str) -> Result<Configuration, ConfigurationError> {
        let text = format!(
            "name: shop\nversion: '0.3.12'\nsalt: {salt}\nsecrets:\n- {{name: password, kind: ascii, size: 10}}\n- {{name: raw, kind: binary, value: 'ff00'}}\n- {{name: word, kind: ascii, value: '@@1'}}\nservices:\n- name: web\n  pwd: /app\n  attestation: [{{mrenclave: [{mrenclave}]}}]\n{services}",
            salt = "ab".repeat(16),
            mrenclave = "01".repeat(32),
        );
        let outcome = check_text(&text, &Variables::default(), Compatibility::Strict);
        let diagnostics = outcome.diagnostics.clone();
        let session = outcome
            .session
            .unwrap_or_else(|| panic!("{text}\n{diagnostics:#?}"));
        let values = Values::make(&session, None, &NoImports, SystemTime::now())?;
        configuration(
            &session,
            SessionHash([7; 32]),
            &session.services[0],
            &values,
            Vec::new(),
        )
    }

    #[test]
    fn references_become_values_and_host_words_stay() {
        let told = of("  command: python3 app.py @@1 --token=$$SCONE::password$$\n  environment:\n    USER: admin\n    PASSWORD: $$SCONE::password$$\n    '\\@\\@PORT': ''\n").unwrap();
        let words: Vec<&str> = told.arguments.iter().map(|word| word.as_str()).collect();
        assert_eq!(words[..3], ["python3", "app.py", "@@1"]);
        let password = told.environment["PASSWORD"].as_str();
        assert_eq!(words[3], format!("--token={password}"));
        assert_eq!(password.len(), 10);
        assert_eq!(told.environment["USER"].as_str(), "admin");
        assert!(told.environment.contains_key("\\@\\@PORT"));
        assert_eq!(told.working_directory.as_deref(), Some("/app"));
        assert_eq!(told.session_hash, "07".repeat(32));
    }

    #[test]
    fn words_of_the_host_stand_alone_and_are_meant() {
        for command in ["run --port=@@1", "run @@1@@2", "run $$SCONE::word$$"] {
            let error = of(&format!("  command: {command}\n")).err().unwrap();
            assert!(
                matches!(error, ConfigurationError::HostWord(_)),
                "{command}"
            );
        }
        assert!(of("  command: run @@1 @@ @@x\n").is_ok());
    }

    #[test]
    fn files_may_be_bytes_and_words_may_not() {
        let image = "  image_name: main\nimages:\n- name: main\n  injection_files:\n  - {path: /etc/key, content: $$SCONE::raw$$, permission: '0400'}\n";
        let told = of(&format!("  command: run\n{image}")).unwrap();
        assert_eq!(
            BASE64.decode(told.files[0].content.as_str()).unwrap(),
            [0xff, 0]
        );
        assert_eq!(told.files[0].mode, 0o400);

        let error = of("  command: run $$SCONE::raw$$\n").err().unwrap();
        assert!(matches!(error, ConfigurationError::NotText(_)));
        assert!(error.to_string().contains("argument 1 of the command"));
    }
}
