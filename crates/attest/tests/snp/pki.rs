//! A PKI of AMD's form with keys of our own, and reports that its VEK signs.
//!
//! No X.509 library at hand signs with RSASSA-PSS as AMD does, so the certificates are put
//! together element by element, which also lets each test spoil exactly one.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        KeyPair as _, RSA_PKCS1_SHA384, RSA_PSS_SHA384, RsaKeyPair,
    },
};
use mse_attest::{
    Appraisal, CheckName, Collateral, Evidence, Policy, ReferenceValues, Refusal, TrustAnchor,
    appraise, snp::REPORT_BYTES,
};

use super::der::{
    NULL, TRUE, bits, element, explicit, ia5, integer, octets, oid, sequence, time, utf8,
};

/// Keys take long to make: all tests share these. RSA-2048 stands in for AMD's RSA-4096.
pub(crate) struct Keys {
    pub(crate) ark: RsaKeyPair,
    pub(crate) ask: RsaKeyPair,
    pub(crate) other: RsaKeyPair,
    pub(crate) vek: EcdsaKeyPair,
    pub(crate) other_vek: EcdsaKeyPair,
    pub(crate) p256: EcdsaKeyPair,
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let p384 = || EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    Keys {
        ark: rsa(),
        ask: rsa(),
        other: rsa(),
        vek: p384(),
        other_vek: p384(),
        p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    }
});

/// 2026-11-23T12:00:00Z, at which all is valid unless a test says otherwise.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_435_200)
}

pub(crate) const REPORT_DATA: [u8; 64] = [0xd4; 64];
pub(crate) const CHIP_ID: [u8; 64] = {
    // Starts like a DER OCTET STRING: it is none.
    let mut id = [0xc1; 64];
    id[0] = 0x04;
    id[1] = 0x3e;
    id
};
pub(crate) const TCB: [u8; 8] = [4, 0, 0, 0, 0, 0, 24, 219];

/// How a certificate is signed.
#[derive(Clone, Copy)]
pub(crate) enum Scheme {
    Pss,
    Pkcs1,
}

/// A certificate before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) serial: u32,
    pub(crate) not_before: &'static str,
    pub(crate) not_after: &'static str,
    /// SubjectPublicKeyInfo.
    pub(crate) key: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) scheme: Scheme,
}

/// OID, whether it is critical, value.
#[derive(Clone)]
pub(crate) struct Extension(pub(crate) String, pub(crate) bool, pub(crate) Vec<u8>);

impl Draft {
    fn new(subject: &str, issuer: &str, serial: u32, key: Vec<u8>) -> Self {
        Self {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            serial,
            not_before: "20250101000000Z",
            not_after: "20320101000000Z",
            key,
            extensions: Vec::new(),
            scheme: Scheme::Pss,
        }
    }

    /// A CA; `path` is the number of CAs that may follow it.
    pub(crate) fn ca(
        subject: &str,
        issuer: &str,
        serial: u32,
        key: &RsaKeyPair,
        path: Option<u32>,
    ) -> Self {
        let mut constraints = TRUE.to_vec();
        if let Some(path) = path {
            constraints.extend(integer(path));
        }
        Self {
            extensions: vec![
                Extension("2.5.29.19".into(), true, sequence(&[&constraints])),
                // keyCertSign and cRLSign.
                Extension("2.5.29.15".into(), true, vec![3, 2, 1, 6]),
            ],
            ..Self::new(subject, issuer, serial, rsa_spki(key))
        }
    }

    /// A VCEK of Milan, as AMD issues it.
    pub(crate) fn vcek() -> Self {
        let mut draft = Self::new("SEV-VCEK", "SEV-Milan", 0, ec_spki(&KEYS.vek, P384));
        draft.set("1", &integer(0));
        draft.set("2", &ia5("Milan-B0"));
        draft.set_tcb(&[
            ("3.1", TCB[0]),
            ("3.2", TCB[1]),
            ("3.4", TCB[2]),
            ("3.5", TCB[3]),
            ("3.6", TCB[4]),
            ("3.7", TCB[5]),
            ("3.3", TCB[6]),
            ("3.8", TCB[7]),
        ]);
        draft.set("4", &CHIP_ID);
        draft
    }

    /// A VLEK of Milan, as AMD issues it.
    pub(crate) fn vlek() -> Self {
        let mut draft = Self {
            subject: "SEV-VLEK".into(),
            issuer: "SEV-VLEK-Milan".into(),
            ..Self::vcek()
        };
        draft.set("2", &ia5("Milan"));
        draft.remove("4");
        draft.set("5", &ia5("CN=cc-test.example"));
        draft
    }

