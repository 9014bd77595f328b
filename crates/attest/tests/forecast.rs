//! Forecasts of real platforms, with collateral of several days.

mod corpus;

use std::time::{Duration, SystemTime};

use corpus::{Corpus, at};
use mse_attest::{
    CheckName, Collateral, Evidence, Policy, Reason, ReferenceValues, Statement, TcbStatus, Tee,
    appraise,
    forecast::{EventKind, Forecast, ForecastError, forecast},
};

/// An SGX platform that was up to date under evaluation number 12 and not under 14.
const SGX: &str = "sgx-v3/libsignal__dcap-expired__3f0db0ac";
/// A trust domain in Google's cloud: up to date under 17 and 19, out of date under 21, which Intel
/// issued early.
const TDX: &str = "tdx-v4/teekit__tdx-v4-gcp__a6883976";

struct Platform {
    evidence: Evidence,
    collaterals: Vec<Collateral>,
    times: Vec<u64>,
}

impl Platform {
    fn of(corpus: &Corpus, id: &str) -> Self {
        let sample = corpus
            .manifest
            .sample
            .iter()
            .find(|sample| sample.id == id)
            .unwrap_or_else(|| panic!("there is no sample `{id}`"));
        let mut cases: Vec<_> = sample
            .case
            .iter()
            .filter(|case| case.expected_status.is_some())
            .collect();
        cases.sort_by_key(|case| case.now);
        Self {
            evidence: Evidence::parse(&corpus.read(&sample.file("quote").path)).unwrap(),
            collaterals: cases
                .iter()
                .map(|case| corpus.collateral(&case.collateral))
                .collect(),
            times: cases.iter().map(|case| case.now).collect(),
        }
    }

    fn forecast(&self, policy: &Policy, from: u64, until: u64) -> Forecast {
        forecast(
            &self.evidence,
            &self.collaterals,
            policy,
            at(from),
            at(until),
        )
        .unwrap()
    }
}

fn instant(text: &str) -> u64 {
    let instant: jiff::Timestamp = text.parse().unwrap();
    instant.as_second().try_into().unwrap()
}

#[test]
fn a_tcb_recovery_takes_a_platform_from_up_to_date_to_refused() {
    let platform = Platform::of(&Corpus::open(), SGX);
    let from = platform.times[0];
    let forecast = platform.forecast(&Policy::strict(), from, from + 400 * 86_400);
    assert!(forecast.start.accepted, "{:?}", forecast.start);
    assert_eq!(forecast.start.status, Some(TcbStatus::UpToDate));

    let numbers: Vec<_> = forecast
        .collaterals
        .iter()
        .map(|under| (under.evaluation_number, under.verdict.status))
        .collect();
    assert_eq!(numbers[0], (12, Some(TcbStatus::UpToDate)));
    assert!(
        numbers.contains(&(14, Some(TcbStatus::OutOfDate))),
        "{numbers:?}"
    );
    assert!(forecast.set_aside.is_empty());
    let newest = forecast.collaterals.last().unwrap();
    assert_eq!(newest.evaluation_number, 21);
    assert!(!newest.lacking.is_empty(), "it is behind the newest level");

    let recovery = forecast
        .events
        .iter()
        .find(|event| {
            event.kind == EventKind::CollateralApplies
                && event.verdict.status == Some(TcbStatus::OutOfDate)
        })
        .expect("evaluation number 14 applies within the span");
    assert!(!recovery.verdict.accepted);
    assert!(
        recovery.remedy.contains("have the platform updated"),
        "{}",
        recovery.remedy
    );
    assert_eq!(forecast.refused_for_good_from, Some(recovery.at));
    // The collateral of July had expired long before that of February was issued.
    let expired = forecast.refused_from.unwrap();
    assert!(expired < recovery.at);
    assert!(forecast.events.is_sorted_by_key(|event| event.at));
}

#[test]
fn an_early_update_tells_what_recovery_day_will_bring() {
    let platform = Platform::of(&Corpus::open(), TDX);
    let from = *platform.times.last().unwrap();
    let forecast = platform.forecast(&Policy::strict(), from, from + 60 * 86_400);
    // In force is what was issued last, which has the lower number.
    assert_eq!(forecast.start.status, Some(TcbStatus::UpToDate));
    let early = forecast.collaterals.last().unwrap();
    assert_eq!(early.evaluation_number, 21);
    assert_eq!(early.verdict.status, Some(TcbStatus::OutOfDate));
    assert!(early.newest_level_date > early.verdict.level_date);
    assert!(!early.lacking.is_empty());
}

