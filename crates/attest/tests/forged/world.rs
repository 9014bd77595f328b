//! One forged PKI and the honest cases that each row spoils in one place.

use std::{sync::OnceLock, time::SystemTime};

use mse_attest::{
    Appraisal, Collateral, DcapCollateral, Evidence, Policy, ReferenceValues, Refusal, TrustAnchor,
    appraise,
};
use mse_simtee::testing::{EnclaveBody, Forge, QuoteForm, TdBody, TdForm, documents};
use serde_json::Value;

use crate::common;
pub(crate) use crate::common::{days, now};

/// Everything that goes into an appraisal.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) evidence: Evidence,
    pub(crate) collateral: Collateral,
    pub(crate) policy: Policy,
    pub(crate) expected: ReferenceValues,
    pub(crate) now: SystemTime,
}

impl Case {
    pub(crate) fn appraise(&self) -> Result<Appraisal, Refusal> {
        appraise(
            &self.evidence,
            &self.collateral,
            &self.policy,
            &self.expected,
            self.now,
        )
    }

    pub(crate) fn dcap(&mut self) -> &mut DcapCollateral {
        self.collateral.dcap.as_mut().unwrap()
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Changes the bytes of the quote after it was signed.
    pub(crate) fn with_bytes(self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = self.evidence.as_bytes().to_vec();
        change(&mut bytes);
        Self {
            evidence: match self.evidence {
                Evidence::TdxDcap(_) => Evidence::TdxDcap(bytes),
                _ => Evidence::SgxDcap(bytes),
            },
            ..self
        }
    }
}

impl From<common::Case> for Case {
    fn from(case: common::Case) -> Self {
        Self {
            evidence: case.evidence(),
            collateral: case.collateral(),
            policy: case.policy,
            expected: case.expected,
            now: case.now,
        }
    }
}

/// The parts of an honest case before they are signed.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) version: u16,
    pub(crate) enclave: EnclaveBody,
    /// The case is about this trust domain, if there is one.
    pub(crate) domain: Option<TdBody>,
    pub(crate) tcb_info: Value,
    pub(crate) qe_identity: Value,
    pub(crate) policy: Policy,
}

impl Parts {
    pub(crate) fn quote(&self) -> QuoteForm {
        match &self.domain {
            None => QuoteForm::sgx(self.version, &self.enclave),
            Some(domain) => QuoteForm::tdx(self.version, domain),
        }
    }

    pub(crate) fn case(&self) -> Case {
        self.case_of(forge(), &self.quote())
    }

    /// The case with a changed quote.
    pub(crate) fn case_with(&self, change: impl FnOnce(&mut QuoteForm)) -> Case {
        let mut quote = self.quote();
        change(&mut quote);
        self.case_of(forge(), &quote)
    }

    /// The case in a world whose PKI is changed, under the anchor of the one that is not.
    pub(crate) fn case_under(&self, change: impl FnOnce(&mut Forge)) -> Case {
        let mut changed = forge().clone();
        change(&mut changed);
        self.case_of(&changed, &self.quote())
    }

    pub(crate) fn case_of(&self, forge: &Forge, quote: &QuoteForm) -> Case {
        let texts = (self.tcb_info.to_string(), self.qe_identity.to_string());
        let bytes = quote.sign(forge).unwrap();
        Case {
            evidence: match self.domain {
                None => Evidence::SgxDcap(bytes),
                Some(_) => Evidence::TdxDcap(bytes),
            },
            collateral: forge.collateral(&texts.0, &texts.1, now()).unwrap().into(),
            policy: self.policy.clone(),
            expected: ReferenceValues::default(),
            now: now(),
        }
    }

    /// The case with a TCB info of exactly this text, signed.
    pub(crate) fn case_with_tcb_info(&self, text: &str) -> Case {
        self.case().with(|case| {
            let signature = forge().tcb_signer.key.sign_fixed(text.as_bytes()).unwrap();
            case.dcap().tcb_info = text.to_owned();
            case.dcap().tcb_info_signature = signature;
        })
    }

    /// The case with a QE identity of exactly this text, signed.
    pub(crate) fn case_with_qe_identity(&self, text: &str) -> Case {
        self.case().with(|case| {
            let signature = forge().tcb_signer.key.sign_fixed(text.as_bytes()).unwrap();
            case.dcap().qe_identity = text.to_owned();
            case.dcap().qe_identity_signature = signature;
        })
    }
}

/// An enclave, quoted in this version, with changed parts.
pub(crate) fn sgx(version: u16, change: impl FnOnce(&mut Parts)) -> Parts {
    let mut parts = Parts {
        version,
        enclave: EnclaveBody::default(),
        domain: None,
        tcb_info: documents::tcb_info(now()),
        qe_identity: documents::qe_identity(now()),
        policy: policy(),
    };
    change(&mut parts);
    parts
}

/// A trust domain of TDX 1.5, quoted in version 5, with changed parts.
pub(crate) fn td(change: impl FnOnce(&mut Parts)) -> Parts {
    td_of(5, TdForm::V15, change)
}

pub(crate) fn td_of(version: u16, form: TdForm, change: impl FnOnce(&mut Parts)) -> Parts {
    let mut parts = Parts {
        version,
        domain: Some(TdBody::new(form)),
        tcb_info: documents::tcb_info_tdx(now()),
        qe_identity: documents::td_qe_identity(now()),
        ..sgx(version, |_| ())
    };
    change(&mut parts);
    parts
}

/// The trust domain of TDX 1.5 with a changed report.
pub(crate) fn domain(change: impl FnOnce(&mut TdBody)) -> Parts {
    td(|parts| change(parts.domain.as_mut().unwrap()))
}

pub(crate) fn policy() -> Policy {
    let root = &forge().root.certificate;
    Policy::strict().with_simulated(TrustAnchor::simulated(root, None).unwrap())
}

pub(crate) fn forge() -> &'static Forge {
    static FORGE: OnceLock<Forge> = OnceLock::new();
    FORGE.get_or_init(|| Forge::new(now()).unwrap())
}

/// Another PKI with the same names.
pub(crate) fn other_forge() -> &'static Forge {
    static FORGE: OnceLock<Forge> = OnceLock::new();
    FORGE.get_or_init(|| Forge::new(now()).unwrap())
}
