//! The real `mse-server` on a real PostgreSQL: what was acknowledged is there after `kill -9` of
//! either, nothing secret is in the database, one server at a time uses it, and what is wrong with
//! the database is said without its password.

use std::fs;
use std::process::{Command, Output};

use mse_tests::platform::{Person, Server, until};
use mse_tests::postgres::Postgres;
use mse_tests::programs::program;

const SECRET: &str = "CANARY-in-a-secret-5ac1";
const CODE: &str = "CANARY-in-the-code-e01d";
const DATABASE_PASSWORD: &str = "CANARY-of-the-database-77";

#[test]
fn what_was_acknowledged_survives_and_nothing_secret_is_in_the_database() {
    let postgres = Postgres::start();
    let database = postgres.database();
    // As an operator sets it up: a user that owns nothing but this.
    database.sql(&format!(
        "CREATE ROLE mse LOGIN PASSWORD '{DATABASE_PASSWORD}'; GRANT CREATE ON SCHEMA public TO mse"
    ));
    let url = database.text_for("mse", DATABASE_PASSWORD);
    let mut server = Server::start_on_database(&url);
    let login_token = server.ready.token.clone();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("fastapi_secrets");
    let source = manifest.with_file_name("mse_src").join("app.py");
    let mut code = fs::read_to_string(&source).unwrap();
    code.push_str(&["\n# ", CODE, "\n"].concat());
    fs::write(&source, code).unwrap();
    let secrets = manifest.with_file_name("secrets.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&secrets).unwrap()).unwrap();
    json["canary"] = SECRET.into();
    fs::write(&secrets, json.to_string()).unwrap();
    let deployed = owner.deploy(&manifest, &[]);
    let id = deployed["id"].as_str().unwrap().to_owned();

    // Nothing of it is in a file: the store is the database.
    assert!(!server.data().join("store/mse.db").exists());
    let context = owner.conf().join("context").join(&id).join("context.mse");
    let context = fs::read_to_string(context).unwrap();
    let code_key = context
        .lines()
        .find_map(|line| line.strip_prefix("code_secret_key = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let session = session_token(&owner);
    let absent = |dump: &[u8]| {
        for (what, needle) in [
            ("the code", CODE),
            ("a secret", SECRET),
            ("the code key", &code_key),
            ("the login token", &login_token),
            ("the session token", &session),
            ("the password of the database", DATABASE_PASSWORD),
        ] {
            assert!(!contains(dump, needle), "{what} is in the database");
        }
        // The same search finds what is there.
        assert!(contains(dump, &id));
    };
    absent(&database.dump());

    // PostgreSQL crashes and comes back: the app runs on, and the owner is answered.
    postgres.crash_and_restart();
    until("the server has its database again", || {
        let list = owner.run(&["list", "--json"]);
        (list.code == 0 && list.json()["apps"][0]["status"] == "running").then_some(())
    });
    assert!(!server.enclave_processes().is_empty());

    server.crash();
    server.restart();
    // The session is one that the database remembers; the app's keys are gone with its enclave.
    let list = owner.run(&["list", "--all", "--json"]).succeeded().json();
    assert_eq!(list["apps"][0]["id"], *id, "{list}");
    assert_eq!(list["apps"][0]["status"], "on_error", "{list}");
    owner.deploy(&manifest, &[]);
    let list = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(list["apps"][0]["status"], "running", "{list}");
    absent(&database.dump());
    assert!(!server.log().contains(DATABASE_PASSWORD));
    let arguments = fs::read(format!("/proc/{}/cmdline", server.ready.pid)).unwrap();
    assert!(!contains(&arguments, DATABASE_PASSWORD));
    for pid in server.enclave_processes() {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!contains(&environment, DATABASE_PASSWORD));
    }
}

#[test]
fn one_server_at_a_time_and_the_one_that_was_replaced_ends() {
    let postgres = Postgres::start();
    let database = postgres.database();
    let mut first = Server::start_on_database(&database.text());
    let owner = Person::owner(&first);
    let manifest = owner.take_example("helloworld");
    owner.deploy(&manifest, &[]);

    let refused = serve(Some(&database.text()), &[]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    said(&refused, "in use by another mse-server");
    // Commands work beside it.
    let token = serve(Some(&database.text()), &["token"]);
    assert!(token.status.success(), "{token:?}");

    // What another server does that got the lock while this one could not hold it.
    database.sql("UPDATE server SET run = 'another'");
    let token = serve(Some(&database.text()), &["token"]);
    let token = String::from_utf8(token.stdout).unwrap();
    let _ = owner.run(&["login", "--server", &first.url(), "--token", token.trim()]);
    assert_eq!(first.ended(), Some(4));
    assert!(first.log().contains("taken over"), "{}", first.log());
    until("its enclaves have ended", || {
        first.enclave_processes().is_empty().then_some(())
    });
}

#[test]
fn what_is_wrong_with_the_database_is_said_without_its_password() {
    let postgres = Postgres::start();
    let database = postgres.database();
    database.sql(&format!(
        "CREATE ROLE mse LOGIN PASSWORD '{DATABASE_PASSWORD}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    ));
    let nowhere = format!("postgres://mse:{DATABASE_PASSWORD}@127.0.0.1:1/mse");
    let wrong_password = database.text_for("mse", &format!("{DATABASE_PASSWORD}-not"));
    let no_rights = database.text_for("mse", DATABASE_PASSWORD);
    let no_database = no_rights.replace("/cas", "/nothing");
    let no_url = format!("mysql://mse:{DATABASE_PASSWORD}@db.example/mse");
    for (url, arguments, code, words) in [
        (&no_url, &[][..], 2, &["`database`", "--database"][..]),
        (
            &nowhere,
            &[],
            3,
            &["refused", "--database", "127.0.0.1/mse"],
        ),
        (
            &wrong_password,
            &[],
            3,
            &["password authentication failed", "MSE_SERVER_DATABASE"],
        ),
        (&no_database, &[], 3, &["does not exist", "--database"]),
        (
            &no_rights,
            &[],
            3,
            &["permission denied", "the right to make tables"],
        ),
        (
            &no_rights,
            &["token"],
            3,
            &["there is no platform", "--database"],
        ),
    ] {
        let refused = serve(Some(url), arguments);
        assert_eq!(refused.status.code(), Some(code), "{refused:?}");
        for word in words {
            said(&refused, word);
        }
    }
}

/// Runs the program to its end, in a folder of its own.
fn serve(database: Option<&str>, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(program("mse-server"))
        .args(["--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args(arguments)
        .envs(database.map(|url| ("MSE_SERVER_DATABASE", url)))
        .output()
        .unwrap()
}

fn said(refused: &Output, word: &str) {
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains(word), "`{word}` is not in {text}");
    assert!(!text.contains(DATABASE_PASSWORD), "{text}");
}

/// What the owner's client logs in with.
fn session_token(owner: &Person) -> String {
    let files = mse_tests::rest::files_with(&owner.conf(), b"access_token = ");
    let text = fs::read_to_string(&files[0]).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("access_token = "));
    line.unwrap().trim_matches('"').to_owned()
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}
