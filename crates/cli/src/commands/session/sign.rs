//! `mse session sign`

mod token;

use std::path::{Path, PathBuf};

use clap::Args;
use mse_crypto::Zeroizing;
use mse_crypto::signing::{SigningKey, VerifyingKey};
use mse_session::{SessionHash, SignedSession};
use serde::Serialize;

use self::token::{TokenOptions, TokenSignature};
use super::output::Output;
use super::secrecy::Documents;
use super::source::{Loaded, Reading, signature_failure};
use super::verify::{Signer, signers_text};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::Findings;
use crate::private_file;
use crate::text_input::{is_stdin, shown_path, wrong_usage};
use crate::ui::{Report, good, pairs};

/// More than any key takes.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Sign a session, or add a signature to one that others have signed
///
/// Signed is the hash of what the session means. The result has the session without variables,
/// in its canonical form, and all signatures. Existing signatures are verified first.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session sign session.yml --key alice.pem --output session.signed
  mse session sign session.signed --key bob.pem --output session.signed
  mse session sign session.signed --pkcs11 /usr/lib/softhsm/libsofthsm2.so \\
    --token board --key carol --pin-file pin --output session.signed")]
pub(super) struct Sign {
    /// The session, plain or signed; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The private key (PKCS#8, PEM): Ed25519 or P-384
    #[arg(long, value_name = "FILE|LABEL")]
    key: PathBuf,
    #[command(flatten)]
    token: TokenOptions,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    reading: Reading,
}

impl Sign {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let Loaded {
            session,
            warnings,
            mut signers,
            signed,
        } = self.reading.rules()?.load(&self.file)?;
        let hidden = Documents::of(&session)?.hidden;
        if hidden > 0 && self.output.file().is_none() && !self.output.is_stdout_on_purpose() {
            return Err(wrong_usage(
                "the session has values of secrets, which would be printed",
                "name a file with `--output FILE`; `--output -` prints it nevertheless",
            ));
        }
        let message = SignedSession::message(&session.hash());
        let key = match self.token.sign(scene.ui, &self.key, &message)? {
            Some(made) => Key::OnToken(made),
            None => Key::InFile(read_key(&self.key)?),
        };
        if !signers.insert(key.public()) {
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "`{}` is signed with the key `{}` already",
                    shown_path(&self.file),
                    shown_path(&self.key)
                ),
            )
            .with_hint("sign with another key; one signature of each is enough"));
        }
        for warning in Findings::of(warnings).warnings {
            scene.ui.warn(warning.line());
        }
        // Only what is extended may be replaced: nobody's signature is lost by that.
        let replaceable =
            (signed.is_some() && !is_stdin(&self.file)).then_some(self.file.as_path());
        let mut signed = signed.unwrap_or_else(|| SignedSession::new(&session));
        match &key {
            Key::InFile(key) => signed.sign(&session, key),
            // Verified before it is added: a token says itself what its public key is.
            Key::OnToken(made) => signed.add(&made.public, &made.signature),
        }
        .map_err(|error| signature_failure(&self.file, error))?;
        self.output.write(&signed.to_json(), replaceable)?;
        match self.output.file() {
            None => Ok(()),
            Some(file) => scene.ui.report(&Signed {
                file: file.to_owned(),
                name: session.name.to_string(),
                hash: session.hash(),
                signers: signers.iter().map(Signer::of).collect(),
            }),
        }
    }
}

/// What signs, or has signed.
enum Key {
    InFile(SigningKey),
    OnToken(TokenSignature),
}

impl Key {
    fn public(&self) -> VerifyingKey {
        match self {
            Self::InFile(key) => key.public(),
            Self::OnToken(made) => made.public.clone(),
        }
    }
}

/// The key in the file of `--key`.
pub(crate) fn read_key(file: &Path) -> Result<SigningKey, Failure> {
    read_key_of(file, "--key")
}

/// The key in the file of an option.
pub(crate) fn read_key_of(file: &Path, option: &str) -> Result<SigningKey, Failure> {
    let pem = key_text(file, option)?;
    SigningKey::from_pem(&pem).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!(
                "`{option}`: `{}` is no signing key: {error}",
                shown_path(file)
            ),
        )
        .with_hint(MAKE_A_KEY)
    })
}

/// The public key of the pair of which one is in the file of an option.
pub(crate) fn read_public_key_of(file: &Path, option: &str) -> Result<VerifyingKey, Failure> {
    if let Ok(key) = VerifyingKey::from_pem(&key_text(file, option)?) {
        return Ok(key);
    }
    read_key_of(file, option).map(|key| key.public())
}

fn key_text(file: &Path, option: &str) -> Result<Zeroizing<String>, Failure> {
    let pem = private_file::read(file, MAX_KEY_BYTES)?;
    pem.map(Zeroizing::new).ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("`{option}`: there is no file `{}`", shown_path(file)),
        )
        .with_hint(MAKE_A_KEY)
    })
}

const MAKE_A_KEY: &str = "`mse session keygen --output FILE` makes a key";

#[derive(Serialize)]
struct Signed {
    file: PathBuf,
    name: String,
    hash: SessionHash,
    signers: Vec<Signer>,
}

impl Report for Signed {
    fn text(&self) -> String {
        format!(
            "{} {}\n{}\n{}",
            good("The signed session has been saved at:"),
            shown_path(&self.file),
            pairs(&[
                ("Session", self.name.clone()),
                ("Hash", self.hash.to_string())
            ]),
            signers_text(&self.signers)
        )
    }
}
