//! The variables that a container is given. None of them is measured as such: some are part of
//! the workload, whose digest is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::str::FromStr;

use mse_workload::{CasKey, Resources};

/// Begins the name of each.
const PREFIX: &str = "MSE_";
/// Begins the name of a variable that holds an argument of the host.
const ARGUMENT: &str = "MSE_ARG_";
/// Begins the name of a variable that holds a variable of the host.
const VARIABLE: &str = "MSE_ENV_";

/// What the environment says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `MSE_CAS`: `host:port` of the CAS.
    pub(crate) cas: String,
    /// `MSE_CAS_KEY`: which CAS it must be.
    pub(crate) cas_key: CasKey,
    /// `MSE_SESSION`.
    pub(crate) session: String,
    /// `MSE_SERVICE`: the service in it.
    pub(crate) service: String,
    /// `MSE_MEMORY_MIB` and `MSE_MILLICORES`.
    pub(crate) resources: Resources,
    /// `MSE_ARG_1`, `MSE_ARG_2`…: for `@@1`, `@@2`…
    pub(crate) arguments: Vec<String>,
    /// `MSE_ENV_NAME`: for `\@\@NAME`.
    pub(crate) variables: BTreeMap<String, String>,
    /// `MSE_TEE`; the machine's own if it is not set.
    pub(crate) tee: Option<Tee>,
}

/// A TEE by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tee {
    Simulated,
    Gramine,
    Tsm,
}

impl FromStr for Tee {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "simulated" => Ok(Self::Simulated),
            "gramine" => Ok(Self::Gramine),
            "tsm" => Ok(Self::Tsm),
            _ => Err(()),
        }
    }
}

impl Environment {
    /// Reads `variables`. Others than those of this module are left alone: orchestrators set
    /// variables of their own, whose names may begin with anything.
    pub(crate) fn read(
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvironmentError> {
        let given = Given::of(variables)?;
        let tee = given.tee()?;
        Ok(Self {
            cas: given.cas()?,
            cas_key: given.required(
                "MSE_CAS_KEY",
                "the SHA-256 of the CAS's public root key, 64 hexadecimal digits, which `mse cas attest` shows",
            )?,
            session: given.required("MSE_SESSION", "the session with its namespaces: `team/shop`")?,
            service: given.required("MSE_SERVICE", "the name of the service in the session")?,
            resources: Resources {
                memory_mib: given.number("MSE_MEMORY_MIB", "memory in MiB: `512`")?,
                millicores: given.number("MSE_MILLICORES", "thousandths of a core: `500`")?,
            },
            arguments: given.arguments()?,
            variables: given.variables(),
            tee,
        })
    }
}

/// Our variables as they are.
pub(crate) struct Given(BTreeMap<String, String>);

impl Given {
    pub(crate) fn of(
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvironmentError> {
        let mut given = BTreeMap::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let value = value
                .into_string()
                .map_err(|_| EnvironmentError::NotText(name.to_owned()))?;
            given.insert(name.to_owned(), value);
        }
        Ok(Self(given))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `MSE_TEE`, if it is set.
    pub(crate) fn tee(&self) -> Result<Option<Tee>, EnvironmentError> {
        const FIX: &str =
            "write `simulated`, `gramine` or `tsm`, or leave it away for the TEE of the machine";
        let name = self.get("MSE_TEE");
        name.map(|name| parse("MSE_TEE", name, FIX)).transpose()
    }

    pub(crate) fn required<T: FromStr>(
        &self,
        name: &'static str,
        what: &'static str,
    ) -> Result<T, EnvironmentError> {
        match self.get(name) {
            None | Some("") => Err(EnvironmentError::Missing { name, what }),
            Some(value) => parse(name, value, what),
        }
    }

    pub(crate) fn number(
        &self,
        name: &'static str,
        what: &'static str,
    ) -> Result<u32, EnvironmentError> {
        let number: u32 = self.required(name, what)?;
        if number == 0 {
            return Err(EnvironmentError::wrong(name, "0", what));
        }
        Ok(number)
    }

    fn cas(&self) -> Result<String, EnvironmentError> {
        const WHAT: &str = "where the CAS is: `cas.example:18765`";
        let address: String = self.required("MSE_CAS", WHAT)?;
        let is_address = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if is_address {
            return Ok(address);
        }
        Err(EnvironmentError::wrong("MSE_CAS", &address, WHAT))
    }

    /// `MSE_ARG_1` and on, without a gap.
    fn arguments(&self) -> Result<Vec<String>, EnvironmentError> {
        let mut numbered = BTreeMap::new();
        for (name, value) in self.with_prefix(ARGUMENT) {
            let number = name
                .parse::<usize>()
                .ok()
                .filter(|number| *number > 0 && number.to_string() == name);
            let number = number.ok_or_else(|| EnvironmentError::Wrong {
                name: format!("{ARGUMENT}{name}"),
                value: shown(value),
                fix: "arguments are numbered: `MSE_ARG_1`, `MSE_ARG_2`…",
            })?;
            numbered.insert(number, value.clone());
        }
        for (expected, number) in (1..).zip(numbered.keys()) {
            if expected != *number {
                return Err(EnvironmentError::Gap(expected, *number));
            }
        }
        Ok(numbered.into_values().collect())
    }

    fn variables(&self) -> BTreeMap<String, String> {
        self.with_prefix(VARIABLE)
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    }

    fn with_prefix<'a>(
        &'a self,
        prefix: &'static str,
    ) -> impl Iterator<Item = (&'a str, &'a String)> {
        self.0
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
    }
}

fn parse<T: FromStr>(
    name: &'static str,
    value: &str,
    fix: &'static str,
) -> Result<T, EnvironmentError> {
    value
        .parse()
        .map_err(|_| EnvironmentError::wrong(name, value, fix))
}

fn shown(value: &str) -> String {
    let start: String = value.chars().take(80).collect();
    start.escape_debug().to_string()
}

/// Why the environment names no service.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("the variable `{name}` is not set; set it to {what}")]
    Missing {
        name: &'static str,
        what: &'static str,
    },
    #[error("the variable `{name}` is `{value}`; {fix}")]
    Wrong {
        name: String,
        value: String,
        fix: &'static str,
    },
    #[error("the value of the variable `{0}` is not UTF-8; write text")]
    NotText(String),
    #[error(
        "the variable `MSE_ARG_{1}` is set, and `MSE_ARG_{0}` is not: arguments are numbered from 1 without a gap"
    )]
    Gap(usize, usize),
}

