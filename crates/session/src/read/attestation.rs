//! `attestation` of services.

use mse_crypto::Digest;
use mse_yaml::{Code, Field, Fields, Spot, optional, or_default, shown};

use super::{Reader, SessionField};
use crate::model::{
    AttestationEntry, EvidenceRule, Feature, Hex, OrReference, SecurityVersion, SgxSigner, TeeKind,
};

/// A map (one way), a reference, or a list of both.
pub(crate) fn entries(r: &mut Reader, field: &Field<'_>) -> Option<Vec<AttestationEntry>> {
    let entries: Vec<_> = field
        .one_or_many(r)
        .iter()
        .map(|item| match item.reference(r) {
            Some(reference) => {
                r.uses(Feature::SectionReferences, &item.spot);
                Some(AttestationEntry::Fragment(reference))
            }
            None => rule(r, item).map(|rule| AttestationEntry::Rule(Box::new(rule))),
        })
        .collect();
    entries.into_iter().collect()
}

fn rule(r: &mut Reader, field: &Field<'_>) -> Option<EvidenceRule> {
    let mut fields = field.map(r)?;
    let mrenclave = each(r, fields.get("mrenclave"), |field, r| measurement(r, field));
    let signer = optional(fields.get("signer"), |field| signer(r, &field));
    let workload = each(r, fields.get("workload"), |field, r| {
        field.parse::<Digest>(r, Code::BadValue)
    });
    let measurement = each(r, fields.get("measurement"), machine);
    let rtmr = EvidenceRule::RTMR.map(|key| each(r, fields.get(key), machine));
    let tees = TeeKind::ALL.map(|tee| (tee.as_str(), tee));
    let tee = each(r, fields.get("tee"), |field, r| {
        if field.scalar() == Some("simulated") {
            r.report.error_with(
                Code::BadValue,
                &field.spot,
                "the simulated TEE is none",
                "write `simulated: true` if evidence that proves nothing is good enough",
            );
            return None;
        }
        field.word(r, &tees)
    });
    let simulated = or_default(fields.get("simulated"), |field| {
        let simulated = field.boolean(r);
        if simulated == Some(true) {
            r.report.warn(
                Code::SimulatedEvidence,
                &field.spot,
                "evidence of the simulated TEE is accepted: whoever runs the program can read \
                     everything and change everything",
                "for tests only",
            );
        }
        simulated
    });
    let spot = fields.spot.clone();
    fields.finish(r);
    let rule = EvidenceRule {
        mrenclave: mrenclave?,
        signer: signer?,
        workload: workload?,
        measurement: measurement?,
        rtmr: all(rtmr)?,
        tee: tee?,
        simulated: simulated?,
    };
    if !rule.names_a_program() {
        r.report.error_with(
            Code::MissingAttestation,
            &spot,
            "this accepts every program",
            "add `workload`, `mrenclave`, `signer` or `measurement`",
        );
        return None;
    }
    machines(r, &spot, &rule)?;
    Some(rule)
}

/// In a trust domain the measurement is only the firmware: who may choose the kernel may choose
/// everything.
fn machines(r: &mut Reader, spot: &Spot, rule: &EvidenceRule) -> Option<()> {
    let has_registers = rule.rtmr.iter().any(|register| !register.is_empty());
    if has_registers && !rule.names_a_trust_domain() {
        r.report.error_with(
            Code::BadValue,
            spot,
            "this names a part of a trust domain (TDX), and leaves the rest to the host",
            "name `measurement` (MRTD), `rtmr1` and `rtmr2`; `mse measure tdx` computes them",
        );
        return None;
    }
    if !rule.workload.is_empty() && rule.measurement.is_empty() {
        r.report.warn(
            Code::NoEffect,
            spot,
            "this admits nothing: the host writes the digest of the workload, and any machine of its could have it",
            "name the machine, too: `measurement`, and on TDX `rtmr1` and `rtmr2`",
        );
    }
    if rule.measurement.is_empty() || has_registers {
        return Some(());
    }
    let hint = "name `rtmr1` and `rtmr2`, too; `mse measure tdx` computes them";
    if rule.tee == [TeeKind::Tdx] {
        let message = "this admits nothing: in a trust domain `measurement` is only the firmware, and the host chooses the kernel";
        r.report.error_with(Code::BadValue, spot, message, hint);
        return None;
    }
    if rule.tee.is_empty() || rule.tee.contains(&TeeKind::Tdx) {
        let message = "`measurement` counts on SEV-SNP only: in a trust domain (TDX) it is only the firmware, and the host chooses the kernel";
        r.report.warn(
            Code::WeakAttestation,
            spot,
            message,
            format!("{hint}; or write `tee: snp`"),
        );
    }
    Some(())
}

