//! The workload of a CAS: who owns it, and which simulated platforms it may believe.

mod module;
mod quorum;

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

pub use self::module::{MAX_MODULES, OpenToken, TokenLibrary};
pub use self::quorum::{MAX_PEOPLE, RecoveryPolicy, UpgradePolicy};

use crate::description::Resources;
use crate::measured::{InvalidWorkload, Measured};

/// The version of the CAS workload's format that this code reads and writes.
pub const CAS_FORMAT: u32 = 1;

/// A CAS workload in JSON is never larger: 256 KiB.
pub const MAX_CAS_JSON: usize = 256 * 1024;

/// A CAS believes at most this many simulated platforms.
const MAX_ANCHORS: usize = 16;
/// A trust anchor is at most this long, in bytes.
const MAX_ANCHOR: usize = 16 * 1024;

/// Everything that decides what a CAS is, besides its program.
///
/// Since the owner is measured, nobody who reaches a new CAS first can make it theirs: it would
/// have another measurement. Nothing in it is secret.
///
/// The canonical form is RFC 8785 (JCS) JSON; the digest is SHA-256 over
/// `"mse-cas-workload-v1" ‖ 0x00 ‖ canonical form`. One changed character in any field changes it,
/// and no workload of another kind has the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasWorkload {
    /// Version of this format: [`CAS_FORMAT`].
    pub format: u32,
    /// Who owns the CAS: SHA-256 of the `SubjectPublicKeyInfo` (DER) of a TLS client's key.
    pub owner: Digest,
    /// Trust anchors (TOML) of the simulated platforms whose evidence the CAS may accept, where a
    /// session asks for it. Usually none.
    pub simulated_anchors: Vec<String>,
    /// What the CAS may use.
    pub resources: Resources,
    /// Who may let another program have the root key; without it, no other program ever gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradePolicy>,
    /// Who can put the root key together again; without it, nobody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryPolicy>,
    /// Libraries behind which tokens with sessions' secrets are. Usually none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_libraries: Vec<TokenLibrary>,
}

impl Measured for CasWorkload {
    const KIND: &'static str = "CAS workload";
    const DOMAIN: &'static str = "mse-cas-workload-v1";
    const FORMAT: u32 = CAS_FORMAT;
    const MAX_JSON: usize = MAX_CAS_JSON;

    fn format(&self) -> u32 {
        self.format
    }