/// The forecast says what the verifier says: at every event, just before it, and in between.
#[test]
fn a_forecast_never_diverges_from_the_verifier() {
    let corpus = Corpus::open();
    for id in [SGX, TDX] {
        let platform = Platform::of(&corpus, id);
        let (from, last) = (platform.times[0], *platform.times.last().unwrap());
        let policy = Policy::from_toml(
            "format = \"mse-policy/1\"
            max_collateral_age = \"20d\"
            [[accept_status]]
            status = \"OutOfDate\"
            reason = \"test\"
            until = 2026-07-05
            ",
        )
        .unwrap();
        for policy in [Policy::strict(), policy] {
            let forecast = platform.forecast(&policy, from, last + 90 * 86_400);
            for event in &forecast.events {
                let verdicts: Vec<_> = platform
                    .collaterals
                    .iter()
                    .map(|collateral| accepts(&platform.evidence, collateral, &policy, event.at))
                    .collect();
                if event.verdict.accepted {
                    assert!(verdicts.contains(&true), "{id}: {event:?}");
                } else if verdicts.iter().all(|accepted| *accepted) {
                    panic!("{id}: {event:?}");
                }
            }
            if let (true, Some(refused)) = (forecast.start.accepted, forecast.refused_from) {
                let one = platform.forecast(&policy, refused, refused);
                assert!(!one.start.accepted, "{id}");
                let before = platform.forecast(&policy, refused - 1, refused - 1);
                assert!(before.start.accepted, "{id}: {:?}", before.start);
            }
        }
    }
}

fn accepts(evidence: &Evidence, collateral: &Collateral, policy: &Policy, now: u64) -> bool {
    appraise(
        evidence,
        collateral,
        policy,
        &ReferenceValues::default(),
        at(now),
    )
    .is_ok()
}

#[test]
fn the_policy_s_own_ends_are_events() {
    let platform = Platform::of(&Corpus::open(), SGX);
    // Of July 2022 only.
    let (collateral, now) = (&platform.collaterals[1..2], platform.times[1]);
    let policy = Policy::from_toml(
        "format = \"mse-policy/1\"
        max_collateral_age = \"31d\"
        [[accept_status]]
        status = \"SWHardeningNeeded\"
        reason = \"mitigated\"
        until = 2022-07-19
        ",
    )
    .unwrap();
    let forecast = forecast(
        &platform.evidence,
        collateral,
        &policy,
        at(now),
        at(now + 3000 * 86_400),
    )
    .unwrap();
    let kinds: Vec<_> = forecast.events.iter().map(|event| event.kind).collect();
    for kind in [
        EventKind::ToleranceEnds,
        EventKind::CollateralTooOld,
        EventKind::DocumentExpires,
        EventKind::CertificateExpires,
    ] {
        assert!(kinds.contains(&kind), "{kind:?}: {kinds:?}");
    }
    let ends = forecast
        .events
        .iter()
        .find(|event| event.kind == EventKind::ToleranceEnds)
        .unwrap();
    assert_eq!(ends.at, instant("2022-07-20T00:00:00Z"));
    assert_eq!(ends.effect, "still accepted");
    // Fresh collateral helps, until the platform's own certificates expire.
    let lasting = forecast.refused_for_good_from.unwrap();
    let event = forecast
        .events
        .iter()
        .find(|event| event.at == lasting)
        .unwrap();
    assert!(
        event.what.contains("certificates of the platform"),
        "{event:?}"
    );
    assert!(forecast.refused_from.unwrap() < lasting);
}

#[test]
fn collateral_of_others_is_set_aside() {
    let corpus = Corpus::open();
    let sgx = Platform::of(&corpus, SGX);
    let tdx = Platform::of(&corpus, TDX);
    let now = sgx.times[1];
    let mixed = [tdx.collaterals[0].clone(), sgx.collaterals[1].clone()];
    let of_both = forecast(&sgx.evidence, &mixed, &Policy::strict(), at(now), at(now)).unwrap();
    assert_eq!(of_both.set_aside, [0]);
    assert!(of_both.start.accepted);
    // With nothing that fits, the verifier says what is wrong.
    let foreign = forecast(
        &sgx.evidence,
        &mixed[..1],
        &Policy::strict(),
        at(now),
        at(now),
    )
    .unwrap();
    assert!(!foreign.start.accepted);
    assert!(!foreign.start.fresh_collateral_helps);
    assert_eq!(foreign.refused_for_good_from, Some(now));
    let none = forecast(&sgx.evidence, &[], &Policy::strict(), at(now), at(now)).unwrap();
    assert_eq!(none.start.failed, Some(CheckName::CollateralFormat));
}

