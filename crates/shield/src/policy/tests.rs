//! Policies that are read, and those that are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::Layout;

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, Zeroizing<String>> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Zeroizing::new((*value).to_owned())))
        .collect()
}

/// With `MSE_NETWORK_SHIELD` in front of each name.
fn read(variables: &[(&str, &str)]) -> Result<Policy, PolicyError> {
    let mut environment = variables
        .iter()
        .map(|(rest, value)| {
            let name = format!("MSE_NETWORK_SHIELD{rest}");
            (name, Zeroizing::new((*value).to_owned()))
        })
        .collect();
    let policy = Policy::take(&mut environment)?;
    assert!(environment.is_empty());
    Ok(policy.expect("there are variables"))
}

fn refusal(variables: &[(&str, &str)]) -> String {
    match read(variables) {
        Ok(_) => panic!("accepted: {variables:?}"),
        Err(error) => error.to_string(),
    }
}

const SERVER: [(&str, &str); 5] = [
    ("", "protected"),
    ("_SERVER_1", "protected"),
    ("_SERVER_1_PORT", "TCP:6379"),
    (
        "_SERVER_1_IDENTITY",
        "file:/tls/redis.key,file:/tls/redis.pem",
    ),
    ("_SERVER_1_CLIENT_AUTH", "file:/tls/ca.pem"),
];

const CLIENT: [(&str, &str); 5] = [
    ("", "protected"),
    ("_CLIENT_db", "protected"),
    ("_CLIENT_db_DESTINATION", "TCP:Db.example:5432"),
    ("_CLIENT_db_IDENTITY", "PEM"),
    ("_CLIENT_db_SERVER_AUTH", "PEM"),
];

/// `base` with some variables replaced or added; those without a value are left out.
fn with<'a>(
    base: &[(&'a str, &'a str)],
    changes: &[(&'a str, Option<&'a str>)],
) -> Vec<(&'a str, &'a str)> {
    let mut all: BTreeMap<&str, &str> = base.iter().copied().collect();
    for (name, value) in changes {
        match value {
            Some(value) => all.insert(name, value),
            None => all.remove(name),
        };
    }
    all.into_iter().collect()
}

#[test]
fn an_environment_without_a_shield_is_left_alone() {
    let variables = [
        ("PATH", "/bin"),
        ("MSE_NETWORK_SHIELDED", "x"),
        ("SHIELD", ""),
    ];
    let mut given = environment(&variables);
    assert!(matches!(Policy::take(&mut given), Ok(None)));
    assert!(given == environment(&variables));
}

#[test]
fn the_program_is_told_nothing_of_the_shield_whatever_is_wrong_with_it() {
    let mut given = environment(&[
        ("A", "1"),
        ("MSE_NETWORK_SHIELD", "canary"),
        ("SCONE_NETWORK_SHIELD_SERVER_1_IDENTITY", "canary"),
    ]);
    assert!(Policy::take(&mut given).is_err());
    assert!(given == environment(&[("A", "1")]));
}

#[test]
fn a_server_rule_is_read() {
    let policy = read(&SERVER).unwrap();
    assert!(policy.isolates());
    let [rule] = &policy.servers[..] else {
        panic!("one rule");
    };
    assert_eq!(rule.name.to_string(), "MSE_NETWORK_SHIELD_SERVER_1");
    assert_eq!(rule.port, 6379);
    let Guard::Protected(tls) = &rule.guard else {
        panic!("protected");
    };
    let files = SourceText::Files(vec!["/tls/redis.key".into(), "/tls/redis.pem".into()]);
    assert!(tls.identity.text == files);
    assert_eq!(
        tls.identity.variable,
        "MSE_NETWORK_SHIELD_SERVER_1_IDENTITY"
    );
    assert!(matches!(
        &tls.clients,
        ClientAuth::Authorities { names: None, .. }
    ));

    let anybody = with(&SERVER, &[("_SERVER_1_CLIENT_AUTH", Some("disabled"))]);
    let policy = read(&anybody).unwrap();
    let Guard::Protected(tls) = &policy.servers[0].guard else {
        panic!("protected");
    };
    assert!(tls.clients == ClientAuth::Disabled);
}