    /// Whether an anchor is one, the CAS finds out when it starts.
    fn check_fields(&self) -> Result<(), InvalidWorkload> {
        let field =
            |field, value: String, fix| Err(InvalidWorkload::field::<Self>(field, &value, fix));
        let anchors = &self.simulated_anchors;
        if anchors.len() > MAX_ANCHORS {
            let value = format!("{} trust anchors", anchors.len());
            return field("simulated_anchors", value, "give at most 16");
        }
        for (index, anchor) in anchors.iter().enumerate() {
            if anchor.is_empty() || anchor.len() > MAX_ANCHOR {
                let value = format!("a trust anchor of {} bytes", anchor.len());
                let fix = "give the text of a trust anchor file, at most 16 KiB";
                return field("simulated_anchors", value, fix);
            }
            if anchors[..index].contains(anchor) {
                let value = "the same trust anchor twice".to_owned();
                return field("simulated_anchors", value, "give each one once");
            }
        }
        self.resources
            .check::<Self>("a CAS needs memory and a part of a core")?;
        if let Some(upgrade) = &self.upgrade {
            upgrade.check()?;
        }
        if let Some(recovery) = &self.recovery {
            recovery.check()?;
        }
        let libraries = &self.token_libraries;
        let most = libraries.iter().map(|one| one.tokens.len()).max();
        if libraries.len().max(most.unwrap_or(0)) > MAX_MODULES {
            let value = format!("{} libraries", libraries.len());
            return field(
                "token_libraries",
                value,
                "give at most 16, with at most 16 tokens each",
            );
        }
        for (index, library) in libraries.iter().enumerate() {
            if !library.path.starts_with('/') {
                let value = library.path.clone();
                return field("token_libraries", value, "give its absolute path");
            }
            if libraries[..index]
                .iter()
                .any(|one| one.name == library.name)
            {
                let value = library.name.clone();
                return field("token_libraries", value, "give each name once");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> CasWorkload {
        CasWorkload {
            format: CAS_FORMAT,
            owner: Digest::of(b"owner"),
            simulated_anchors: vec!["tee = \"simulated\"\n".into()],
            resources: Resources {
                memory_mib: 512,
                millicores: 500,
            },
            upgrade: None,
            recovery: None,
            token_libraries: Vec::new(),
        }
    }

    fn approver(seed: u8) -> String {
        mse_crypto::signing::SigningKey::ed25519_of_seed(&[seed; 32])
            .public()
            .to_pem()
    }

    fn custodian(seed: u8) -> String {
        let pair = mse_crypto::hpke::KeyPair::derive(&[seed; 32]);
        hex::encode(pair.public().0)
    }

    #[test]
    fn canonical_form_is_fixed() {
        // The digest is a public format: a change here changes what every owner expects.
        let json = String::from_utf8(example().canonical()).unwrap();
        assert_eq!(
            json,
            format!(
                r#"{{"format":1,"owner":"{}","resources":{{"memory_mib":512,"millicores":500}},"simulated_anchors":["tee = \"simulated\"\n"]}}"#,
                Digest::of(b"owner"),
            )
        );
        let expected = Digest::of(&[b"mse-cas-workload-v1\0", json.as_bytes()].concat());
        assert_eq!(example().digest().0, expected);
        assert_eq!(CasWorkload::from_json(json.as_bytes()).unwrap(), example());
    }

    #[test]
    fn every_field_changes_the_digest() {
        type Change = fn(&mut CasWorkload);
        let changes: [(&str, Change); 8] = [
            ("owner", |w| w.owner.0[31] ^= 1),
            ("no anchor", |w| w.simulated_anchors.clear()),
            ("another anchor", |w| w.simulated_anchors[0].push('x')),
            ("one more anchor", |w| w.simulated_anchors.push("x".into())),
            ("memory", |w| w.resources.memory_mib += 1),
            ("cores", |w| w.resources.millicores += 1),
            ("upgrade", |w| {
                w.upgrade = Some(UpgradePolicy {
                    threshold: 1,
                    approvers: vec![approver(1)],
                });
            }),
            ("recovery", |w| {
                w.recovery = Some(RecoveryPolicy {
                    threshold: 2,
                    custodians: vec![custodian(1), custodian(2)],
                });
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
            CasWorkload::from_json(value.to_string().as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(json(|v| v["format"] = 2.into()).contains("format 2"));
        assert!(json(|v| v["owned"] = "x".into()).contains("owned"));
        assert!(json(|v| v["owner"] = "ab".into()).contains("64 hexadecimal"));
        assert!(json(|v| v["simulated_anchors"] = serde_json::json!([""])).contains("0 bytes"));
        assert!(json(|v| v["simulated_anchors"] = serde_json::json!(["a", "a"])).contains("twice"));
        assert!(json(|v| v["simulated_anchors"] = vec!["a"; 17].into()).contains("at most 16"));
        assert!(json(|v| v["resources"]["memory_mib"] = 0.into()).contains("resources"));
        assert!(matches!(
            CasWorkload::from_json(&vec![b' '; MAX_CAS_JSON + 1]),
            Err(InvalidWorkload::TooLarge { .. })
        ));
    }

    #[test]
    fn people_are_named_once_each_and_can_reach_the_threshold() {
        let upgrade = |threshold, approvers: &[String]| {
            let approvers = approvers.to_vec();
            UpgradePolicy {
                threshold,
                approvers,
            }
            .check()
        };
        let (one, two) = (approver(1), approver(2));
        assert!(upgrade(2, &[one.clone(), two.clone()]).is_ok());
        assert!(upgrade(0, &[one.clone(), two.clone()]).is_err());
        assert!(upgrade(3, &[one.clone(), two]).is_err());
        // The same key in another dress is the same person.
        let dressed = one.replace('\n', "\r\n");
        assert!(upgrade(1, &[one, dressed]).is_err());
        assert!(upgrade(1, &["key".into()]).is_err());

        let recovery = |threshold, custodians: &[String]| {
            let custodians = custodians.to_vec();
            RecoveryPolicy {
                threshold,
                custodians,
            }
            .check()
        };
        let (one, two) = (custodian(1), custodian(2));
        assert!(recovery(2, &[one.clone(), two.clone()]).is_ok());
        assert!(recovery(1, &[one.clone(), two.clone()]).is_err());
        assert!(recovery(3, &[one.clone(), two]).is_err());
        assert!(recovery(2, &[one.clone(), one.clone()]).is_err());
        assert!(recovery(2, &[one.clone(), one.to_uppercase()]).is_err());
        let mut bytes = hex::decode(&one).unwrap();
        bytes[31] |= 0x80;
        assert!(recovery(2, &[one, hex::encode(bytes)]).is_err());
        let many: Vec<_> = (0..17).map(custodian).collect();
        assert!(recovery(2, &many).is_err());
    }

    #[test]
    fn no_kind_is_read_as_another() {
        let app = crate::description::tests::example();
        assert!(CasWorkload::from_json(&app.canonical()).is_err());
        assert!(crate::Workload::from_json(&example().canonical()).is_err());
        assert!(crate::ServiceWorkload::from_json(&example().canonical()).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = CasWorkload::from_json(&bytes);
        }
    }
}
