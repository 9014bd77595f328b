//! From settings to a policy.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::address::{self, shown};
use super::error::{Fault, PolicyError};
use super::variables::{
    CLIENT_AUTH, CLIENT_NAMES, DESTINATION, DESTINATION_IP, FLAGS, IDENTITY, PORT, Rule,
    SERVER_AUTH, SERVER_DNS_NAME, Setting, Settings,
};
use super::{
    ClientAuth, ClientRule, ClientTls, Guard, Host, Mode, Policy, RuleName, ServerRule, ServerTls,
    Source, SourceText,
};

const MODES: &str = "`disabled`, `unprotected`, `protected`";
const GUARDS: &str = "`protected`, `unprotected`, `refuse`";
const PROTOCOLS: &str = "`unprotected`, `refuse`";
/// Instead of authorities: who connects needs no certificate.
const DISABLED: &str = "disabled";
/// Begins the path of a released file.
const FILE: &str = "file:";

pub(super) fn policy(settings: &Settings) -> Result<Policy, PolicyError> {
    let mode = match &settings.main {
        Some(setting) => mode(setting)?,
        None => Mode::Unprotected,
    };
    let remarks = match &settings.unsupported_protocols {
        Some(setting) => remark_on_protocols(setting, mode)?,
        None => Vec::new(),
    };
    let servers = settings
        .servers
        .values()
        .map(server)
        .collect::<Result<Vec<_>, _>>()?;
    let clients = settings
        .clients
        .values()
        .map(client)
        .collect::<Result<Vec<_>, _>>()?;
    let policy = Policy {
        mode,
        servers,
        clients,
        remarks,
    };
    policy.check_kept(&settings.main_name)?;
    policy.check_once()?;
    Ok(policy)
}

impl Policy {
    /// With the host's network, a program can go past every rule.
    fn check_kept(&self, main: &str) -> Result<(), PolicyError> {
        if self.mode == Mode::Protected {
            return Ok(());
        }
        let servers = self
            .servers
            .iter()
            .filter(|rule| rule.guard != Guard::Unprotected)
            .map(|rule| &rule.name);
        let clients = self
            .clients
            .iter()
            .filter(|rule| rule.guard != Guard::Unprotected)
            .map(|rule| &rule.name);
        match servers.chain(clients).next() {
            Some(name) => Err(PolicyError::new(
                name.to_string(),
                Fault::NotKept {
                    main: main.to_owned(),
                },
            )),
            None => Ok(()),
        }
    }

    /// Each port and each destination has one rule.
    fn check_once(&self) -> Result<(), PolicyError> {
        for (index, rule) in self.servers.iter().enumerate() {
            if let Some(first) = self.servers[..index].iter().find(|r| r.port == rule.port) {
                return Err(same_twice(
                    &rule.name,
                    format!("TCP:{}", rule.port),
                    &first.name,
                ));
            }
        }
        for (index, rule) in self.clients.iter().enumerate() {
            let same = |other: &&ClientRule| {
                other.destination.port == rule.destination.port
                    && (other.destination.host == rule.destination.host
                        || (other.destination.host.is_local() && rule.destination.host.is_local()))
            };
            if let Some(first) = self.clients[..index].iter().find(same) {
                let what = format!("TCP:{}", rule.destination);
                return Err(same_twice(&rule.name, what, &first.name));
            }
            let port = rule.destination.port;
            let own = self.servers.iter().find(|server| server.port == port);
            if let Some(server) = own.filter(|_| rule.destination.host.is_local()) {
                return Err(PolicyError::new(
                    format!("{}_{DESTINATION}", rule.name),
                    Fault::OwnPort {
                        port,
                        server: server.name.to_string(),
                    },
                ));
            }
        }
        Ok(())
    }
}

fn same_twice(name: &RuleName, what: String, first: &RuleName) -> PolicyError {
    PolicyError::new(
        name.to_string(),
        Fault::SameTwice {
            what,
            first: first.to_string(),
        },
    )
}

