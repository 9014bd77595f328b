//! `mse secret set`

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use mse_api::cas::{GivenValue, SECRETS, SECRETS_VALUE, SecretList};
use mse_crypto::Zeroizing;
use mse_secrets::{Binding, MAX_GIVEN_BYTES, OwnerValue};
use mse_session::SessionHash;

use super::list::Secrets;
use crate::cas::{CasChoice, Span};
use crate::cli::Scene;
use crate::commands::session::sign::read_key;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::printable;

/// Give a secret a value of your own
///
/// The value is sealed here to the key of the CAS, as it was attested, and signed for this secret
/// and its next version: whoever is in between can neither read, replace nor replay it. Binary
/// values are written as hex; one line feed at the end is not part of the value.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse secret set team/shop token --key alice.pem --value-file token.txt
  generate | mse secret set team/shop token --key alice.pem --stdin --grace 10m")]
pub(super) struct Set {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    /// The secret
    #[arg(value_name = "NAME")]
    name: String,
    /// Your private key (PKCS#8, PEM), which the session lets update it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    value: ValueArgs,
    /// How long the value before stays accepted: `90s`, `10m`, `12h`, `7d`
    #[arg(long, value_name = "SPAN")]
    grace: Option<Span>,
    #[command(flatten)]
    cas: CasChoice,
}

/// Where the value is. Never on the command line, which other users of the machine see.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct ValueArgs {
    /// The file with the value
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
    /// Take the value from standard input; on a terminal it is asked for
    #[arg(long)]
    stdin: bool,
}

impl Set {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let key = read_key(&self.key)?;
        let value = self.value.read()?;
        let mut cas = self.cas.open(scene).await?;
        cas.show_signer(&key);
        let list: SecretList = cas.get(SECRETS, &[("session", &self.session)]).await?;
        let current = list
            .secrets
            .iter()
            .find(|line| line.name == self.name)
            .ok_or_else(|| {
                Failure::new(
                    Exit::NotFound,
                    format!(
                        "the session `{}` has no secret `{}`",
                        printable(&self.session),
                        printable(&self.name)
                    ),
                )
                .with_hint("`mse secret list SESSION` shows those that it has")
            })?;
        let session_hash: SessionHash = list.session_hash.parse().map_err(|_| {
            Failure::new(Exit::Platform, "the CAS says no hash of the session")
                .with_hint("is it of the same version?")
        })?;
        let binding = Binding {
            owner: key.public(),
            session: self.session,
            session_hash: session_hash.0,
            grace: self.grace.map_or(0, Span::seconds),
            secret: self.name,
            version: current.version.saturating_add(1),
        };
        let sealed = OwnerValue::seal(&value, &cas.encryption_key()?, &key, &binding)
            .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
        let given = GivenValue {
            session: binding.session,
            secret: binding.secret,
            version: binding.version,
            owner: binding.owner.to_pem(),
            value: BASE64.encode(sealed.to_bytes()),
            grace: binding.grace,
        };
        let list: SecretList = cas.put(SECRETS_VALUE, &given).await?;
        scene.ui.report(&Secrets(list))
    }
}

impl ValueArgs {
    fn read(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let read = |file: &Path, error: io::Error| Failure::file("read", file, &error);
        let mut value = match &self.value_file {
            Some(path) => bounded(File::open(path).map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    return Failure::new(
                        Exit::NotFound,
                        format!("`--value-file`: there is no file `{}`", path.display()),
                    );
                }
                read(path, error)
            })?)
            .map_err(|error| read(path, error))?,
            None if io::stdin().is_terminal() => asked()?,
            None => {
                bounded(io::stdin().lock()).map_err(|error| read(Path::new("<stdin>"), error))?
            }
        };
        if value.last() == Some(&b'\n') {
            value.pop();
        }
        if value.is_empty() {
            return Err(
                Failure::new(Exit::InvalidConfiguration, "the value is empty")
                    .with_hint("give one in a file, or at standard input"),
            );
        }
        Ok(value)
    }
}

fn bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // A line feed may follow. Room for all at once: no copy is left behind by growing.
    let limit = MAX_GIVEN_BYTES + 1;
    let mut value = Zeroizing::new(Vec::with_capacity(limit + 1));
    from.take(limit as u64 + 1).read_to_end(&mut value)?;
    if value.len() > limit {
        let why = format!("it is longer than {MAX_GIVEN_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(value)
}

fn asked() -> Result<Zeroizing<Vec<u8>>, Failure> {
    dialoguer::Password::new()
        .with_prompt("The value")
        .interact()
        .map(|value| Zeroizing::new(value.into_bytes()))
        .map_err(|error| Failure::other(format!("no value can be asked for: {error}")))
}
