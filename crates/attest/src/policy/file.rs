//! Policies as files.

use std::time::SystemTime;

use toml::de::DeTable;

use super::{
    AcceptedStatus, Policy, PolicyError, ServiceTd, TcbStatus, Tolerance, ToleratedAdvisory,
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
        match spec.tee {
            Tee::Nitro => self.check_nitro(section),
            Tee::Sgx => self.read_sgx(section),
            Tee::Tdx => self.read_tdx(section),
            _ => Ok(()),
        }
    }

    /// A document has registers of an enclave or of a NitroTPM: both can never be there.
    fn check_nitro(&self, section: &Section<'_>) -> Result<(), PolicyError> {
        let names = |prefix: &str| self.references.keys().any(|name| name.starts_with(prefix));
        let both = section
            .keys()
            .find(|name| name.starts_with("nitrotpm_pcr") && names("nitro.pcr"));
        match both.and_then(|name| section.find(name)) {
            Some(item) => Err(item.invalid(
                "no document has registers of an enclave and of a NitroTPM",
                "keep `pcr…` for enclaves, or `nitrotpm_pcr…` for EC2 instances",
            )),
            None => Ok(()),
        }
    }

    fn read_sgx(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        if let Some(item) = section.find("isv_prod_id") {
            self.sgx.isv_prod_id = Some(sixteen_bits(&item)?);
        }
        if let Some(item) = section.find("min_isv_svn") {
            self.sgx.min_isv_svn = sixteen_bits(&item)?;
        }
        Ok(())
    }

    fn read_tdx(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        if let Some(item) = section.find("min_tee_tcb_svn") {
            self.tdx.min_tee_tcb_svn = item.hex_array()?;
        }
        for section in all(section, "tolerate")? {
            let what = section.require("what", TDX_TOLERATE)?;
            let slot = match what.string()? {
                "service-td" => {
                    self.read_service_td(&section)?;
                    continue;
                }
                "sept-ve" => &mut self.tdx.sept_ve,
                "migration" => &mut self.tdx.migration,
                _ => return Err(what.invalid("there is no such exception", TDX_TOLERATE)),
            };
            section.refuse_unknown(&["what", "reason", "until"], |_| false, |_| None)?;
            if slot.is_some() {
                return Err(what.twice());
            }
            *slot = Some(tolerance(&section)?);
        }
        Ok(())
    }

    fn read_service_td(&mut self, section: &Section<'_>) -> Result<(), PolicyError> {
        section.refuse_unknown(
            &["what", "mr_service_td", "reason", "until"],
            |_| false,
            |_| None,
        )?;
        let item = section.require("mr_service_td", "give the 48 bytes of MR_SERVICETD")?;
        let mr_service_td = item.hex_array()?;
        if mr_service_td == [0; 48] {
            return Err(item.invalid(
                "zero stands for no service TD",
                "name the service TD, or remove this entry",
            ));
        }
        let tolerated = &mut self.tdx.service_tds;
        if tolerated
            .iter()
            .any(|one| one.mr_service_td == mr_service_td)
        {
            return Err(item.twice());
        }
        tolerated.push(ServiceTd {
            mr_service_td,
            tolerance: tolerance(section)?,
        });
        Ok(())
    }
}

/// The sections `[[key]]`; none if the key is not there.
fn all<'t>(section: &Section<'t>, key: &str) -> Result<Vec<Section<'t>>, PolicyError> {
    section
        .find(key)
        .map_or_else(|| Ok(Vec::new()), |item| item.sections())
}

fn tolerance(section: &Section<'_>) -> Result<Tolerance, PolicyError> {
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

fn sixteen_bits(item: &Item<'_>) -> Result<u16, PolicyError> {
    let number = item.integer(0..=u32::from(u16::MAX))?;
    u16::try_from(number).map_err(|_| item.invalid("the number is out of range", "use 16 bits"))
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

/// The section of a TEE: which claims can have reference values, and its other keys.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) tee: Tee,
    claims: &'static [Claim],
    others: &'static [&'static str],
}

