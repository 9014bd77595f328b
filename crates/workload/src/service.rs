//! The workload of a service: a program whose arguments, environment and files a CAS releases.

use std::fmt;
use std::str::FromStr;

use mse_crypto::Digest;
use mse_crypto::digest::InvalidDigest;
use serde::{Deserialize, Serialize};

use crate::description::Resources;
use crate::image::check_unmeasured;
use crate::measured::{InvalidWorkload, Measured};

/// The version of the service workload's format that this code reads and writes.
pub const SERVICE_FORMAT: u32 = 1;

/// A service workload in JSON is never larger: 16 KiB.
pub const MAX_SERVICE_JSON: usize = 16 * 1024;

/// Names of sessions and services are at most this long, in bytes.
const MAX_NAME: usize = 1024;

/// Everything that decides which program runs as a service, and who may tell it the rest.
///
/// What the program is told (arguments, environment, working directory, files) is not here: it
/// comes from the CAS after attestation. Nothing in it is secret.
///
/// The canonical form is RFC 8785 (JCS) JSON; the digest is SHA-256 over
/// `"mse-service-workload-v1" ‖ 0x00 ‖ canonical form`. One changed character in any field changes
/// it, and no workload of the other kind has the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceWorkload {
    /// Version of this format: [`SERVICE_FORMAT`].
    pub format: u32,
    /// Digest of the program's tree of files ([`crate::bundle::tree_digest`]).
    pub tree: Digest,
    /// What there is besides the tree.
    pub base: Base,
    /// The CAS that decides about everything else.
    pub cas_key: CasKey,
    /// Absolute name of the session, namespaces included.
    pub session: String,
    /// Name of the service in it.
    pub service: String,
    /// What the service may use.
    pub resources: Resources,
}

impl Measured for ServiceWorkload {
    const KIND: &'static str = "service workload";
    const DOMAIN: &'static str = "mse-service-workload-v1";
    const FORMAT: u32 = SERVICE_FORMAT;
    const MAX_JSON: usize = MAX_SERVICE_JSON;

    fn format(&self) -> u32 {
        self.format
    }

    fn check_fields(&self) -> Result<(), InvalidWorkload> {
        for (field, name) in [("session", &self.session), ("service", &self.service)] {
            let plain = !name.chars().any(char::is_control);
            if name.is_empty() || name.len() > MAX_NAME || !plain {
                return Err(InvalidWorkload::field::<Self>(
                    field,
                    name,
                    "write its name as the CAS knows it, at most 1024 bytes",
                ));
            }
        }
        self.base.check().map_err(|value| {
            InvalidWorkload::field::<Self>(
                "base.unmeasured",
                &value,
                "write absolute paths, in order, each once and not inside another",
            )
        })?;
        self.resources
            .check::<Self>("a program needs memory and a part of a core")
    }
}

/// What a service's program finds besides its own tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Base {
    /// The programs and libraries of the machine that `mse-enclave` runs on (`/usr`, `/bin`,
    /// `/lib…`, and a few public files of `/etc`), read-only. Whether they are measured is that
    /// machine's matter: a confidential VM's image is; the host of the process runtime is **not**.
    Machine {},
    /// Nothing: the tree is the root file system of an image ([`crate::image`]), by its
    /// [`crate::image::RootHasher`] digest.
    Image {
        /// The bundle digest of the image's encrypted part, which lies over the root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sealed: Option<Digest>,
        /// Absolute paths that are taken from the host as they are, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unmeasured: Vec<String>,
    },
}

impl Base {
    /// The rules that the types alone do not express; the value that breaks one.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Machine {} => Ok(()),
            Self::Image { unmeasured, .. } => check_unmeasured(unmeasured),
        }
    }
}

/// By what a CAS is known: SHA-256 of the `SubjectPublicKeyInfo` (DER) of its root key, which is
/// on P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CasKey(pub Digest);

impl CasKey {
    /// Of the key with this `SubjectPublicKeyInfo`, DER.
    pub fn of(subject_public_key_info: &[u8]) -> Self {
        Self(Digest::of(subject_public_key_info))
    }
}