    /// A VCEK of Turin: FMC comes first, and the chip has a short id.
    pub(crate) fn turin(hwid: &[u8], tcb: [u8; 8]) -> Self {
        let mut draft = Self {
            issuer: "SEV-Turin".into(),
            ..Self::vcek()
        };
        draft.set("2", &ia5("Turin"));
        for reserved in ["3.4", "3.5", "3.6", "3.7"] {
            draft.remove(reserved);
        }
        draft.set_tcb(&[
            ("3.9", tcb[0]),
            ("3.1", tcb[1]),
            ("3.2", tcb[2]),
            ("3.3", tcb[3]),
            ("3.8", tcb[7]),
        ]);
        draft.set("4", hwid);
        draft
    }

    /// Sets the extension `1.3.6.1.4.1.3704.1.{arc}`.
    pub(crate) fn set(&mut self, arc: &str, value: &[u8]) {
        let oid = amd(arc);
        match self
            .extensions
            .iter_mut()
            .find(|extension| extension.0 == oid)
        {
            Some(extension) => extension.2 = value.to_vec(),
            None => self.extensions.push(Extension(oid, false, value.to_vec())),
        }
    }

    pub(crate) fn remove(&mut self, arc: &str) {
        self.extensions.retain(|extension| extension.0 != amd(arc));
    }

    fn set_tcb(&mut self, parts: &[(&str, u8)]) {
        for (arc, part) in parts {
            self.set(arc, &integer((*part).into()));
        }
    }

    pub(crate) fn sign(&self, key: &RsaKeyPair) -> Vec<u8> {
        let algorithm = algorithm(self.scheme);
        let extensions: Vec<_> = self
            .extensions
            .iter()
            .map(|Extension(id, critical, value)| {
                let critical = if *critical { &TRUE[..] } else { &[] };
                sequence(&[&oid(id), critical, &octets(value)])
            })
            .collect();
        let tbs = sequence(&[
            &explicit(0, &integer(2)),
            &integer(self.serial),
            &algorithm,
            &name(&self.issuer),
            &sequence(&[&time(self.not_before), &time(self.not_after)]),
            &name(&self.subject),
            &self.key,
            &explicit(3, &element(0x30, &extensions.concat())),
        ]);
        signed(&tbs, &algorithm, self.scheme, key)
    }
}

/// A CRL before it is signed.
pub(crate) struct CrlDraft {
    pub(crate) issuer: &'static str,
    pub(crate) this_update: &'static str,
    pub(crate) next_update: &'static str,
    pub(crate) revoked: Vec<u32>,
    /// Issuing distribution point.
    pub(crate) published: Option<Vec<u8>>,
}

impl CrlDraft {
    /// A current CRL of Milan's root that names `revoked`.
    pub(crate) fn of(revoked: &[u32]) -> Self {
        Self {
            issuer: "ARK-Milan",
            this_update: "20261101000000Z",
            next_update: "20271101000000Z",
            revoked: revoked.to_vec(),
            published: None,
        }
    }

    pub(crate) fn sign(&self, key: &RsaKeyPair) -> Vec<u8> {
        let algorithm = algorithm(Scheme::Pss);
        let entries: Vec<_> = self
            .revoked
            .iter()
            .map(|serial| sequence(&[&integer(*serial), &time(self.this_update)]))
            .collect();
        let entries = match entries.len() {
            0 => Vec::new(),
            _ => element(0x30, &entries.concat()),
        };
        let mut extensions = sequence(&[&oid("2.5.29.20"), &octets(&integer(1))]);
        if let Some(point) = &self.published {
            extensions.extend(sequence(&[&oid("2.5.29.28"), &TRUE, &octets(point)]));
        }
        let tbs = sequence(&[
            &integer(1),
            &algorithm,
            &name(self.issuer),
            &time(self.this_update),
            &time(self.next_update),
            &entries,
            &explicit(0, &sequence(&[&extensions])),
        ]);
        signed(&tbs, &algorithm, Scheme::Pss, key)
    }
}

/// Everything that goes into an appraisal. [`Case::good`] is accepted.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) report: Vec<u8>,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) crls: Vec<Vec<u8>>,
    pub(crate) policy: Policy,
    pub(crate) expected: ReferenceValues,
    pub(crate) now: SystemTime,
}