impl Spec {
    fn claim(&self, name: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.is_named(name))
    }
}

/// A claim, or a row of numbered ones (`pcr0`, `pcr1`, …).
struct Claim {
    name: &'static str,
    /// How many there are of a row.
    registers: Option<u8>,
    lengths: &'static [usize],
}

impl Claim {
    const fn of(name: &'static str, lengths: &'static [usize]) -> Self {
        Self {
            name,
            registers: None,
            lengths,
        }
    }

    const fn row(name: &'static str, registers: u8, lengths: &'static [usize]) -> Self {
        Self {
            name,
            registers: Some(registers),
            lengths,
        }
    }

    fn is_named(&self, name: &str) -> bool {
        match self.registers {
            None => name == self.name,
            // Written in one way only: `pcr07` is not `pcr7`.
            Some(registers) => name.strip_prefix(self.name).is_some_and(|number| {
                (0..registers).any(|register| register.to_string() == number)
            }),
        }
    }

    fn value(&self, item: &Item<'_>) -> Result<Vec<u8>, PolicyError> {
        match self.lengths {
            [] => item.hex(|length| (1..=MAX_VALUE).contains(&length), "the value"),
            lengths => item.hex(
                |length| lengths.contains(&length),
                &format!(
                    "{} bytes",
                    lengths
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" or ")
                ),
            ),
        }
    }
}

/// Where a key that stands in the wrong place belongs.
fn home_of(name: &str) -> Option<&'static str> {
    SECTIONS
        .iter()
        .find(|spec| {
            spec.claim(name).is_some() || (name != "tolerate" && spec.others.contains(&name))
        })
        .map(|spec| spec.name)
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

const TDX_TOLERATE: &str = "use `sept-ve`, `migration`, or `service-td` with `mr_service_td`";

/// The longest value of a claim that has no length of its own.
const MAX_VALUE: usize = 1024;

pub(super) static SECTIONS: &[Spec] = &[
    Spec {
        name: "sgx",
        tee: Tee::Sgx,
        claims: &[Claim::of("mrenclave", &[32]), Claim::of("mrsigner", &[32])],
        others: &["isv_prod_id", "min_isv_svn"],
    },
    Spec {
        name: "tdx",
        tee: Tee::Tdx,
        claims: &[
            Claim::of("mr_td", &[48]),
            Claim::row("rtmr", 4, &[48]),
            Claim::of("mr_config_id", &[48]),
            Claim::of("mr_owner", &[48]),
            Claim::of("mr_owner_config", &[48]),
            Claim::of("mr_seam", &[48]),
            Claim::of("mr_signer_seam", &[48]),
            Claim::of("td_attributes", &[8]),
            Claim::of("xfam", &[8]),
        ],
        others: &["min_tee_tcb_svn", "tolerate"],
    },
    Spec {
        name: "snp",
        tee: Tee::Snp,
        claims: &[
            Claim::of("measurement", &[48]),
            Claim::of("host_data", &[32]),
            Claim::of("family_id", &[16]),
            Claim::of("image_id", &[16]),
            Claim::of("id_key_digest", &[48]),
            Claim::of("author_key_digest", &[48]),
            Claim::of("report_id", &[32]),
            Claim::of("report_id_ma", &[32]),
            Claim::of("chip_id", &[64]),
        ],
        others: &[],
    },
    Spec {
        name: "nitro",
        tee: Tee::Nitro,
        claims: &[
            Claim::row("pcr", 32, &[48]),
            Claim::row("nitrotpm_pcr", 24, &[48]),
            Claim::of("user_data", &[]),
            Claim::of("public_key", &[]),
        ],
        others: &[],
    },
    Spec {
        name: "vtpm",
        tee: Tee::Tpm,
        claims: &[
            Claim::row("pcr", 24, &[32, 48, 64]),
            Claim::of("user_data", &[]),
            Claim::of("ak_sha256", &[32]),
        ],
        others: &[],
    },
];
