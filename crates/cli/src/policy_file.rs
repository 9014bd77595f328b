//! Policy files of the user's.

use std::path::Path;

use mse_attest::{MAX_POLICY_BYTES, Policy};
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::trust::{TrustPolicy, TrustStore};

/// Reads a policy file, and nothing else: the anchors that the user has added are not in it (see
/// [`policy_with_anchors`]).
pub(crate) fn read_policy(file: &Path) -> Result<Policy, Failure> {
    let text = private_file::read(file, MAX_POLICY_BYTES as u64)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no file `{}`", file.display()),
        )
        .with_hint("`mse policy example` prints a policy to begin with")
    })?;
    Policy::from_toml(&text).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` is no policy: {error}", file.display()),
        )
        .with_hint("`mse policy example` prints a policy with every key")
        .details(json!({ "file": file, "line": error.line() }))
    })
}

/// The policy in `file`, or the strict one, with the anchors of simulated platforms that the user
/// has added or names in `simulated`.
pub(crate) fn policy_with_anchors(
    file: Option<&Path>,
    store: &TrustStore,
    simulated: Option<&Path>,
) -> Result<TrustPolicy, Failure> {
    let policy = file.map_or_else(|| Ok(Policy::strict()), read_policy)?;
    store.added_to(policy, simulated)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use mse_simtee::Platform;

    use super::*;
    use crate::conf_dir::ConfDir;

    #[test]
    fn a_policy_and_the_user_s_anchors_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = TrustStore::of(&ConfDir::at(dir.path()));
        let platform = Platform::create(&dir.path().join("platform"), SystemTime::now()).unwrap();
        let anchor = platform.trust_anchor().to_toml();
        let file = dir.path().join("policy.toml");
        let with = |body: &str| {
            fs::write(&file, format!("format = \"mse-policy/1\"\n{body}")).unwrap();
            policy_with_anchors(Some(&file), &store, None).unwrap()
        };
        assert!(!with("").accepts_simulated);
        // In the policy itself.
        assert!(with(&format!("[[trust_anchor]]\n{anchor}")).accepts_simulated);
        // Added by the user.
        let anchor_file = dir.path().join("anchor.toml");
        fs::write(&anchor_file, anchor).unwrap();
        store.add(&anchor_file).unwrap();
        let both = with("description = \"mine\"");
        assert!(both.accepts_simulated && both.policy.accepts_simulated());
        assert_eq!(both.policy.description(), Some("mine"));
    }
}
