//! The workload: the complete description of what runs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::measured::{InvalidWorkload, Measured};

/// The version of the workload's format that this code reads and writes.
pub const FORMAT: u32 = 1;

/// A workload in JSON is never larger: 256 KiB.
pub const MAX_JSON: usize = 256 * 1024;

/// The last second of the year 9999: what certificates can express.
const LATEST_EXPIRY: u64 = 253_402_300_799;

/// Everything that decides what runs in an enclave and what may be told to it.
///
/// The canonical form is RFC 8785 (JCS) JSON; the digest is SHA-256 over
/// `"mse-workload-v1" ‖ 0x00 ‖ canonical form`. One changed character in any field changes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Version of this format: [`FORMAT`].
    pub format: u32,
    /// The deployment this enclave is for.
    pub app_id: AppId,
    /// What to serve: `module:variable`.
    pub application: String,
    /// The runtime the code runs on.
    pub image: ImageIdentity,
    /// Digest of the encrypted bundle: every path bound to its ciphertext.
    pub bundle: Digest,
    /// Salted Merkle root over the plaintext: lets who holds the source check without the key.
    pub source_commitment: Digest,
    /// Key check value of the code key: who does not have the key is told apart at once.
    pub code_key_check: Digest,
    /// Who answers for the app's TLS, and for which names.
    pub tls: Tls,
    /// When the app stops by itself: seconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// What the app may use.
    pub resources: Resources,
    /// The path that tells whether the app is well.
    pub health_endpoint: HealthEndpoint,
    /// Environment in clear: protected against change, not against reading.
    pub environment: BTreeMap<String, String>,
    /// Who hands the enclave its secrets.
    pub provisioning: Provisioning,
}

impl Workload {
    /// `module:variable`, split.
    pub fn module_and_variable(&self) -> (&str, &str) {
        self.application
            .split_once(':')
            .unwrap_or((&self.application, ""))
    }
}

impl Measured for Workload {
    const KIND: &'static str = "workload";
    const DOMAIN: &'static str = "mse-workload-v1";
    const FORMAT: u32 = FORMAT;
    const MAX_JSON: usize = MAX_JSON;

    fn format(&self) -> u32 {
        self.format
    }

    fn check_fields(&self) -> Result<(), InvalidWorkload> {
        let (module, variable) = self.module_and_variable();
        if module.is_empty() || variable.is_empty() || variable.contains(':') {
            return Err(InvalidWorkload::field::<Self>(
                "application",
                &self.application,
                "write `module:variable`",
            ));
        }
        if self.expires_at.is_some_and(|at| at > LATEST_EXPIRY) {
            let at = self.expires_at.unwrap_or_default().to_string();
            return Err(InvalidWorkload::field::<Self>(
                "expires_at",
                &at,
                "use a time before the year 10000",
            ));
        }
        if self.tls.names.is_empty() {
            return Err(InvalidWorkload::field::<Self>(
                "tls.names",
                "[]",
                "name at least one host",
            ));
        }
        if (self.tls.origin == TlsOrigin::Owner) != self.tls.certificate.is_some() {
            return Err(InvalidWorkload::field::<Self>(
                "tls.certificate",
                &format!("{:?}", self.tls.certificate),
                "exactly the origin `owner` names its certificate's digest",
            ));
        }
        Ok(())
    }
}

/// The id of one deployment. A new deployment of the same app has a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppId(pub Uuid);

impl AppId {
    /// A fresh id.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AppId {
    type Err = InvalidAppId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().parse() {
            Ok(uuid) => Ok(Self(uuid)),
            Err(_) => Err(InvalidAppId(text.chars().take(80).collect())),
        }
    }
}

/// The text is not a UUID.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an app id: a UUID such as `3f2b8c1e-…` is expected (`mse list` shows them)")]
pub struct InvalidAppId(String);

/// The digest of a curated image: SHA-256 over `"mse-image-v1" ‖ 0` and, each behind its length
/// as 8 bytes, big-endian, the image's own name, its lock file and the serve script.
pub fn image_digest(name: &str, lock: &str, serve: &str) -> Digest {
    let mut hasher = Hasher::with_domain("mse-image-v1");
    for field in [name, lock, serve] {
        hasher.update_field(field.as_bytes());
    }
    hasher.finish()
}

/// The runtime under the code: its name for people, its digest for the measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageIdentity {
    /// As written in `mse.toml`.
    pub name: String,
    /// What it is.
    pub digest: Digest,
}

/// The TLS of the app: where its certificate comes from and what it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Who made the certificate.
    pub origin: TlsOrigin,
    /// DNS names and IP addresses the enclave's own certificate covers, in this order.
    pub names: Vec<String>,
    /// SHA-256 of the owner's certificate chain as PEM; exactly with origin `owner`.
    pub certificate: Option<Digest>,
}

/// Who made the certificate that the app's users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsOrigin {
    /// The enclave itself: the certificate carries its evidence.
    #[serde(rename = "self")]
    Enclave,
    /// The app's owner, who sends the key to the attested enclave.
    Owner,
    /// The operator, whose gateway terminates TLS: it can read the traffic.
    Operator,
}

impl fmt::Display for TlsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enclave => "self",
            Self::Owner => "owner",
            Self::Operator => "operator",
        })
    }
}

impl FromStr for TlsOrigin {
    type Err = InvalidWorkload;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "self" => Ok(Self::Enclave),
            "owner" => Ok(Self::Owner),
            "operator" => Ok(Self::Operator),
            other => Err(InvalidWorkload::field::<Workload>(
                "ssl_certificate_origin",
                other,
                "use `self`, `owner` or `operator`",
            )),
        }
    }
}

