//! Collateral of several platforms in a file.

use mse_attest::{Collateral, Evidence};
use mse_collateral::facts::platform_of;
use mse_collateral::{BundleError, CollateralBundle, Facts, Platform, SnpPlatform};

use crate::samples::{self, Sample, accepted};

/// SGX, TDX and SEV-SNP.
fn bundle() -> (CollateralBundle, Vec<(Evidence, Collateral)>) {
    let mut bundle = CollateralBundle::default();
    let mut kept = Vec::new();
    for kind in ["sgx-v3", "tdx-v4"] {
        let (sample, case) = accepted(kind);
        let collateral = Collateral::from(case.collateral());
        bundle = bundle.with(None, collateral.clone()).unwrap();
        kept.push((sample.evidence(), collateral));
    }
    let (report, vcek) = chip();
    let collateral = Collateral {
        certificates: vec![
            vcek,
            samples::read("roots/amd/ask-milan.der"),
            samples::read("roots/amd/ark-milan.der"),
        ],
        crls: vec![crate::caching::crl_of("ARK-Milan")],
        ..Collateral::none()
    };
    bundle = bundle.with(None, collateral.clone()).unwrap();
    kept.push((Evidence::Snp(report), collateral));
    (bundle, kept)
}

/// A report and the certificate of its VCEK.
fn chip() -> (Vec<u8>, Vec<u8>) {
    Sample::of_kind("snp")
        .into_iter()
        .find_map(|sample| {
            let report = sample.file("report")?;
            let vcek = sample.file("SEV-VCEK")?;
            let stated = SnpPlatform::of_report(&report).ok()?;
            let endorsed = SnpPlatform::of_certificate(&vcek)?;
            (stated == endorsed && sample.product.as_deref() == Some("milan"))
                .then_some((report, vcek))
        })
        .unwrap()
}

#[test]
fn evidence_finds_its_own_collateral_after_a_round_trip() {
    let (bundle, kept) = bundle();
    assert_eq!(bundle.entries().len(), 3);
    let json = bundle.to_json();
    assert!(json.contains(r#""format": "mse-collateral-bundle/1""#));
    let read = CollateralBundle::from_json(json.as_bytes()).unwrap();
    assert_eq!(read, bundle);
    for (evidence, collateral) in kept {
        assert_eq!(read.select(&evidence).unwrap(), collateral);
        let other = CollateralBundle::default().select(&evidence).unwrap_err();
        assert!(matches!(other, BundleError::NotFound { .. }), "{other}");
    }
}

#[test]
fn collateral_of_one_platform_is_a_bundle_too() {
    let (sample, case) = accepted("sgx-v3");
    let collateral = Collateral::from(case.collateral());
    let quote_form = serde_json::to_string(&case.collateral()).unwrap();
    for json in [quote_form, collateral.to_json()] {
        let bundle = CollateralBundle::from_json(json.as_bytes()).unwrap();
        assert_eq!(bundle.select(&sample.evidence()).unwrap(), collateral);
    }
}

#[test]
fn every_set_of_the_samples_names_its_platform_and_the_newest_stays() {
    let mut count = 0;
    for kind in ["sgx-v3", "tdx-v4", "tdx-v5"] {
        for sample in Sample::of_kind(kind) {
            let Ok(evidence) = sample.parsed() else {
                continue;
            };
            let Ok(Some(platform)) = Platform::of(&evidence) else {
                continue;
            };
            let mut bundle = CollateralBundle::default();
            let mut newest = None;
            for case in &sample.case {
                let collateral = Collateral::from(case.collateral());
                if platform_of(&collateral).as_ref() != Some(&platform) {
                    continue;
                }
                let facts = Facts::of(&collateral);
                assert!(facts.iter().all(|one| one.problem.is_none()), "{facts:?}");
                let eval = facts[0].tcb_evaluation_data_number.unwrap();
                newest = newest.max(Some(eval));
                bundle = bundle.with(None, collateral).unwrap();
                count += 1;
            }
            if newest.is_some() {
                assert_eq!(bundle.entries().len(), 1, "{}", sample.id);
            }
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn old_reports_are_found_by_their_chip() {
    let (bundle, kept) = bundle();
    let Platform::Snp(mut platform) = platform_of(&kept[2].1).unwrap() else {
        panic!("not SNP");
    };
    platform.product = None;
    assert!(bundle.find(&Platform::Snp(platform.clone())).is_ok());
    platform.tcb.snp += 1;
    assert!(bundle.find(&Platform::Snp(platform)).is_err());
}

#[test]
fn each_flaw_has_its_own_error() {
    let read = |json: &str| CollateralBundle::from_json(json.as_bytes()).unwrap_err();
    let snp =
        r#"{"kind":"snp","key":"vcek","tcb":{"boot_loader":1,"tee":0,"snp":1,"microcode":1}}"#;
    let entry = |more: &str| {
        format!(r#"{{"format":"mse-collateral-bundle/1","entries":[{{"platform":{snp}{more}}}]}}"#)
    };
    CollateralBundle::from_json(entry("").as_bytes()).unwrap();
    assert!(matches!(read("[]"), BundleError::Json(_)));
    assert!(matches!(read("{}"), BundleError::Collateral(_)));
    assert!(matches!(
        read(r#"{"format":"mse-collateral-bundle/2","entries":[]}"#),
        BundleError::Collateral(_)
    ));
    assert!(matches!(
        read(r#"{"format":"mse-collateral-bundle/1"}"#),
        BundleError::Json(_)
    ));
    assert!(matches!(
        read(&entry(r#","unknown":1"#)),
        BundleError::Json(_)
    ));
    assert!(matches!(
        read(&entry(r#","crls":["zz"]"#)),
        BundleError::Hex { member: "crls" }
    ));
    assert!(matches!(
        read(r#"{"format":"mse-collateral/1"}"#),
        BundleError::NoPlatform
    ));
    let large = vec![b' '; mse_collateral::bundle::MAX_BUNDLE_BYTES + 1];
    assert!(matches!(
        CollateralBundle::from_json(&large),
        Err(BundleError::TooLarge { .. })
    ));
}

proptest::proptest! {
    #[test]
    fn no_bundle_panics(bytes: Vec<u8>) {
        let _ = CollateralBundle::from_json(&bytes);
        let json = br#"{"format":"mse-collateral-bundle/1","entries":["#;
        let _ = CollateralBundle::from_json(&[&json[..], &bytes].concat());
    }
}