#[test]
fn a_server_rule_may_name_its_clients() {
    let named = with(
        &SERVER,
        &[("_SERVER_1_CLIENT_NAMES", Some("web, API.example\nweb"))],
    );
    let Guard::Protected(tls) = &read(&named).unwrap().servers[0].guard else {
        panic!("protected");
    };
    let ClientAuth::Authorities {
        names: Some(names), ..
    } = &tls.clients
    else {
        panic!("named");
    };
    assert!(names.iter().eq(["api.example", "web"]));
    let refuses = with(
        &[("", "protected")],
        &[
            ("_SERVER_1", Some("refuse")),
            ("_SERVER_1_PORT", Some("TCP:1")),
            ("_SERVER_1_CLIENT_NAMES", Some("web")),
        ],
    );
    assert!(refusal(&refuses).contains("no meaning for a rule that is `refuse`"));
}

#[test]
fn a_client_rule_is_read() {
    let policy = read(&CLIENT).unwrap();
    let [rule] = &policy.clients[..] else {
        panic!("one rule");
    };
    assert_eq!(rule.destination.to_string(), "db.example:5432");
    assert_eq!(rule.address, None);
    let Guard::Protected(tls) = &rule.guard else {
        panic!("protected");
    };
    assert_eq!(tls.server_name.to_str(), "db.example");

    let elsewhere = with(
        &CLIENT,
        &[
            ("_CLIENT_db_DESTINATION_IP", Some("10.0.0.7")),
            ("_CLIENT_db_SERVER_DNS_NAME", Some("primary")),
            ("_CLIENT_db_IDENTITY", None),
        ],
    );
    let policy = read(&elsewhere).unwrap();
    let rule = &policy.clients[0];
    assert_eq!(rule.address, Some(Ipv4Addr::new(10, 0, 0, 7).into()));
    let Guard::Protected(tls) = &rule.guard else {
        panic!("protected");
    };
    assert_eq!(tls.server_name.to_str(), "primary");
    assert!(tls.identity.is_none());
}

/// As public sessions of SCONE have them.
#[test]
fn the_other_dialect_is_read_as_it_is_written() {
    let mut given = environment(&[
        ("SCONE_NETWORK_SHIELD", "protected"),
        ("SCONE_NETWORK_SHIELD_UNSUPPORTED_PROTOCOLS", "unprotected"),
        ("SCONE_NETWORK_SHIELD_SERVER_TCP", "protected"),
        ("SCONE_NETWORK_SHIELD_SERVER_TCP_PORT", "TCP:3306"),
        ("SCONE_NETWORK_SHIELD_SERVER_TCP_IDENTITY", "PEM\nPEM\"\n"),
        ("SCONE_NETWORK_SHIELD_SERVER_TCP_CLIENT_AUTH", "PEM"),
        ("SCONE_NETWORK_SHIELD_CLIENT_REPLICATION", "protected"),
        (
            "SCONE_NETWORK_SHIELD_CLIENT_REPLICATION_DESTINATION",
            "TCP:localhost:3307",
        ),
        (
            "SCONE_NETWORK_SHIELD_CLIENT_REPLICATION_DESTINATION_IP",
            "*",
        ),
        ("SCONE_NETWORK_SHIELD_CLIENT_REPLICATION_IDENTITY", "PEM"),
        ("SCONE_NETWORK_SHIELD_CLIENT_REPLICATION_SERVER_AUTH", "PEM"),
        (
            "SCONE_NETWORK_SHIELD_CLIENT_REPLICATION_SERVER_DNS_NAME",
            "mysqld",
        ),
    ]);
    let policy = Policy::take(&mut given).unwrap().unwrap();
    assert_eq!((policy.servers.len(), policy.clients.len()), (1, 1));
    assert_eq!(policy.remarks.len(), 1, "{:?}", policy.remarks);
    assert!(given.is_empty());
}