/// What the app may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Enclave memory in MiB.
    pub memory_mib: u32,
    /// Thousandths of a core.
    pub millicores: u32,
}

impl Resources {
    /// Whether a program can run with them; else it is told what to write.
    pub(crate) fn check<W: Measured>(self, fix: &'static str) -> Result<(), InvalidWorkload> {
        if self.memory_mib > 0 && self.millicores > 0 {
            return Ok(());
        }
        let value = format!("{} MiB, {} millicores", self.memory_mib, self.millicores);
        Err(InvalidWorkload::field::<W>("resources", &value, fix))
    }
}

/// The path whose answer tells whether the app is well: it starts with `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HealthEndpoint(String);

impl HealthEndpoint {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HealthEndpoint {
    type Error = InvalidWorkload;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        if path.starts_with('/') && plain && path.len() <= 255 {
            Ok(Self(path))
        } else {
            Err(InvalidWorkload::field::<Workload>(
                "health_endpoint",
                &path,
                "write a path that starts with `/`",
            ))
        }
    }
}

impl From<HealthEndpoint> for String {
    fn from(endpoint: HealthEndpoint) -> Self {
        endpoint.0
    }
}

/// Who hands the enclave its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Provisioning {
    /// The owner, who holds the code key.
    Owner {},
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn example() -> Workload {
        Workload {
            format: FORMAT,
            app_id: AppId(Uuid::from_u128(7)),
            application: "app:app".into(),
            image: ImageIdentity {
                name: "mse-flask:20261123000000".into(),
                digest: Digest::of(b"image"),
            },
            bundle: Digest::of(b"bundle"),
            source_commitment: Digest::of(b"source"),
            code_key_check: Digest::of(b"key"),
            tls: Tls {
                origin: TlsOrigin::Enclave,
                names: vec!["hello.mse.localhost".into(), "localhost".into()],
                certificate: None,
            },
            expires_at: Some(1_800_000_000),
            resources: Resources {
                memory_mib: 4096,
                millicores: 2000,
            },
            health_endpoint: HealthEndpoint("/health".into()),
            environment: [("LANG".to_owned(), "C.UTF-8".to_owned())].into(),
            provisioning: Provisioning::Owner {},
        }
    }

    #[test]
    fn canonical_form_is_fixed() {
        // The digest is a public format: a change here breaks every deployed verifier.
        let json = String::from_utf8(example().canonical()).unwrap();
        assert!(json.starts_with(
            r#"{"app_id":"00000000-0000-0000-0000-000000000007","application":"app:app","bundle":"#
        ));
        assert_eq!(
            Workload::from_json(&example().canonical()).unwrap(),
            example()
        );
        assert_eq!(
            example().digest().to_string(),
            "6da16094fbd5a363183f1f91170a616ce9a95d91cc0fcfcaf2e8a2268b942729"
        );
    }

    #[test]
    fn every_field_changes_the_digest() {
        type Change = fn(&mut Workload);
        let changes: [(&str, Change); 14] = [
            ("app_id", |w| w.app_id = AppId(Uuid::from_u128(8))),
            ("application", |w| w.application = "app:apq".into()),
            ("image.name", |w| w.image.name.push('1')),
            ("image.digest", |w| w.image.digest.0[31] ^= 1),
            ("bundle", |w| w.bundle.0[0] ^= 1),
            ("source_commitment", |w| w.source_commitment.0[5] ^= 0x80),
            ("code_key_check", |w| w.code_key_check.0[9] ^= 1),
            ("tls.origin", |w| w.tls.origin = TlsOrigin::Operator),
            ("tls.names", |w| w.tls.names.reverse()),
            ("tls.certificate", |w| {
                w.tls.certificate = Some(Digest::of(b""));
            }),
            ("expires_at", |w| w.expires_at = Some(1_800_000_001)),
            ("resources", |w| w.resources.millicores += 1),
            ("health_endpoint", |w| {
                w.health_endpoint = HealthEndpoint("/healti".into());
            }),
            ("environment", |w| {
                w.environment.insert("LANG".into(), "C".into());
            }),
        ];
        for (field, change) in changes {
            let mut changed = example();
            change(&mut changed);
            assert_ne!(changed.digest(), example().digest(), "{field}");
        }
    }

    #[test]
    fn strange_workloads_are_refused_by_field() {
        let json = |change: fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(example()).unwrap();
            change(&mut value);
            Workload::from_json(value.to_string().as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(json(|v| v["format"] = 2.into()).contains("format 2"));
        assert!(json(|v| v["aplication"] = "x".into()).contains("aplication"));
        assert!(json(|v| v["application"] = "app".into()).contains("`module:variable`"));
        assert!(json(|v| v["health_endpoint"] = "health".into()).contains("starts with `/`"));
        assert!(json(|v| v["tls"]["origin"] = "owner".into()).contains("tls.certificate"));
        assert!(json(|v| v["expires_at"] = u64::MAX.into()).contains("expires_at"));
        assert!(json(|v| v["tls"]["names"] = serde_json::json!([])).contains("tls.names"));
        assert!(matches!(
            Workload::from_json(&vec![b' '; MAX_JSON + 1]),
            Err(InvalidWorkload::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Workload::from_json(&bytes);
        }

        #[test]
        fn one_changed_bit_of_the_canonical_form_never_has_the_same_digest(bit in 0usize..4000) {
            let mut json = example().canonical();
            let bit = bit % (json.len() * 8);
            json[bit / 8] ^= 1 << (bit % 8);
            if let Ok(changed) = Workload::from_json(&json) {
                // Only a change that JSON does not see (the case of a hex digit) may keep it.
                prop_assert_eq!(changed.digest() == example().digest(), changed == example());
            }
        }
    }
}