impl Case {
    /// A report of version 3 of a chip of Milan, with its whole chain.
    pub(crate) fn good() -> Self {
        Self {
            report: sign_report(&report(), &KEYS.vek),
            certificates: vec![Draft::vcek().sign(&KEYS.ask), ask(), ark()],
            crls: Vec::new(),
            policy: trusting(&ark()),
            expected: ReferenceValues {
                report_data: Some(REPORT_DATA),
                ..ReferenceValues::default()
            },
            now: now(),
        }
    }

    /// The good case with another VCEK certificate of the same key and issuer.
    pub(crate) fn with_vcek(change: impl FnOnce(&mut Draft)) -> Self {
        let mut case = Self::good();
        let mut vcek = Draft::vcek();
        change(&mut vcek);
        case.certificates[0] = vcek.sign(&KEYS.ask);
        case
    }

    /// The good case with another report, signed as it should be.
    pub(crate) fn with_report(change: impl FnOnce(&mut [u8; REPORT_BYTES])) -> Self {
        let mut raw = report();
        change(&mut raw);
        Self {
            report: sign_report(&raw, &KEYS.vek),
            ..Self::good()
        }
    }

    /// The good case with a VLEK: another certificate, another issuer, no chip.
    pub(crate) fn vlek(change: impl FnOnce(&mut Draft)) -> Self {
        let mut case = Self::with_report(|report| {
            report[0x48] = 1 << 2;
            report[0x1a0..0x1e0].fill(0);
        });
        let mut vlek = Draft::vlek();
        change(&mut vlek);
        case.certificates = vec![vlek.sign(&KEYS.ask), asvk(), ark()];
        case
    }

    /// A report of a chip of Turin.
    pub(crate) fn turin(hwid: &[u8]) -> Self {
        let tcb = [1, 2, 3, 4, 0, 0, 0, 5];
        let mut case = Self::with_report(|report| {
            for at in [0x38, 0x180, 0x1e0, 0x1f0] {
                report[at..at + 8].copy_from_slice(&tcb);
            }
            report[0x188..0x18b].copy_from_slice(&[0x1a, 0x02, 0x01]);
            report[0x1a0..0x1e0].fill(0);
            report[0x1a0..0x1a8].copy_from_slice(&[7; 8]);
        });
        let ark = Draft::ca("ARK-Turin", "ARK-Turin", 0x03_0000, &KEYS.ark, None).sign(&KEYS.ark);
        let ask = Draft::ca("SEV-Turin", "ARK-Turin", 0x03_0001, &KEYS.ask, Some(0));
        case.policy = trusting(&ark);
        case.certificates = vec![
            Draft::turin(hwid, tcb).sign(&KEYS.ask),
            ask.sign(&KEYS.ark),
            ark,
        ];
        case
    }

    pub(crate) fn policy(mut self, change: impl FnOnce(Policy) -> Policy) -> Self {
        self.policy = change(self.policy);
        self
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::Snp(self.report.clone())
    }

    pub(crate) fn collateral(&self) -> Collateral {
        Collateral {
            certificates: self.certificates.clone(),
            crls: self.crls.clone(),
            ..Collateral::none()
        }
    }

    pub(crate) fn appraise(&self) -> Result<Appraisal, Refusal> {
        appraise(
            &self.evidence(),
            &self.collateral(),
            &self.policy,
            &self.expected,
            self.now,
        )
    }