impl EnvironmentError {
    pub(crate) fn wrong(name: &'static str, value: &str, fix: &'static str) -> Self {
        Self::Wrong {
            name: name.to_owned(),
            value: shown(value),
            fix,
        }
    }
}

#[cfg(test)]
mod tests {
    use mse_crypto::Digest;

    use super::*;

    fn read(change: &[(&str, Option<&str>)]) -> Result<Environment, EnvironmentError> {
        let key = Digest::of(b"key").to_string();
        let mut variables: BTreeMap<&str, &str> = [
            ("MSE_CAS", "cas.example:18765"),
            ("MSE_CAS_KEY", &key),
            ("MSE_SESSION", "team/shop"),
            ("MSE_SERVICE", "web"),
            ("MSE_MEMORY_MIB", "512"),
            ("MSE_MILLICORES", "500"),
            ("PATH", "/bin"),
            // Kubernetes sets it where there is a service `mse-cas`.
            ("MSE_CAS_PORT", "tcp://10.0.0.1:18765"),
        ]
        .into();
        for (name, value) in change {
            match value {
                Some(value) => variables.insert(name, value),
                None => variables.remove(name),
            };
        }
        Environment::read(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    fn refusal(change: &[(&str, Option<&str>)]) -> String {
        read(change).unwrap_err().to_string()
    }

    #[test]
    fn what_is_said_is_read_and_the_rest_left_alone() {
        let environment = read(&[
            ("MSE_ARG_2", Some("b")),
            ("MSE_ARG_1", Some("a")),
            ("MSE_ENV_ZONE", Some("z1")),
            ("MSE_TEE", Some("simulated")),
        ])
        .unwrap();
        assert_eq!(environment.cas, "cas.example:18765");
        assert_eq!(environment.arguments, ["a", "b"]);
        assert_eq!(
            environment.variables,
            [("ZONE".to_owned(), "z1".to_owned())].into()
        );
        assert_eq!(environment.tee, Some(Tee::Simulated));
        assert_eq!(read(&[]).unwrap().tee, None);
    }

    #[test]
    fn each_wrong_or_missing_variable_is_named_with_its_value_and_a_fix() {
        for name in [
            "MSE_CAS",
            "MSE_CAS_KEY",
            "MSE_SESSION",
            "MSE_SERVICE",
            "MSE_MEMORY_MIB",
            "MSE_MILLICORES",
        ] {
            for missing in [None, Some("")] {
                let message = refusal(&[(name, missing)]);
                assert!(message.contains(&format!("`{name}` is not set; set it to ")));
            }
        }
        for (name, value) in [
            ("MSE_CAS", "cas.example"),
            ("MSE_CAS", "cas.example:0"),
            ("MSE_CAS", ":18765"),
            ("MSE_CAS_KEY", "abcd"),
            ("MSE_MEMORY_MIB", "512Mi"),
            ("MSE_MEMORY_MIB", "0"),
            ("MSE_MILLICORES", "-1"),
            ("MSE_TEE", "sgx"),
            ("MSE_TEE", ""),
            ("MSE_ARG_x", "1"),
            ("MSE_ARG_01", "1"),
            ("MSE_ARG_0", "1"),
        ] {
            let message = refusal(&[(name, Some(value))]);
            assert!(
                message.contains(&format!("`{name}` is `{value}`; ")),
                "{message}"
            );
        }
        let gap = refusal(&[("MSE_ARG_1", Some("a")), ("MSE_ARG_3", Some("c"))]);
        assert!(gap.contains("`MSE_ARG_2` is not"), "{gap}");
    }
}