fn mode(setting: &Setting) -> Result<Mode, PolicyError> {
    match setting.value.trim() {
        "disabled" => Ok(Mode::Disabled),
        "unprotected" => Ok(Mode::Unprotected),
        "protected" => Ok(Mode::Protected),
        other => Err(wrong_word(&setting.variable, other, MODES)),
    }
}

/// Other protocols have no way out of a program's own network, whatever a session would allow.
fn remark_on_protocols(setting: &Setting, mode: Mode) -> Result<Vec<String>, PolicyError> {
    match (setting.value.trim(), mode) {
        ("unprotected", Mode::Protected) => Ok(vec![format!(
            "`{}=unprotected` is kept more strictly: UDP and whatever else is not TCP has no way out",
            setting.variable
        )]),
        ("refuse", Mode::Unprotected) => Err(PolicyError::new(
            &setting.variable,
            Fault::Meaningless("in the host's network, where nothing can be refused"),
        )),
        ("unprotected" | "refuse", _) => Ok(Vec::new()),
        (other, _) => Err(wrong_word(&setting.variable, other, PROTOCOLS)),
    }
}

fn server(rule: &Rule) -> Result<ServerRule, PolicyError> {
    let word = word(rule)?;
    no_flags(rule)?;
    let guard = match word {
        "protected" => Guard::Protected(ServerTls {
            identity: needed_source(rule, IDENTITY)?,
            clients: clients(rule)?,
        }),
        plain => plain_guard(rule, plain, &[IDENTITY, CLIENT_AUTH, CLIENT_NAMES])?,
    };
    Ok(ServerRule {
        name: RuleName(rule.name.clone()),
        port: at(rule, PORT, address::port(rule.needed(PORT)?))?,
        guard,
    })
}

fn clients(rule: &Rule) -> Result<ClientAuth, PolicyError> {
    let names = client_names(rule)?;
    match (rule.needed(CLIENT_AUTH)?, names) {
        (DISABLED, None) => Ok(ClientAuth::Disabled),
        (DISABLED, Some(_)) => Err(PolicyError::new(
            rule.variable(CLIENT_NAMES),
            Fault::NamesOfAnybody,
        )),
        (_, names) => Ok(ClientAuth::Authorities {
            issued_by: needed_source(rule, CLIENT_AUTH)?,
            names,
        }),
    }
}

/// Separated by blanks or commas.
fn client_names(rule: &Rule) -> Result<Option<BTreeSet<String>>, PolicyError> {
    let Some(text) = rule.text(CLIENT_NAMES)? else {
        return Ok(None);
    };
    let names = text
        .split([',', ' ', '\t', '\n', '\r'])
        .filter(|name| !name.is_empty())
        .map(|name| at(rule, CLIENT_NAMES, address::client_name(name)))
        .collect::<Result<BTreeSet<_>, _>>()?;
    if names.is_empty() {
        // It would let everybody in, or nobody: neither is what commas alone say.
        return Err(PolicyError::new(rule.variable(CLIENT_NAMES), Fault::Empty));
    }
    Ok(Some(names))
}