    /// Appraises what must be accepted.
    #[track_caller]
    pub(crate) fn accepted(&self) -> Appraisal {
        self.appraise()
            .unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// Appraises what must be refused by `check` with a reason that says `why`.
    #[track_caller]
    pub(crate) fn refused(&self, check: CheckName, why: &str) -> Refusal {
        let refusal = self.appraise().expect_err("it is accepted");
        assert_eq!(refusal.failed, check, "{refusal}");
        assert!(refusal.why.contains(why), "{refusal}");
        refusal
    }
}

/// The strict policy that trusts `root` besides.
pub(crate) fn trusting(root: &[u8]) -> Policy {
    Policy::strict().with_simulated(TrustAnchor::simulated(root, None).unwrap())
}

pub(crate) fn ark() -> Vec<u8> {
    Draft::ca("ARK-Milan", "ARK-Milan", 0x01_0000, &KEYS.ark, None).sign(&KEYS.ark)
}

pub(crate) const ASK_SERIAL: u32 = 0x01_0001;

pub(crate) fn ask() -> Vec<u8> {
    Draft::ca("SEV-Milan", "ARK-Milan", ASK_SERIAL, &KEYS.ask, Some(0)).sign(&KEYS.ark)
}

pub(crate) fn asvk() -> Vec<u8> {
    Draft::ca("SEV-VLEK-Milan", "ARK-Milan", 0x01_0101, &KEYS.ask, Some(0)).sign(&KEYS.ark)
}

/// A report of version 3 that the strict policy accepts; its signature is missing.
pub(crate) fn report() -> [u8; REPORT_BYTES] {
    let mut report = [0; REPORT_BYTES];
    report[0] = 3;
    report[0x08..0x10].copy_from_slice(&0x3_001f_u64.to_le_bytes());
    report[0x34] = 1;
    report[0x40] = 0x25;
    report[0x50..0x90].copy_from_slice(&REPORT_DATA);
    report[0x90..0xc0].fill(0x5e);
    report[0x160..0x180].fill(0xff);
    for at in [0x38, 0x180, 0x1e0, 0x1f0] {
        report[at..at + 8].copy_from_slice(&TCB);
    }
    report[0x188..0x18b].copy_from_slice(&[0x19, 0x01, 0x01]);
    report[0x1a0..0x1e0].copy_from_slice(&CHIP_ID);
    report
}

pub(crate) fn sign_report(report: &[u8; REPORT_BYTES], key: &EcdsaKeyPair) -> Vec<u8> {
    let signature = key.sign(&SystemRandom::new(), &report[..0x2a0]).unwrap();
    let (r, s) = signature.as_ref().split_at(48);
    let mut signed = report.to_vec();
    for (at, part) in [(0x2a0, r), (0x2e8, s)] {
        for (to, from) in signed[at..at + 48].iter_mut().zip(part.iter().rev()) {
            *to = *from;
        }
    }
    signed
}

/// The inside of a distribution point that names one place.
pub(crate) fn published_at(url: &str) -> Vec<u8> {
    explicit(0, &explicit(0, &element(0x86, url.as_bytes())))
}

pub(crate) fn amd(arc: &str) -> String {
    format!("1.3.6.1.4.1.3704.1.{arc}")
}

fn rsa_spki(key: &RsaKeyPair) -> Vec<u8> {
    let algorithm = sequence(&[&oid("1.2.840.113549.1.1.1"), &NULL]);
    sequence(&[&algorithm, &bits(key.public_key().as_ref())])
}

pub(crate) const P384: &str = "1.3.132.0.34";
pub(crate) const P256: &str = "1.2.840.10045.3.1.7";

pub(crate) fn ec_spki(key: &EcdsaKeyPair, curve: &str) -> Vec<u8> {
    let algorithm = sequence(&[&oid("1.2.840.10045.2.1"), &oid(curve)]);
    sequence(&[&algorithm, &bits(key.public_key().as_ref())])
}

fn name(common: &str) -> Vec<u8> {
    let part = |id: &str, value: &str| element(0x31, &sequence(&[&oid(id), &utf8(value)]));
    sequence(&[&part("2.5.4.10", "SIMULATED AMD"), &part("2.5.4.3", common)])
}

/// As AMD writes it: all parameters, with the trailer field that is the default.
fn algorithm(scheme: Scheme) -> Vec<u8> {
    match scheme {
        Scheme::Pkcs1 => sequence(&[&oid("1.2.840.113549.1.1.12"), &NULL]),
        Scheme::Pss => {
            let sha384 = sequence(&[&oid("2.16.840.1.101.3.4.2.2"), &NULL]);
            let mgf1 = sequence(&[&oid("1.2.840.113549.1.1.8"), &sha384]);
            let parameters = sequence(&[
                &explicit(0, &sha384),
                &explicit(1, &mgf1),
                &explicit(2, &integer(48)),
                &explicit(3, &integer(1)),
            ]);
            sequence(&[&oid("1.2.840.113549.1.1.10"), &parameters])
        }
    }
}

fn signed(tbs: &[u8], algorithm: &[u8], scheme: Scheme, key: &RsaKeyPair) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    let rng = SystemRandom::new();
    match scheme {
        Scheme::Pss => key.sign(&RSA_PSS_SHA384, &rng, tbs, &mut signature),
        Scheme::Pkcs1 => key.sign(&RSA_PKCS1_SHA384, &rng, tbs, &mut signature),
    }
    .unwrap();
    sequence(&[tbs, algorithm, &bits(&signature)])
}
