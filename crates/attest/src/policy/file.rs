//! Policies as files.

use std::time::SystemTime;

use toml::de::DeTable;

use super::{
    AcceptedStatus, Policy, PolicyError, TcbStatus, Tolerance, ToleratedAdvisory,
    claims::{SECTIONS, Spec, home_of},
    read::{Item, Section, line_of, nearest, shown},
};
use crate::{Tee, TrustAnchor, anchor::AnchorFile, judge::join};

/// The largest policy file that is read.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// A policy file with every key, and what each is for.
pub const POLICY_EXAMPLE: &str = include_str!("example.toml");

impl Policy {
    /// Reads a policy file: TOML of the format `mse-policy/1`, up to [`MAX_POLICY_BYTES`].
    /// [`POLICY_EXAMPLE`] has every key.
    ///
    /// What the file does not mention is as in [`Policy::strict`]. Every exception has a `reason`
    /// and an end (`until`): a day, which is included and ends in UTC, or an instant with its
    /// zone. One that has ended is not in force, and no error: [`Policy::describe`] warns of it.
    ///
    /// Unknown keys, empty lists, values of a wrong length and whatever else cannot be meant are
    /// errors, with line, key, value and what to write instead.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge { size: text.len() });
        }
        let document = DeTable::parse(text).map_err(|error| PolicyError::Toml {
            line: error.span().map_or(1, |span| line_of(text, &span)),
            why: shown(error.message()),
        })?;
        let file = Section::of_document(text, document.get_ref());
        // First, so that a file of another format is told so.
        let format = file.require("format", "begin the file with `format = \"mse-policy/1\"`")?;
        if format.string()? != FORMAT {
            return Err(format.invalid(
                "this format is not known",
                format!("write `format = \"{FORMAT}\"`, or get a newer version of this program"),
            ));
        }
        file.refuse_unknown(KEYS, |_| false, home_of)?;

        let mut policy = Self::strict();
        policy.description = file.find("description").map(|it| it.words()).transpose()?;
        policy.tees = file.find("tees").map(|it| tees(&it)).transpose()?;
        if let Some(item) = file.find("max_collateral_age") {
            policy.max_collateral_age = Some(item.duration()?);
        }
        if let Some(item) = file.find("min_tcb_evaluation_number") {
            policy.min_tcb_evaluation_number = item.integer(0..=u32::MAX)?;
        }
        for section in all(&file, "accept_status")? {
            policy.read_accepted_status(&section)?;
        }
        for section in all(&file, "tolerate_advisory")? {
            policy.read_advisory(&section)?;
        }
        for section in all(&file, "trust_anchor")? {
            policy.read_anchor(&section)?;
        }
        if let Some(item) = file.find("debug") {
            policy.read_debug(&item.section()?)?;
        }
        for spec in SECTIONS {
            if let Some(item) = file.find(spec.name) {
                policy.read_section(spec, &item.section()?)?;
            }
        }
        Ok(policy)
    }

    fn read_accepted_status(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        section.refuse_unknown(&["status", "reason", "until"], |_| false, |_| None)?;
        let item = section.require("status", "name a TCB status, such as `SWHardeningNeeded`")?;
        let status: TcbStatus = item.string()?.parse().map_err(|_| {
            let names = TcbStatus::ALL.map(TcbStatus::as_str);
            let help = match nearest_exactly(item.string().unwrap_or_default(), &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use one of {}", join(names)),
            };
            item.invalid("this is not a TCB status", help)
        })?;
        match status {
            TcbStatus::Revoked => {
                return Err(item.invalid(
                    "no policy can accept platforms whose keys were revoked",
                    "remove this entry",
                ));
            }
            TcbStatus::UpToDate => {
                return Err(item.invalid("every policy accepts this status", "remove this entry"));
            }
            _ if self
                .accepted_statuses
                .iter()
                .any(|one| one.status == status) =>
            {
                return Err(item.twice());
            }
            _ => self.accepted_statuses.push(AcceptedStatus {
                status,
                tolerance: tolerance(section)?,
            }),
        }
        Ok(())
    }

    fn read_advisory(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        section.refuse_unknown(&["id", "reason", "until"], |_| false, |_| None)?;
        let item = section.require("id", "name the advisory, such as `INTEL-SA-00615`")?;
        let id = item.string()?.to_owned();
        if !is_advisory_id(&id) {
            return Err(item.invalid(
                "this is not the id of an advisory of Intel",
                "write `INTEL-SA-` and five digits, as in the collateral",
            ));
        }
        if self.tolerated_advisories.iter().any(|one| one.id == id) {
            return Err(item.twice());
        }
        self.tolerated_advisories.push(ToleratedAdvisory {
            id,
            tolerance: tolerance(section)?,
        });
        Ok(())
    }

    fn read_anchor(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        section.refuse_unknown(
            &["tee", "root_certificate", "mrsigner"],
            |_| false,
            |_| None,
        )?;
        let text = |key, help| Ok(section.require(key, help)?.string()?.to_owned());
        let file = AnchorFile {
            tee: text("tee", "write `tee = \"simulated\"`")?,
            root_certificate: text(
                "root_certificate",
                "put the PEM certificate of the simulated platform here",
            )?,
            mrsigner: section
                .find("mrsigner")
                .map(|item| item.string().map(str::to_owned))
                .transpose()?,
        };
        let anchor = TrustAnchor::from_file(file).map_err(|source| PolicyError::Anchor {
            line: section.line(),
            key: section.path().to_owned(),
            source,
        })?;
        self.anchors.push(anchor);
        Ok(())
    }

    fn read_debug(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        section.refuse_unknown(&["allowed", "reason", "until"], |_| false, |_| None)?;
        let allowed = section
            .require("allowed", "write `allowed = true`, or remove `[debug]`")?
            .boolean()?;
        if allowed {
            self.debug = Some(tolerance(section)?);
        }
        Ok(())
    }

    fn read_section(&mut self, spec: &Spec, section: &Section<'_>) -> Result<(), PolicyError> {
        let known: Vec<&str> = spec
            .claims
            .iter()
            .map(|claim| claim.name)
            .chain(spec.others.iter().copied())
            .collect();
        section.refuse_unknown(
            &known,
            |name| spec.claim(name).is_some(),
            |name| home_of(name).filter(|home| *home != spec.name),
        )?;
        for name in section.keys() {
            if let (Some(claim), Some(item)) = (spec.claim(name), section.find(name)) {
                let values = item
                    .one_or_more()?
                    .iter()
                    .map(|value| claim.value(value))
                    .collect::<Result<Vec<_>, _>>()?;
                self.references
                    .insert(format!("{}.{name}", spec.name), values);
            }
        }
        self.read_others(spec.tee, section)
    }
}