#[test]
fn rules_may_be_in_the_clear_or_refuse_everything() {
    let policy = read(&[
        ("", "protected"),
        ("_SERVER_a", "unprotected"),
        ("_SERVER_a_PORT", "tcp:80"),
        ("_SERVER_b", "refuse"),
        ("_SERVER_b_PORT", "TCP:81"),
        ("_CLIENT_a", "unprotected"),
        ("_CLIENT_a_DESTINATION", "TCP:[2001:db8::1]:443"),
    ])
    .unwrap();
    assert!(policy.servers[0].guard == Guard::Unprotected);
    assert!(policy.servers[1].guard == Guard::Refused);
    assert_eq!(
        policy.clients[0].destination.to_string(),
        "[2001:db8::1]:443"
    );
    assert!(policy.clients[0].address.is_some());
}

#[test]
fn without_rules_the_main_variable_says_it_all() {
    assert!(read(&[("", "disabled")]).unwrap().mode == Mode::Disabled);
    assert!(read(&[("", "unprotected")]).unwrap().mode == Mode::Unprotected);
    assert!(read(&[("", " protected\n")]).unwrap().isolates());
    let plain = [("_SERVER_1", "unprotected"), ("_SERVER_1_PORT", "TCP:80")];
    assert!(read(&plain).unwrap().mode == Mode::Unprotected);
}

/// A policy that is right.
type Base = &'static [(&'static str, &'static str)];
/// What makes it wrong.
type Changes = &'static [(&'static str, Option<&'static str>)];

