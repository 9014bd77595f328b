//! `mse cas audit verify`, on the example log of `crates/audit`.

use std::fs;
use std::path::Path;

use crate::support::User;

fn user() -> User {
    let user = User::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../audit/tests/data");
    for file in ["log.jsonl", "log.pub.pem"] {
        fs::copy(data.join(file), user.path(file)).unwrap();
    }
    user
}

const VERIFY: [&str; 6] = [
    "cas",
    "audit",
    "verify",
    "log.jsonl",
    "--key",
    "log.pub.pem",
];

#[test]
fn a_log_in_order_is_said_to_be_so_and_witnessed() {
    let user = user();
    let alone = user.mse(&VERIFY);
    assert_eq!(alone.code, 0, "{alone:?}");
    assert!(
        alone.stderr.contains("without `--witness FILE`"),
        "{alone:?}"
    );
    let words = [&VERIFY[..], &["--witness", "seen.json", "--json"]].concat();
    for seen in [0, 1] {
        let report = user.mse(&words).json();
        assert_eq!(report["verdict"], "ok", "{report}");
        assert_eq!(report["entries"], 5);
        assert!(user.path("seen.json").exists());
        assert!(
            report["witnessed"].as_u64().unwrap_or(0) >= seen,
            "{report}"
        );
    }
}

#[test]
fn each_kind_of_damage_has_its_exit_code() {
    let user = user();
    let whole = fs::read_to_string(user.path("log.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without = |at: usize| {
        let mut rest = lines.clone();
        rest.remove(at);
        rest.join("\n") + "\n"
    };
    for (text, code, word) in [
        (without(lines.len() - 1), 14, "truncated-recent"),
        (without(2), 17, "gap"),
        (
            whole.replacen("\"tee\":\"simulated\"", "\"tee\":\"sgx\"", 1),
            23,
            "changed",
        ),
        ("nothing\n".to_owned(), 22, "malformed"),
    ] {
        user.write("log.jsonl", &text);
        let output = user.mse(&VERIFY);
        assert_eq!(output.code, code, "{word}: {output:?}");
        assert!(output.stdout.contains(word), "{word}: {output:?}");
        let json = user.mse(&[&VERIFY[..], &["--json"]].concat());
        assert_eq!(json.code, code, "{json:?}");
    }
    user.write("log.jsonl", &whole);
    user.write("log.pub.pem", "no key\n");
    user.mse(&VERIFY).failed_with(3, "log.pub.pem");
    let missing = ["cas", "audit", "verify", "no.jsonl", "--key", "no.pem"];
    user.mse(&missing).failed_with(6, "`no.pem` cannot be read");
}
