//! `mse policy`, and `mse verify --policy`.

use crate::support::User;

const POLICY: &str = r#"format = "mse-policy/1"
description = "Staging"
tees = ["sgx", "tdx"]
max_collateral_age = "14d"

[[accept_status]]
status = "SWHardeningNeeded"
reason = "mitigated in our code"
until = 2026-12-10

[[tolerate_advisory]]
id = "INTEL-SA-00615"
reason = "mitigated in our code"
until = 2026-10-31

[debug]
allowed = true
reason = "the debugger is still needed"
until = 2027-06-30

[sgx]
mrsigner = ["60d7778210f93769ad6d1d26698df018f95d321fc64f750fdd286ed15882c58e"]
isv_prod_id = 1

[[tdx.tolerate]]
what = "migration"
reason = "the cluster moves its guests"
until = 2027-01-31T18:00:00+02:00
"#;

#[test]
fn a_policy_is_explained_in_words() {
    let user = User::new();
    user.write("policy.toml", POLICY);
    let check = |more: &[&str]| {
        let words = ["policy", "check", "policy.toml", "--at", "2026-11-25"];
        user.mse(&[&words, more].concat())
    };
    insta::assert_snapshot!("policy_check", check(&[]).shown());
    let json = check(&["--json"]);
    assert_eq!(json.code, 0, "{json:?}");
    let json = json.json();
    assert_eq!(json["at"], "2026-11-25T00:00:00Z");
    assert_eq!(json["description"], "Staging");
    let kinds: Vec<_> = json["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| statement["kind"].as_str().unwrap())
        .collect();
    for kind in ["rule", "tolerance", "warning", "danger"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

#[test]
fn the_example_is_valid() {
    let user = User::new();
    let example = user.mse(&["policy", "example"]);
    assert_eq!(example.code, 0, "{example:?}");
    user.write("policy.toml", &example.stdout);
    let checked = user.mse(&["policy", "check", "policy.toml", "--at", "2026-11-25"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.stdout.contains("The policy is valid"),
        "{checked:?}"
    );
}

#[test]
fn what_is_no_policy_is_refused_with_line_and_fix() {
    let user = User::new();
    let mut shown = String::new();
    for (from, to) in [
        ("tees =", "tess ="),
        ("\"14d\"", "\"two weeks\""),
        ("60d77782", "60d7"),
        ("reason = \"the cluster moves its guests\"\n", ""),
        ("until = 2027-06-30", "until = \"2027-06-30\""),
        ("\"SWHardeningNeeded\"", "\"Revoked\""),
    ] {
        assert!(POLICY.contains(from), "{from}");
        user.write("policy.toml", &POLICY.replace(from, to));
        let ran = user.mse(&["policy", "check", "policy.toml"]);
        assert_eq!(ran.code, 3, "{ran:?}");
        shown.push_str(&ran.stderr);
    }
    insta::assert_snapshot!("policy_errors", shown);
    let error = user
        .mse(&["policy", "check", "policy.toml", "--json"])
        .error();
    assert_eq!(error["details"]["line"], 7);
    user.mse(&["policy", "check", "nowhere.toml"])
        .failed_with(6, "there is no file `nowhere.toml`");
    user.mse(&["policy", "check", "policy.toml", "--at", "soon"])
        .failed_with(2, "`soon` is no time");
}
