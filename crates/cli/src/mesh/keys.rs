//! Keys of images: for their encrypted part, and for their signatures.

use std::path::{Path, PathBuf};

use mse_crypto::ecdsa::P256SigningKey;
use mse_crypto::{CodeKey, Digest};
use mse_image::Reference;
use mse_workload::image::SealedPart;

use crate::conf_dir::ConfDir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// A key file is much shorter.
const MAX_FILE: u64 = 16 * 1024;

/// The keys of encrypted image parts: one file each, 0600, named after the digest of the repository.
pub(crate) struct ImageKeys(PathBuf);

impl ImageKeys {
    pub(crate) fn of(conf: &ConfDir) -> Self {
        Self(conf.as_ref().join("image-keys"))
    }

    /// The key for images of this repository: made when it is first asked for. No two have the same:
    /// who is told one opens all images under it.
    pub(crate) fn for_image(&self, reference: &Reference) -> Result<CodeKey, Failure> {
        let repository = format!("{}/{}", reference.registry(), reference.repository());
        let name = Digest::of(repository.as_bytes()).to_string();
        let file = self.0.join(format!("{}.key", &name[..40]));
        if let Some(key) = read(&file)? {
            return Ok(key);
        }
        let key = CodeKey::generate();
        private_file::create_dir(&self.0)?;
        private_file::write(&file, format!("{}\n", key.to_hex().as_str()).as_bytes())?;
        Ok(key)
    }

    /// The key that opens this part, if it is here.
    pub(crate) fn that_opens(&self, sealed: &SealedPart) -> Result<Option<CodeKey>, Failure> {
        let Ok(entries) = std::fs::read_dir(&self.0) else {
            return Ok(None);
        };
        for entry in entries.flatten() {
            if let Some(key) = read(&entry.path())?
                && key.check_value() == sealed.key_check
            {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// A key that the user names.
pub(crate) fn image_key(file: &Path) -> Result<CodeKey, Failure> {
    read(file)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no image key `{}`", file.display()),
        )
    })
}

fn read(file: &Path) -> Result<Option<CodeKey>, Failure> {
    let Some(text) = private_file::read(file, MAX_FILE)? else {
        return Ok(None);
    };
    let text = mse_crypto::Zeroizing::new(text);
    CodeKey::from_hex(&text).map(Some).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` is no image key: {error}", file.display()),
        )
        .with_hint("it holds 64 hexadecimal digits")
    })
}

/// The file with the key that signs images, PEM: made when it is first needed.
pub(crate) struct SigningKeyFile(pub(crate) PathBuf);

impl SigningKeyFile {
    pub(crate) fn load_or_create(&self) -> Result<P256SigningKey, Failure> {
        let file = &self.0;
        if let Some(text) = private_file::read(file, MAX_FILE)? {
            let text = mse_crypto::Zeroizing::new(text);
            return P256SigningKey::from_pem(&text).map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!(
                        "`{}` is no key to sign images with: {error}",
                        file.display()
                    ),
                )
                .with_hint("it holds a private key on P-256 in PKCS#8, PEM")
            });
        }
        let key = P256SigningKey::generate();
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| Failure::file("make the folder of", file, &error))?;
        }
        private_file::write(file, key.to_pem().as_bytes())?;
        Ok(key)
    }
}