/// A VCEK's certificate is collateral: its end is known beforehand.
#[test]
fn an_snp_platform_passes_until_its_certificate_expires() {
    let corpus = Corpus::open();
    let sample = corpus
        .samples("snp")
        .find(|sample| sample.id == "snp/trustee__evidence-v0__05b7438a")
        .expect("the SNP sample");
    let read = |role: &str| corpus.read(&sample.file(role).path);
    let evidence = Evidence::parse(&read("report")).unwrap();
    let collateral = Collateral {
        certificates: vec![read("SEV-VCEK"), read("intermediate"), read("root")],
        ..Collateral::none()
    };
    let (from, until) = (
        instant("2026-01-01T00:00:00Z"),
        instant("2040-01-01T00:00:00Z"),
    );
    let policy = Policy::strict();
    let forecast = forecast(&evidence, &[collateral], &policy, at(from), at(until)).unwrap();
    assert!(forecast.start.accepted, "{:?}", forecast.start);
    let refused = forecast.refused_from.unwrap();
    let event = forecast
        .events
        .iter()
        .find(|event| event.at == refused)
        .unwrap();
    assert_eq!(event.kind, EventKind::CertificateExpires);
    assert!(event.what.contains("SEV-VCEK"), "{event:?}");
    let day = jiff::Timestamp::from_second(refused.try_into().unwrap()).unwrap();
    assert!(day.to_string().starts_with("2032-01-28"), "{day}");
}

/// Nobody told the forecast when a Nitro document ends: the verifier did.
#[test]
fn the_end_of_a_nitro_document_is_found() {
    let corpus = Corpus::open();
    let sample = corpus
        .samples("nitro")
        .find(|sample| sample.id.ends_with("061b9b75"))
        .expect("the Nitro sample");
    let evidence = Evidence::parse(&corpus.read(&sample.files[0].path)).unwrap();
    let from = instant("2023-01-18T13:07:19Z");
    let policy = Policy::strict();
    let forecast = forecast(&evidence, &[], &policy, at(from), at(from + 86_400)).unwrap();
    assert!(forecast.start.accepted, "{:?}", forecast.start);
    assert_eq!(forecast.refused_from, Some(instant("2023-01-18T16:07:17Z")));
    assert_eq!(forecast.refused_for_good_from, forecast.refused_from);
    let [event] = forecast.events.as_slice() else {
        panic!("{:?}", forecast.events);
    };
    assert_eq!(event.kind, EventKind::Other);
    assert!(event.remedy.contains("fresh evidence"), "{event:?}");
}

#[test]
fn what_cannot_be_forecast_is_refused() {
    let platform = Platform::of(&Corpus::open(), SGX);
    let of = |collaterals: &[Collateral], from: SystemTime, until: SystemTime| {
        forecast(
            &platform.evidence,
            collaterals,
            &Policy::strict(),
            from,
            until,
        )
        .map(|_| ())
    };
    assert_eq!(
        of(&[], at(10), at(9)),
        Err(ForecastError::Backwards { from: 10, until: 9 })
    );
    assert_eq!(
        of(&vec![Collateral::none(); 101], at(9), at(10)),
        Err(ForecastError::TooManyCollaterals { count: 101 })
    );
    of(
        &[],
        at(0),
        SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX as u64),
    )
    .unwrap();
}

