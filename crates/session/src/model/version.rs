//! Versions of the language, and what came with which.

use std::fmt;
use std::str::FromStr;

/// A version of the session language: 0.2, or 0.3.0 to 0.3.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LanguageVersion {
    minor: u8,
    patch: u8,
}

impl LanguageVersion {
    /// The oldest that is read.
    pub const OLDEST: Self = Self { minor: 2, patch: 0 };
    /// The newest.
    pub const NEWEST: Self = Self {
        minor: 3,
        patch: 12,
    };

    pub(crate) const fn of_patch(patch: u8) -> Self {
        Self { minor: 3, patch }
    }
}

impl FromStr for LanguageVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0.2" {
            return Ok(Self::OLDEST);
        }
        let version = match text.strip_prefix("0.3") {
            Some("") => Some(0),
            Some(rest) => rest
                .strip_prefix('.')
                .filter(|patch| *patch == "0" || !patch.starts_with(['0', '+']))
                .and_then(|patch| patch.parse().ok()),
            None => None,
        }
        .map(Self::of_patch)
        .filter(|version| *version <= Self::NEWEST);
        version.ok_or_else(|| InvalidVersion(text.to_owned()))
    }
}

impl fmt::Display for LanguageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0.{}", self.minor)?;
        if self.minor > 2 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}

/// A text that names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no version of the session language: 0.2, 0.3 and 0.3.0 to 0.3.12 are", mse_yaml::shown(.0))]
pub struct InvalidVersion(String);

macro_rules! features {
    ($($name:ident, $patch:literal, $what:literal;)*) => {
        /// A construct that a later version than 0.2 brought.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Feature { $(#[doc = $what] $name,)* }

        impl Feature {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The first version that has it.
            pub fn since(self) -> LanguageVersion {
                LanguageVersion::of_patch(match self { $(Self::$name => $patch,)* })
            }

            /// In words.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

features! {
    RemoteCas, 0, "import and export between CASes";
    ExplicitCertificates, 0, "certificates given as text";
    PrivateKeySecrets, 0, "secrets of the kind private-key";
    KeyHashRules, 0, "access rules by key";
    SecuritySection, 1, "the section `security`";
    CommandList, 1, "commands as lists";
    VolumeUpdatePolicy, 2, "update policies of volumes";
    KeyTypes, 4, "`key_type`";
    Namespaces, 5, "namespaces";
    ColonFormats, 5, "formats after a colon";
    FspfKeyReference, 5, "references as file-system keys";
    Base64, 6, "the format `:base64`";
    NamespaceExport, 6, "export to namespaces";
    AadTokens, 7, "secrets of the kind aad-token";
    VaultImport, 7, "`import_akv`";
    Maa, 7, "attestation by MAA";
    AttestationSection, 7, "`attestation` of services";
    RsaKeys, 7, "RSA keys";
    Migration, 7, "`migrate`";
    OneTimePasswords, 8, "one-time passwords";
    HostArguments, 8, "values from the host";
    SingletonEnclaves, 9, "`singleton_enclaves`";
    ServiceAccessToken, 9, "`service_access_token`";
    Pkcs12, 9, "PKCS#12";
    RelativePaths, 10, "relative session paths";
    VolumeAlias, 10, "`volume_alias`";
    Base32, 10, "the formats base32 and base64url";
    ConfigFragments, 10, "secrets of the kind config-fragment";
    PgpKeys, 10, "secrets of the kind pgp-key";
    SectionReferences, 10, "references in attestation, platforms, security and access_policy";
    SignerRules, 10, "access rules by signer";
    VaultStore, 10, "secrets stored in a vault";
    FilePermissions, 10, "permissions of injected files";
    Governance, 10, "access rules with thresholds";
    AlternativeNames, 10, "`san`";
    JsonEscape, 10, "`|escape(json)`";
    RootNamespace, 11, "the root namespace";
    NamespaceHash, 11, "`namespace_hash`";
    PublicKeySecrets, 11, "secrets of the kind public-key";
    FspfUpdatePolicy, 11, "`fspf_update_policy`";
    LocalAttestation, 11, "local attestation";
    ProvideSecrets, 11, "`provide_secrets`";
    AuthenticatedFiles, 11, "`files` of volumes";
    VaultDecryptionKey, 11, "`decryption_key`";
    LongNames, 11, "names of more than 128 characters";
    Salt, 12, "`salt`";
    ListSessions, 12, "`list_sessions`";
    Jwt, 12, "secrets of the kind jwt";
    ExternalSources, 12, "`import_kv` and `import_pkcs11`";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_an_order() {
        let version = |text: &str| text.parse::<LanguageVersion>().unwrap();
        assert!(version("0.2") < version("0.3"));
        assert_eq!(version("0.3"), version("0.3.0"));
        assert!(version("0.3.9") < version("0.3.10"));
        assert_eq!(version("0.3.12"), LanguageVersion::NEWEST);
        for bad in [
            "", "0.1", "0.3.13", "0.3.010", "0.3.", "0.3.+1", "1", "0.31", "0.3.300",
        ] {
            assert!(bad.parse::<LanguageVersion>().is_err(), "{bad}");
        }
    }
}