/// The sections `[[key]]`; none if the key is not there.
pub(super) fn all<'t>(section: &Section<'t>, key: &str) -> Result<Vec<Section<'t>>, PolicyError> {
    section
        .find(key)
        .map_or_else(|| Ok(Vec::new()), |item| item.sections())
}

pub(super) fn tolerance(section: &Section<'_>) -> Result<Tolerance, PolicyError> {
    let reason = section
        .require("reason", "say in a sentence why this exception is made")?
        .words()?;
    let until: SystemTime = section
        .require(
            "until",
            "name the day on which it ends, such as `until = 2027-01-31`",
        )?
        .until()?;
    Ok(Tolerance::until(until).with_reason(reason))
}

fn tees(item: &Item<'_>) -> Result<Vec<Tee>, PolicyError> {
    let mut tees = Vec::new();
    for item in item.items()? {
        let name = item.string()?;
        let Some(tee) = HARDWARE.into_iter().find(|tee| tee.as_str() == name) else {
            return Err(if name == Tee::Simulated.as_str() {
                item.invalid(
                    "simulated platforms pass by their trust anchor and nothing else",
                    "remove it here, and add a `[[trust_anchor]]`",
                )
            } else {
                item.invalid(
                    "this is not a TEE",
                    format!("use {}", join(HARDWARE.map(Tee::as_str))),
                )
            });
        };
        if tees.contains(&tee) {
            return Err(item.twice());
        }
        tees.push(tee);
    }
    Ok(tees)
}

/// Intel's form: `INTEL-SA-` and five digits, perhaps more one day.
fn is_advisory_id(id: &str) -> bool {
    id.strip_prefix("INTEL-SA-").is_some_and(|number| {
        (5..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// As [`nearest`], for names in mixed case.
fn nearest_exactly<'c>(word: &str, names: &[&'c str]) -> Option<&'c str> {
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let candidates: Vec<&str> = lower.iter().map(String::as_str).collect();
    let near = nearest(word, &candidates)?;
    let at = candidates.iter().position(|name| *name == near)?;
    names.get(at).copied()
}

const FORMAT: &str = "mse-policy/1";

const KEYS: &[&str] = &[
    "format",
    "description",
    "tees",
    "max_collateral_age",
    "min_tcb_evaluation_number",
    "accept_status",
    "tolerate_advisory",
    "trust_anchor",
    "debug",
    "sgx",
    "tdx",
    "snp",
    "nitro",
    "vtpm",
];

const HARDWARE: [Tee; 5] = [Tee::Sgx, Tee::Tdx, Tee::Snp, Tee::Nitro, Tee::Tpm];