/// What only the policy lets pass is a row of the verdict, on its terms, and ends with them.
#[test]
fn a_verdict_under_an_exception_of_a_file_says_so() {
    let corpus = Corpus::open();
    let platform = Platform::of(&corpus, SGX);
    let (collateral, now) = (&platform.collaterals[2], platform.times[2]);
    let advisories = {
        let refusal = appraise(
            &platform.evidence,
            collateral,
            &Policy::strict(),
            &ReferenceValues::default(),
            at(now),
        )
        .unwrap_err();
        assert_eq!(refusal.failed, CheckName::TcbStatus);
        refusal.tcb.unwrap().advisory_ids
    };
    let with_end = |day: &str| {
        let advisories = advisories.iter().fold(String::new(), |entries, id| {
            entries
                + &format!(
                    "[[tolerate_advisory]]\nid = \"{id}\"\nreason = \"r\"\nuntil = 2023-03-01\n"
                )
        });
        Policy::from_toml(&format!(
            "format = \"mse-policy/1\"\n[[accept_status]]\nstatus = \"OutOfDate\"\nreason = \"update is ordered\"\nuntil = {day}\n{advisories}"
        ))
        .unwrap()
    };
    let appraise_under = |policy: &Policy| {
        appraise(
            &platform.evidence,
            collateral,
            policy,
            &ReferenceValues::default(),
            at(now),
        )
    };
    let appraisal = appraise_under(&with_end("2023-03-01")).unwrap();
    let rows = serde_json::to_string(&appraisal.tolerated().collect::<Vec<_>>()).unwrap();
    assert!(
        rows.contains("accepts OutOfDate until the end of 2023-03-01 (UTC): update is ordered"),
        "{rows}"
    );
    let refusal = appraise_under(&with_end("2023-02-01")).unwrap_err();
    assert!(
        refusal
            .why
            .contains("the policy tolerated it until the end of 2023-02-01"),
        "{refusal}"
    );
}

#[test]
fn a_tee_that_the_policy_does_not_name_is_refused_at_its_root() {
    let platform = Platform::of(&Corpus::open(), SGX);
    let appraise_under = |policy: &Policy| {
        appraise(
            &platform.evidence,
            &platform.collaterals[1],
            policy,
            &ReferenceValues::default(),
            at(platform.times[1]),
        )
    };
    let refusal = appraise_under(&Policy::strict().require_tees([Tee::Tdx])).unwrap_err();
    assert_eq!(refusal.failed, CheckName::RootOfTrust);
    assert_eq!(refusal.reason, Reason::Policy);
    assert_eq!(
        (refusal.found.as_str(), refusal.expected.as_str()),
        ("sgx", "tdx")
    );
    appraise_under(&Policy::strict().require_tees([Tee::Tdx, Tee::Sgx])).unwrap();
}

/// Trust domains without SEPT_VE_DISABLE or with MIGRATABLE pass only on the policy's terms.
#[test]
fn attributes_that_let_others_in_are_tolerated_by_name() {
    let corpus = Corpus::open();
    let mut seen = 0;
    for sample in corpus.samples("tdx-v4").chain(corpus.samples("tdx-v5")) {
        let attributes = sample
            .claims
            .get("td_attributes")
            .and_then(toml::Value::as_str);
        let open =
            attributes.is_some_and(|it| !matches!(it.as_bytes()[6], b'1' | b'5' | b'9' | b'd'));
        let case = sample
            .case
            .iter()
            .find(|case| case.expected_status.as_deref() == Some("UpToDate"));
        let (true, Some(case)) = (open && !sample.is_debug(), case) else {
            continue;
        };
        seen += 1;
        let evidence = Evidence::parse(&corpus.read(&sample.file("quote").path)).unwrap();
        let collateral = corpus.collateral(&case.collateral);
        let appraise_until = |day: &str| {
            let policy = Policy::from_toml(&format!(
                "format = \"mse-policy/1\"\n[[tdx.tolerate]]\nwhat = \"sept-ve\"\nreason = \"old launcher\"\nuntil = {day}\n"
            ))
            .unwrap();
            let statements: Vec<Statement> = policy.describe(at(case.now));
            assert!(!statements.is_empty());
            appraise(
                &evidence,
                &collateral,
                &policy,
                &ReferenceValues::default(),
                at(case.now),
            )
        };
        let appraisal = appraise_until("2099-01-01").unwrap();
        let row = appraisal.tolerated().next().expect("a row that says so");
        assert_eq!(row.name, CheckName::Attributes);
        assert!(format!("{row:?}").contains("old launcher"), "{row:?}");
        let refusal = appraise_until("2001-01-01").unwrap_err();
        assert_eq!(refusal.failed, CheckName::Attributes);
        assert!(
            refusal.why.contains("the policy tolerated it until"),
            "{refusal}"
        );
    }
    assert!(seen > 0, "some sample has no SEPT_VE_DISABLE");
}