fn machine(field: &Field<'_>, r: &mut Reader) -> Option<Hex<48>> {
    field.parse(r, Code::BadValue)
}

fn all<T, const N: usize>(parts: [Option<T>; N]) -> Option<[T; N]> {
    let parts: Vec<T> = parts.into_iter().collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// One or many of something, in an order and without repetitions: they are alternatives. A list
/// that is there must not be empty: no alternative is no program, and not every one.
fn each<T: SortKey>(
    r: &mut Reader,
    field: Option<Field<'_>>,
    read: impl Fn(&Field<'_>, &mut Reader) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(field) = field else {
        return Some(Vec::new());
    };
    let items = field.one_or_many(r);
    if items.is_empty() {
        r.report
            .error(Code::BadValue, &field.spot, "an empty list accepts nothing");
        return None;
    }
    let read: Vec<_> = items.iter().map(|item| read(item, r)).collect();
    let mut read: Vec<T> = read.into_iter().collect::<Option<_>>()?;
    read.sort_by_key(SortKey::key);
    read.dedup_by_key(|one| one.key());
    Some(read)
}

/// What alternatives are ordered by.
trait SortKey {
    fn key(&self) -> String;
}

impl SortKey for OrReference<Hex<32>> {
    fn key(&self) -> String {
        match self {
            Self::Given(hex) => hex.to_string(),
            Self::From(reference) => reference.to_string(),
        }
    }
}

impl SortKey for Digest {
    fn key(&self) -> String {
        self.to_string()
    }
}

impl SortKey for Hex<48> {
    fn key(&self) -> String {
        self.to_string()
    }
}

impl SortKey for TeeKind {
    fn key(&self) -> String {
        self.as_str().to_owned()
    }
}

fn measurement(r: &mut Reader, field: &Field<'_>) -> Option<OrReference<Hex<32>>> {
    field.or_reference(r, |field, r| field.parse(r, Code::BadValue))
}

/// The legacy list `mrenclaves`.
pub(super) fn mrenclaves(r: &mut Reader, field: &Field<'_>) -> Option<Vec<OrReference<Hex<32>>>> {
    r.report.warn(
        Code::Legacy,
        &field.spot,
        "`mrenclaves` is the older form of `attestation`",
        "write `attestation: [{mrenclave: […]}]`",
    );
    each(r, Some(field.clone()), |field, r| measurement(r, field))
}

fn signer(r: &mut Reader, field: &Field<'_>) -> Option<SgxSigner> {
    let mut fields = field.map(r)?;
    let mrsigner = fields
        .require(r, "mrsigner")
        .and_then(|field| measurement(r, &field));
    let isvprodid = fields
        .require(r, "isvprodid")
        .and_then(|field| field.or_reference(r, Field::number));
    let isvsvn = versions(r, &mut fields);
    fields.finish(r);
    Some(SgxSigner {
        mrsigner: mrsigner?,
        isvprodid: isvprodid?,
        isvsvn: isvsvn?,
    })
}

fn versions(r: &mut Reader, fields: &mut Fields<'_>) -> Option<SecurityVersion> {
    let exact = fields.get("isvsvn");
    let least = fields.get("isvsvn_min");
    let most = fields.get("isvsvn_max");
    if let Some(exact) = exact {
        if let Some(field) = least.or(most) {
            r.report.error_with(
                Code::Conflict,
                &field.spot,
                "`isvsvn` is one version, and `isvsvn_min` and `isvsvn_max` are a range",
                "remove one of them",
            );
            return None;
        }
        return exact
            .or_reference(r, Field::number)
            .map(SecurityVersion::Exact);
    }
    let spot = most
        .as_ref()
        .or(least.as_ref())
        .map(|field| field.spot.clone());
    let least = match least {
        Some(field) => Some(field.number(r)?),
        None => None,
    };
    let most = match most {
        Some(field) => Some(field.number(r)?),
        None => None,
    };
    if let (Some(least), Some(most)) = (least, most)
        && least > most
        && let Some(spot) = spot
    {
        let message = format!("no version is from {least} to {most}");
        r.report.error(Code::BadValue, &spot, shown(&message));
        return None;
    }
    Some(SecurityVersion::Range(least, most))
}
