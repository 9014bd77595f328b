//! From an environment to the settings of the shield, by rule.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::error::{Fault, PolicyError};

/// A variable is at most this long.
pub(crate) const MAX_VALUE: usize = 256 * 1024;
/// So many rules of a kind at most.
pub(crate) const MAX_RULES: usize = 32;
/// The name of a rule is at most this long.
const MAX_LABEL: usize = 32;

const DIALECTS: [&str; 2] = ["MSE_", "SCONE_"];
const STEM: &str = "NETWORK_SHIELD";

/// Whether `name` is one that the shield takes, and the program is never told.
pub fn is_shield_variable(name: &str) -> bool {
    rest(name).is_some()
}

/// What follows the stem.
fn rest(name: &str) -> Option<&str> {
    DIALECTS
        .iter()
        .find_map(|dialect| name.strip_prefix(dialect)?.strip_prefix(STEM))
        .filter(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// A value, with the name of the variable as the session has it.
pub(crate) struct Setting {
    pub(crate) variable: String,
    pub(crate) value: Zeroizing<String>,
}

/// All variables of the shield.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) main: Option<Setting>,
    pub(crate) unsupported_protocols: Option<Setting>,
    pub(crate) servers: BTreeMap<String, Rule>,
    pub(crate) clients: BTreeMap<String, Rule>,
    /// What the main variable is called, or would be.
    pub(crate) main_name: String,
}

/// The variables of one rule, by what follows its name; the rule's own is under the empty key.
pub(crate) struct Rule {
    /// The variable that begins it, whether it is there or not.
    pub(crate) name: String,
    pub(crate) parts: BTreeMap<&'static str, Setting>,
}

pub(crate) const PORT: &str = "PORT";
pub(crate) const IDENTITY: &str = "IDENTITY";
pub(crate) const CLIENT_AUTH: &str = "CLIENT_AUTH";
pub(crate) const CLIENT_NAMES: &str = "CLIENT_NAMES";
pub(crate) const SERVER_AUTH: &str = "SERVER_AUTH";
pub(crate) const FLAGS: &str = "FLAGS";
pub(crate) const DESTINATION: &str = "DESTINATION";
pub(crate) const DESTINATION_IP: &str = "DESTINATION_IP";
pub(crate) const SERVER_DNS_NAME: &str = "SERVER_DNS_NAME";

const SERVER_PARTS: &[&str] = &[PORT, IDENTITY, CLIENT_AUTH, CLIENT_NAMES, FLAGS];
const CLIENT_PARTS: &[&str] = &[
    DESTINATION,
    DESTINATION_IP,
    SERVER_DNS_NAME,
    IDENTITY,
    SERVER_AUTH,
    FLAGS,
];

impl Settings {
    /// Takes all of them out of `environment`, also when one is wrong.
    pub(crate) fn take(
        environment: &mut BTreeMap<String, Zeroizing<String>>,
    ) -> Result<Option<Self>, PolicyError> {
        let mut taken = Vec::new();
        environment.retain(|name, value| {
            let is_ours = is_shield_variable(name);
            if is_ours {
                taken.push(Setting {
                    variable: name.clone(),
                    value: value.clone(),
                });
            }
            !is_ours
        });
        let Some(first) = taken.first() else {
            return Ok(None);
        };
        let dialect = DIALECTS
            .into_iter()
            .find(|dialect| first.variable.starts_with(dialect))
            .unwrap_or_default();
        let mut settings = Self {
            main_name: format!("{dialect}{STEM}"),
            ..Self::default()
        };
        for setting in taken {
            settings.sort_in(setting)?;
        }
        Ok(Some(settings))
    }

    fn sort_in(&mut self, setting: Setting) -> Result<(), PolicyError> {
        let fault = |fault| PolicyError::new(setting.variable.clone(), fault);
        if setting.value.len() > MAX_VALUE {
            return Err(fault(Fault::TooLong(setting.value.len())));
        }
        let rest = rest(&setting.variable).unwrap_or_default();
        let stem = setting.variable.len() - rest.len();
        let earlier = match rest {
            "" => self.main.replace(setting),
            "_UNSUPPORTED_PROTOCOLS" => self.unsupported_protocols.replace(setting),
            _ => {
                let (rules, kind, parts) = if let Some(rule) = rest.strip_prefix("_SERVER_") {
                    (&mut self.servers, rule, SERVER_PARTS)
                } else if let Some(rule) = rest.strip_prefix("_CLIENT_") {
                    (&mut self.clients, rule, CLIENT_PARTS)
                } else {
                    return Err(fault(Fault::Unknown));
                };
                let (label, part) = split(kind, parts).ok_or_else(|| fault(Fault::Unknown))?;
                let name =
                    setting.variable[..stem + rest.len() - kind.len() + label.len()].to_owned();
                if !rules.contains_key(label) && rules.len() >= MAX_RULES {
                    return Err(fault(Fault::TooManyRules(MAX_RULES)));
                }
                let label = label.to_owned();
                let rule = rules.entry(label).or_insert_with(|| Rule {
                    name,
                    parts: BTreeMap::new(),
                });
                rule.parts.insert(part, setting)
            }
        };
        match earlier {
            Some(earlier) => Err(PolicyError::new(earlier.variable, Fault::BothDialects)),
            None => Ok(()),
        }
    }
}

/// Name and part of `1_IDENTITY`; the part of `1` is empty.
fn split<'a>(rule: &'a str, parts: &[&'static str]) -> Option<(&'a str, &'static str)> {
    let (label, part) = match rule.split_once('_') {
        None => (rule, ""),
        Some((label, part)) => (label, *parts.iter().find(|known| **known == part)?),
    };
    let is_name = !label.is_empty()
        && label.len() <= MAX_LABEL
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some((label, part))
}

impl Rule {
    pub(crate) fn variable(&self, part: &str) -> String {
        format!("{}_{part}", self.name)
    }

    /// The part's value without blanks around it, which must not be nothing.
    pub(crate) fn text(&self, part: &str) -> Result<Option<&str>, PolicyError> {
        let Some(setting) = self.parts.get(part) else {
            return Ok(None);
        };
        match setting.value.trim() {
            "" => Err(PolicyError::new(&setting.variable, Fault::Empty)),
            text => Ok(Some(text)),
        }
    }

    pub(crate) fn needed(&self, part: &str) -> Result<&str, PolicyError> {
        self.text(part)?
            .ok_or_else(|| PolicyError::new(&self.name, Fault::Missing(self.variable(part))))
    }
}