#[test]
fn each_fault_names_its_variable_and_what_would_be_right() {
    #[rustfmt::skip]
    let faults: &[(Base, Changes, &str, &str)] = &[
        (&SERVER, &[("", Some("on"))], "MSE_NETWORK_SHIELD", "`on` is not one of `disabled`, `unprotected`, `protected`"),
        (&SERVER, &[("", None)], "_SERVER_1", "`MSE_NETWORK_SHIELD` is `protected`"),
        (&SERVER, &[("", Some("unprotected"))], "_SERVER_1", "only if"),
        (&SERVER, &[("", Some("disabled"))], "_SERVER_1", "only if"),
        (&SERVER, &[("_SERVER_1", Some("proteced"))], "_SERVER_1", "`proteced` is not one of"),
        (&SERVER, &[("_SERVER_1", None)], "_SERVER_1_CLIENT_AUTH", "add `MSE_NETWORK_SHIELD_SERVER_1=protected`"),
        (&SERVER, &[("_SERVER_1_PORT", None)], "_SERVER_1", "needs `MSE_NETWORK_SHIELD_SERVER_1_PORT`"),
        (&SERVER, &[("_SERVER_1_IDENTITY", None)], "_SERVER_1", "needs `MSE_NETWORK_SHIELD_SERVER_1_IDENTITY`"),
        (&SERVER, &[("_SERVER_1_CLIENT_AUTH", None)], "_SERVER_1", "needs `MSE_NETWORK_SHIELD_SERVER_1_CLIENT_AUTH`"),
        (&SERVER, &[("_SERVER_1_CLIENT_AUTH", Some(" "))], "_SERVER_1_CLIENT_AUTH", "is empty"),
        (&SERVER, &[("_SERVER_1_CLIENT_NAMES", Some(" "))], "_SERVER_1_CLIENT_NAMES", "is empty"),
        (&SERVER, &[("_SERVER_1_CLIENT_NAMES", Some(", ,"))], "_SERVER_1_CLIENT_NAMES", "is empty"),
        (&SERVER, &[("_SERVER_1_CLIENT_NAMES", Some("web,a/b"))], "_SERVER_1_CLIENT_NAMES", "`a/b` is not a DNS name"),
        (&SERVER, &[("_SERVER_1_CLIENT_NAMES", Some("*.example"))], "_SERVER_1_CLIENT_NAMES", "`*.example` is not a DNS name"),
        (&SERVER, &[("_SERVER_1_CLIENT_NAMES", Some("web")), ("_SERVER_1_CLIENT_AUTH", Some("disabled"))], "_SERVER_1_CLIENT_NAMES", "clients, which are disabled"),
        (&CLIENT, &[("_CLIENT_db_CLIENT_NAMES", Some("web"))], "_CLIENT_db_CLIENT_NAMES", "no such variable"),
        (&SERVER, &[("_SERVER_1_PORT", Some("8080"))], "_SERVER_1_PORT", "`TCP:port`"),
        (&SERVER, &[("_SERVER_1_PORT", Some("TCP:0"))], "_SERVER_1_PORT", "`TCP:port`"),
        (&SERVER, &[("_SERVER_1_PORT", Some("TCP:+80"))], "_SERVER_1_PORT", "`TCP:port`"),
        (&SERVER, &[("_SERVER_1_PORT", Some("TCP:65536"))], "_SERVER_1_PORT", "`TCP:port`"),
        (&SERVER, &[("_SERVER_1_PORT", Some("UDP:53"))], "_SERVER_1_PORT", "only TCP"),
        (&SERVER, &[("_SERVER_1_PORT", Some("unix:/run/a.sock")), ("_SERVER_1_FLAGS", Some("x"))], "_SERVER_1_PORT", "Unix sockets are not shielded"),
        (&SERVER, &[("_SERVER_1_FLAGS", Some("TolerateInsecureUnixCredentials"))], "_SERVER_1_FLAGS", "take it out"),
        (&SERVER, &[("_SERVER_1_SERVER_AUTH", Some("x"))], "_SERVER_1_SERVER_AUTH", "no such variable"),
        (&SERVER, &[("_SERVER_", Some("protected"))], "_SERVER_", "no such variable"),
        (&SERVER, &[("_SERVR_1", Some("protected"))], "_SERVR_1", "no such variable"),
        (&SERVER, &[("_SERVER_1_IDENTITY", Some("file:tls.pem"))], "_SERVER_1_IDENTITY", "`file:tls.pem` is no absolute path"),
        (&SERVER, &[("_SERVER_1", Some("refuse"))], "_SERVER_1_IDENTITY", "no meaning for a rule that is `refuse`"),
        (&SERVER, &[("_SERVER_2", Some("refuse")), ("_SERVER_2_PORT", Some("TCP:6379"))], "_SERVER_2", "has a rule already: `MSE_NETWORK_SHIELD_SERVER_1`"),
        (&SERVER, &[("_UNSUPPORTED_PROTOCOLS", Some("protected"))], "_UNSUPPORTED_PROTOCOLS", "is not one of"),
        (&SERVER, &[("_CLIENT_1", Some("unprotected")), ("_CLIENT_1_DESTINATION", Some("TCP:localhost:6379"))], "_CLIENT_1_DESTINATION", "own port"),
        (&CLIENT, &[("_CLIENT_db_SERVER_AUTH", None)], "_CLIENT_db", "needs `MSE_NETWORK_SHIELD_CLIENT_db_SERVER_AUTH`"),
        (&CLIENT, &[("_CLIENT_db_SERVER_AUTH", Some("disabled"))], "_CLIENT_db_SERVER_AUTH", "can be anybody"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION", None)], "_CLIENT_db", "needs `MSE_NETWORK_SHIELD_CLIENT_db_DESTINATION`"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION", Some("TCP:db"))], "_CLIENT_db_DESTINATION", "`TCP:host:port`"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION", Some("TCP:::1:5432"))], "_CLIENT_db_DESTINATION", "`TCP:host:port`"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION", Some("TCP:a b:5432"))], "_CLIENT_db_DESTINATION", "`TCP:host:port`"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION", Some("UDP:db:5432"))], "_CLIENT_db_DESTINATION", "only TCP"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION", Some("unix:/run/a"))], "_CLIENT_db_DESTINATION", "Unix sockets"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION_IP", Some("db"))], "_CLIENT_db_DESTINATION_IP", "neither an IP address nor `*`"),
        (&CLIENT, &[("_CLIENT_db_DESTINATION_IP", Some("0.0.0.0"))], "_CLIENT_db_DESTINATION_IP", "neither"),
        (&CLIENT, &[("_CLIENT_db_SERVER_DNS_NAME", Some("a b"))], "_CLIENT_db_SERVER_DNS_NAME", "not a DNS name"),
        (&CLIENT, &[("_CLIENT_db_PORT", Some("TCP:1"))], "_CLIENT_db_PORT", "no such variable"),
    ];
    for (base, changes, variable, expected) in faults {
        let message = refusal(&with(base, changes));
        let variable = variable
            .strip_prefix("MSE_NETWORK_SHIELD")
            .unwrap_or(variable);
        let begin = format!("`MSE_NETWORK_SHIELD{variable}`: ");
        assert!(message.starts_with(&begin), "{begin} {message}");
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn the_two_dialects_cannot_say_the_same_twice() {
    let mut given = environment(&[
        ("MSE_NETWORK_SHIELD", "protected"),
        ("SCONE_NETWORK_SHIELD", "disabled"),
    ]);
    let error = Policy::take(&mut given).err().unwrap();
    assert_eq!(error.fault, Fault::BothDialects);
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    let key = "-----BEGIN PRIVATE KEY-----\ncanary";
    for place in ["", "_SERVER_1", "_SERVER_1_PORT"] {
        let message = refusal(&with(&SERVER, &[(place, Some(key))]));
        assert!(!message.contains("canary"), "{message}");
    }
}

#[test]
fn each_name_has_a_loopback_address_of_its_own_for_all_of_its_ports() {
    let policy = read(&[
        ("", "protected"),
        ("_CLIENT_1", "unprotected"),
        ("_CLIENT_1_DESTINATION", "TCP:db:1"),
        ("_CLIENT_2", "unprotected"),
        ("_CLIENT_2_DESTINATION", "TCP:cache:2"),
        ("_CLIENT_3", "unprotected"),
        ("_CLIENT_3_DESTINATION", "TCP:DB:3"),
        ("_CLIENT_4", "unprotected"),
        ("_CLIENT_4_DESTINATION", "TCP:10.1.2.3:4"),
        ("_CLIENT_5", "unprotected"),
        ("_CLIENT_5_DESTINATION", "TCP:localhost:5"),
        ("_CLIENT_6", "refuse"),
        ("_CLIENT_6_DESTINATION", "TCP:elsewhere:6"),
    ])
    .unwrap();
    let layout = Layout::of(&policy);
    let listen: Vec<String> = layout.listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        listen,
        [
            "127.77.0.1:1",
            "127.77.0.2:2",
            "127.77.0.1:3",
            "10.1.2.3:4",
            "127.0.0.1:5"
        ]
    );
    let hosts: Vec<String> = layout
        .hosts
        .iter()
        .map(|(name, address)| format!("{name} {address}"))
        .collect();
    assert_eq!(hosts, ["cache 127.77.0.2", "db 127.77.0.1"]);
    assert_eq!(layout.addresses.len(), 1);
}

proptest! {
    #[test]
    fn no_text_is_too_strange(values in proptest::collection::btree_map("(MSE|SCONE)_NETWORK_SHIELD(_(SERVER|CLIENT)_[a-z0-9]{0,2}(_(PORT|IDENTITY|CLIENT_AUTH|CLIENT_NAMES|SERVER_AUTH|DESTINATION|DESTINATION_IP|FLAGS))?)?|_[A-Z_]{0,8}", "protected|unprotected|refuse|disabled|(TCP|unix|UDP)?:?\\PC{0,12}:?[0-9]{0,6}", 0..10)) {
        let mut given = values
            .into_iter()
            .map(|(name, value)| (name, Zeroizing::new(value)))
            .collect();
        if let Ok(Some(policy)) = Policy::take(&mut given) {
            let layout = Layout::of(&policy);
            // No two rules share a listener.
            let listeners: BTreeSet<_> = layout.listen.iter().collect();
            prop_assert_eq!(listeners.len(), layout.listen.len());
        }
        prop_assert!(given.keys().all(|name| !is_shield_variable(name)));
    }
}