impl fmt::Display for CasKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CasKey {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> ServiceWorkload {
        ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: Digest::of(b"tree"),
            base: Base::Machine {},
            cas_key: CasKey::of(b"key"),
            session: "team/shop".into(),
            service: "web".into(),
            resources: Resources {
                memory_mib: 512,
                millicores: 500,
            },
        }
    }

    #[test]
    fn canonical_form_is_fixed() {
        // The digest is a public format: a change here breaks every session that names one.
        let json = String::from_utf8(example().canonical()).unwrap();
        assert_eq!(
            json,
            format!(
                r#"{{"base":{{"kind":"machine"}},"cas_key":"{}","format":1,"resources":{{"memory_mib":512,"millicores":500}},"service":"web","session":"team/shop","tree":"{}"}}"#,
                Digest::of(b"key"),
                Digest::of(b"tree"),
            )
        );
        let expected = Digest::of(&[b"mse-service-workload-v1\0", json.as_bytes()].concat());
        assert_eq!(example().digest().0, expected);
        assert_eq!(
            ServiceWorkload::from_json(json.as_bytes()).unwrap(),
            example()
        );
    }

    #[test]
    fn every_field_changes_the_digest() {
        type Change = fn(&mut ServiceWorkload);
        let changes: [(&str, Change); 6] = [
            ("tree", |w| w.tree.0[31] ^= 1),
            ("cas_key", |w| w.cas_key.0.0[0] ^= 1),
            ("session", |w| w.session.push('x')),
            ("service", |w| w.service.push('x')),
            ("memory", |w| w.resources.memory_mib += 1),
            ("cores", |w| w.resources.millicores += 1),
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
            ServiceWorkload::from_json(value.to_string().as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(json(|v| v["format"] = 2.into()).contains("format 2"));
        assert!(json(|v| v["sesion"] = "x".into()).contains("sesion"));
        assert!(json(|v| v["session"] = "".into()).contains("`session`"));
        assert!(json(|v| v["service"] = "a\nb".into()).contains("`service`"));
        assert!(json(|v| v["cas_key"] = "ab".into()).contains("64 hexadecimal"));
        assert!(json(|v| v["base"]["kind"] = "none".into()).contains("machine"));
        assert!(json(|v| v["resources"]["memory_mib"] = 0.into()).contains("resources"));
        assert!(matches!(
            ServiceWorkload::from_json(&vec![b' '; MAX_SERVICE_JSON + 1]),
            Err(InvalidWorkload::TooLarge { .. })
        ));
    }

    #[test]
    fn an_image_is_another_base_and_each_part_of_it_counts() {
        let of = |sealed: Option<&[u8]>, unmeasured: &[&str]| ServiceWorkload {
            base: Base::Image {
                sealed: sealed.map(Digest::of),
                unmeasured: unmeasured.iter().map(ToString::to_string).collect(),
            },
            ..example()
        };
        let workloads = [
            example(),
            of(None, &[]),
            of(Some(b"a"), &[]),
            of(Some(b"b"), &[]),
            of(None, &["/etc/ssl/certs"]),
        ];
        for (at, workload) in workloads.iter().enumerate() {
            let read = ServiceWorkload::from_json(&workload.canonical()).unwrap();
            assert_eq!(&read, workload);
            for other in &workloads[..at] {
                assert_ne!(workload.digest(), other.digest());
            }
        }
        let refused = ServiceWorkload::from_json(&of(None, &["/b", "/a"]).canonical());
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("`base.unmeasured` is `/a`"), "{error}");
    }

    #[test]
    fn neither_kind_is_read_as_the_other() {
        let other = crate::description::tests::example();
        assert!(ServiceWorkload::from_json(&other.canonical()).is_err());
        assert!(crate::Workload::from_json(&example().canonical()).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ServiceWorkload::from_json(&bytes);
        }

        #[test]
        fn one_changed_bit_of_the_canonical_form_never_has_the_same_digest(bit in 0usize..4000) {
            let mut json = example().canonical();
            let bit = bit % (json.len() * 8);
            json[bit / 8] ^= 1 << (bit % 8);
            if let Ok(changed) = ServiceWorkload::from_json(&json) {
                prop_assert_eq!(changed.digest() == example().digest(), changed == example());
            }
        }
    }
}
