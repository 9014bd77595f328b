//! What is known of a DCAP platform beyond the verdict: how long each part of its collateral
//! lasts, and what it lacks.

use serde::Deserialize;

use super::{Anchored, Body, PckCertificate, Quote, tcb_info::TcbInfo};
use crate::{CheckName, TcbStatus, appraise::Case, ledger::Ledger, x509::Validity};

/// What verified collateral says about a platform's future.
pub(crate) struct Outlook {
    /// When each part of the collateral is valid.
    pub(crate) periods: Vec<(&'static str, Validity)>,
    /// When the newest of the signed documents was issued: from then on there is this collateral.
    pub(crate) applies_from: u64,
    /// When the oldest document was issued, from which a policy counts its age.
    pub(crate) oldest: u64,
    pub(crate) evaluation_number: u32,
    pub(crate) newest_level: Option<NewestLevel>,
}

/// The best TCB level that the vendor lists.
pub(crate) struct NewestLevel {
    pub(crate) status: TcbStatus,
    pub(crate) date: String,
    /// What of it the platform does not reach.
    pub(crate) lacking: Vec<String>,
}

/// Verifies quote and collateral at no particular time; the check that fails, if one does.
pub(crate) fn outlook(raw: &[u8], case: &Case<'_>) -> Result<Outlook, CheckName> {
    let quote = Quote::parse(raw).map_err(|_| CheckName::EvidenceFormat)?;
    let mut ledger = Ledger::default();
    let endorsed = Anchored::find(&mut ledger, &quote, case).and_then(|anchored| {
        let endorsement = anchored.endorsement(&mut ledger, &quote, case)?;
        Some((anchored, endorsement))
    });
    let Some((anchored, endorsement)) = endorsed else {
        return Err(match ledger.conclude() {
            Ok(_) => CheckName::RootOfTrust,
            Err(refusal) => refusal.failed,
        });
    };
    let documents = || {
        endorsement
            .periods
            .iter()
            .filter(|(part, _)| !part.starts_with("certificates"))
            .map(|(_, validity)| validity.from)
    };
    Ok(Outlook {
        applies_from: documents().max().unwrap_or(0),
        oldest: endorsement.issued,
        evaluation_number: endorsement.tcb_evaluation_number,
        newest_level: newest_level(&anchored, &quote),
        periods: endorsement.periods,
    })
}

/// Reads the TCB info once more, whose signature has been verified.
fn newest_level(anchored: &Anchored<'_>, quote: &Quote<'_>) -> Option<NewestLevel> {
    let certificates = anchored.chain.parse().ok()?;
    let platform = PckCertificate::of(certificates.first()?).ok()?;
    let text = &anchored.collateral.tcb_info;
    let tcb_info: TcbInfo = serde_json::from_str(text).ok()?;
    let tee_tcb_svn = match quote.body {
        Body::Sgx(_) => None,
        Body::Tdx(report) => Some(report.tee_tcb_svn()),
    };
    let (at, standing, lacking) = tcb_info.best_level(&platform, tee_tcb_svn)?;
    // Names are a courtesy: TCB info of version 2 has none.
    let names: Option<Names> = serde_json::from_str(text).ok();
    let name = |kind: &str, component: usize| {
        let tcb = &names.as_ref()?.tcb_levels.get(at)?.tcb;
        let components = match kind {
            "sgx" => &tcb.sgxtcbcomponents,
            _ => &tcb.tdxtcbcomponents,
        };
        let name = components.get(component)?.r#type.as_deref()?;
        (!name.is_empty()).then(|| format!(" ({name})"))
    };
    Some(NewestLevel {
        status: standing.status,
        date: standing.date.clone(),
        lacking: lacking
            .into_iter()
            .map(|lack| {
                let (found, wanted) = (lack.found, lack.wanted);
                match lack.component {
                    None => format!("PCE SVN is {found}, the newest level has {wanted}"),
                    Some((kind, component)) => format!(
                        "{kind} component {}{} is {found}, the newest level has {wanted}",
                        component + 1,
                        name(kind, component).unwrap_or_default()
                    ),
                }
            })
            .collect(),
    })
}

/// The parts of a TCB info that name its components.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    tcb_levels: Vec<NamedLevel>,
}

#[derive(Deserialize)]
struct NamedLevel {
    tcb: NamedTcb,
}

#[derive(Deserialize)]
struct NamedTcb {
    #[serde(default)]
    sgxtcbcomponents: Vec<NamedComponent>,
    #[serde(default)]
    tdxtcbcomponents: Vec<NamedComponent>,
}

#[derive(Deserialize)]
struct NamedComponent {
    r#type: Option<String>,
}