fn client(rule: &Rule) -> Result<ClientRule, PolicyError> {
    let word = word(rule)?;
    let destination = at(
        rule,
        DESTINATION,
        address::destination(rule.needed(DESTINATION)?),
    )?;
    no_flags(rule)?;
    let address = match rule.text(DESTINATION_IP)? {
        None | Some("*") => None,
        Some(text) => Some(at(rule, DESTINATION_IP, address::ip_address(text))?),
    };
    let guard = match word {
        "protected" => {
            if rule.needed(SERVER_AUTH)? == DISABLED {
                return Err(PolicyError::new(
                    rule.variable(SERVER_AUTH),
                    Fault::UnverifiedServer,
                ));
            }
            Guard::Protected(ClientTls {
                identity: source(rule, IDENTITY)?,
                authorities: needed_source(rule, SERVER_AUTH)?,
                server_name: match rule.text(SERVER_DNS_NAME)? {
                    Some(name) => at(rule, SERVER_DNS_NAME, address::server_name(name))?,
                    None => at(
                        rule,
                        DESTINATION,
                        address::server_name_of(&destination.host),
                    )?,
                },
            })
        }
        plain => plain_guard(rule, plain, &[IDENTITY, SERVER_AUTH, SERVER_DNS_NAME])?,
    };
    let address = address.or(match &destination.host {
        Host::Address(address) => Some(*address),
        Host::Name(_) => None,
    });
    Ok(ClientRule {
        name: RuleName(rule.name.clone()),
        destination,
        address,
        guard,
    })
}

/// What the variable that begins the rule says.
fn word(rule: &Rule) -> Result<&str, PolicyError> {
    if let Some(word) = rule.text("")? {
        return Ok(word);
    }
    let part = rule.parts.values().next();
    Err(PolicyError::new(
        part.map_or(&rule.name, |part| &part.variable),
        Fault::NoRule {
            rule: rule.name.clone(),
        },
    ))
}

/// A rule without TLS, which has no use for `parts` of it.
fn plain_guard<T>(rule: &Rule, word: &str, parts: &[&str]) -> Result<Guard<T>, PolicyError> {
    let (guard, word) = match word {
        "unprotected" => (Guard::Unprotected, "unprotected"),
        "refuse" => (Guard::Refused, "refuse"),
        other => return Err(wrong_word(&rule.name, other, GUARDS)),
    };
    match parts.iter().find_map(|part| rule.parts.get(part)) {
        Some(part) => Err(PolicyError::new(&part.variable, Fault::Meaningless(word))),
        None => Ok(guard),
    }
}

fn no_flags(rule: &Rule) -> Result<(), PolicyError> {
    // What is shielded is looked at first: flags are for Unix sockets, and those are the fault.
    if let Some(port) = rule.text(PORT)? {
        at(rule, PORT, address::port(port))?;
    }
    match rule.parts.get(FLAGS) {
        Some(flags) => Err(PolicyError::new(&flags.variable, Fault::Flags)),
        None => Ok(()),
    }
}

fn needed_source(rule: &Rule, part: &str) -> Result<Source, PolicyError> {
    rule.needed(part)?;
    source(rule, part)?
        .ok_or_else(|| PolicyError::new(&rule.name, Fault::Missing(rule.variable(part))))
}

/// PEM, or `file:` and paths, separated by blanks or commas.
fn source(rule: &Rule, part: &str) -> Result<Option<Source>, PolicyError> {
    let Some(text) = rule.text(part)? else {
        return Ok(None);
    };
    let variable = rule.variable(part);
    let text = if text.starts_with(FILE) {
        let paths = text
            .split([',', ' ', '\t', '\n', '\r'])
            .filter(|path| !path.is_empty())
            .map(|path| {
                path.strip_prefix(FILE)
                    .filter(|path| path.starts_with('/') && path.len() > 1)
                    .map(str::to_owned)
                    .ok_or_else(|| PolicyError::new(&variable, Fault::FilePath(shown(path))))
            })
            .collect::<Result<_, _>>()?;
        SourceText::Files(paths)
    } else {
        SourceText::Pem(Zeroizing::new(text.to_owned()))
    };
    Ok(Some(Source { variable, text }))
}

fn at<T>(rule: &Rule, part: &str, outcome: Result<T, Fault>) -> Result<T, PolicyError> {
    outcome.map_err(|fault| PolicyError::new(rule.variable(part), fault))
}

fn wrong_word(variable: &str, found: &str, expected: &'static str) -> PolicyError {
    PolicyError::new(
        variable,
        Fault::Word {
            found: shown(found),
            expected,
        },
    )
}
