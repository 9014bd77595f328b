//! Genuine documents in the three forms.

use std::sync::Arc;

use mse_attest::{Collateral, Evidence, ReferenceValues, appraise};
use mse_collateral::observer::Counters;
use mse_collateral::pccs::PccsRequest;
use mse_collateral::{
    DcapSource, Edition, Fetcher, Freshness, Options, Platform, Product, SnpPlatform, Sources, Vek,
};

use crate::samples::{self, Sample, accepted};
use crate::service::{Replies, Reply, Service, facts, options, pccs};

#[tokio::test]
async fn what_a_pccs_has_arrives_to_the_letter_and_is_appraised() {
    for kind in ["sgx-v3", "tdx-v4"] {
        let (sample, case) = accepted(kind);
        let kept = case.collateral();
        let service = Service::start(pccs(&kept)).await;
        let fetcher = service.fetcher(options(case.now()));
        let evidence = sample.evidence();
        let fetched = fetcher.collateral(&evidence).await.unwrap();
        assert_eq!(fetched.collateral, Collateral::from(kept), "{}", sample.id);
        assert_eq!(fetched.freshness, Freshness::Fetched);
        assert!(fetched.warnings.is_empty(), "{:?}", fetched.warnings);
        appraise(
            &evidence,
            &fetched.collateral,
            &case.policy(),
            &ReferenceValues::default(),
            case.now(),
        )
        .unwrap_or_else(|refusal| panic!("{}: {refusal}", sample.id));

        let again = fetcher.collateral(&evidence).await.unwrap();
        assert_eq!(again.freshness, Freshness::Cached);
        assert_eq!(service.asked().len(), 4, "the second time nobody is asked");
    }
}

#[tokio::test]
async fn every_genuine_quote_names_its_platform() {
    let mut count = 0;
    for kind in ["sgx-v3", "tdx-v4", "tdx-v5"] {
        for sample in Sample::of_kind(kind) {
            let (Some(fmspc), Some(ca)) = (&sample.fmspc, &sample.pck_ca) else {
                continue;
            };
            let Ok(evidence) = sample.parsed() else {
                continue;
            };
            let Some(Platform::Dcap(platform)) = Platform::of(&evidence).unwrap() else {
                panic!("{}", sample.id);
            };
            assert_eq!(platform.fmspc.to_string(), fmspc.to_uppercase());
            assert!(
                ca.to_lowercase().contains(platform.ca.as_str()),
                "{}: {ca}",
                sample.id
            );
            assert!(kind.starts_with(platform.tee.as_str()));
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[tokio::test]
async fn intels_own_form_has_the_root_crl_elsewhere_and_in_der() {
    let (sample, case) = accepted("sgx-v3");
    let kept = case.collateral();
    let mut replies = pccs(&kept);
    replies.remove("/sgx/certification/v4/rootcacrl");
    replies.insert(
        "/IntelSGXRootCA.der".to_owned(),
        vec![Reply::ok(kept.root_ca_crl.clone())],
    );
    let service = Service::start(replies).await;
    let root_crl = format!("{}/IntelSGXRootCA.der", service.url);
    let sources = Sources {
        dcap: Some(DcapSource::pcs(
            service.url.clone(),
            &root_crl.parse().unwrap(),
        )),
        amd: None,
    };
    let fetcher = Fetcher::new(sources, options(case.now())).unwrap();
    let fetched = fetcher.collateral(&sample.evidence()).await.unwrap();
    assert_eq!(fetched.collateral, kept.into());
}

#[tokio::test]
async fn crls_are_read_in_every_form_and_chains_from_the_older_header() {
    use base64::Engine;

    let (sample, case) = accepted("sgx-v3");
    let kept = case.collateral();
    let base64 = base64::engine::general_purpose::STANDARD.encode(&kept.root_ca_crl);
    let pem = format!("-----BEGIN X509 CRL-----\n{base64}\n-----END X509 CRL-----\n");
    let hexadecimal = hex::encode_upper(&kept.root_ca_crl) + "\n";
    for body in [
        kept.root_ca_crl.clone(),
        base64.into_bytes(),
        pem.into_bytes(),
        hexadecimal.into_bytes(),
    ] {
        let mut replies = pccs(&kept);
        replies.insert(
            "/sgx/certification/v4/rootcacrl".to_owned(),
            vec![Reply::ok(body)],
        );
        for row in replies.values_mut() {
            if let Reply::Http { headers, .. } = &mut row[0] {
                for (name, _) in headers {
                    if name == "TCB-Info-Issuer-Chain" {
                        "SGX-TCB-Info-Issuer-Chain".clone_into(name);
                    }
                }
            }
        }
        let service = Service::start(replies).await;
        let fetcher = service.fetcher(options(case.now()));
        let fetched = fetcher.collateral(&sample.evidence()).await.unwrap();
        assert_eq!(fetched.collateral, Collateral::from(kept.clone()));
    }
}

#[tokio::test]
async fn another_edition_is_asked_for_by_name_or_number() {
    let (sample, case) = accepted("sgx-v3");
    let (_, fmspc, _) = facts(&case.collateral());
    for (edition, query) in [
        (Edition::Early, "update=early"),
        (Edition::Number(18), "tcbEvaluationDataNumber=18"),
    ] {
        let service = Service::start(Replies::new()).await;
        let fetcher = service.fetcher(Options {
            edition,
            ..options(case.now())
        });
        let error = fetcher.collateral(&sample.evidence()).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        let path = format!("/sgx/certification/v4/tcb?fmspc={fmspc}&{query}");
        assert!(
            error.to_string().contains(&path) || service.asked().contains(&path),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_served_on_is_the_same_again() {
    let (sample, case) = accepted("tdx-v4");
    let kept = case.collateral();
    let upstream = Service::start(pccs(&kept)).await;
    let proxy = upstream.fetcher(options(case.now()));
    let mut replies = Replies::new();
    for path in pccs(&kept).keys() {
        let request = PccsRequest::parse(path).unwrap();
        let found = proxy.document(&request.document, None).await.unwrap();
        let response = request.respond(&found.answer, &found.reading);
        let reply = response
            .headers
            .iter()
            .fold(Reply::ok(response.body), |reply, (name, value)| {
                reply.with(name, value)
            });
        replies.insert(path.clone(), vec![reply]);
    }
    let service = Service::start(replies).await;
    let fetcher = service.fetcher(options(case.now()));
    let fetched = fetcher.collateral(&sample.evidence()).await.unwrap();
    assert_eq!(fetched.collateral, kept.into());
}

/// The replies of AMD's service for one chip.
fn kds(platform: &SnpPlatform, vcek: &[u8]) -> Replies {
    let product = platform.product.unwrap();
    let low = product.as_str().to_lowercase();
    let chip = platform.chip_id.as_ref().unwrap();
    let pem = |der: &[u8]| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    let chain = pem(&samples::read(&format!("roots/amd/ask-{low}.der")))
        + &pem(&samples::read(&format!("roots/amd/ark-{low}.der")));
    Replies::from([
        (
            format!("/vcek/v1/{product}/{chip}?{}", platform.tcb.query()),
            vec![Reply::ok(vcek)],
        ),
        (
            format!("/vcek/v1/{product}/cert_chain"),
            vec![Reply::ok(chain)],
        ),
        (
            format!("/vcek/v1/{product}/crl"),
            vec![Reply::ok(crate::caching::crl_of(&format!("ARK-{product}")))],
        ),
    ])
}

#[tokio::test]
async fn amds_service_has_the_chips_certificate_chain_and_crl() {
    let mut count = 0;
    for sample in Sample::of_kind("snp") {
        let Some(vcek) = sample.file("SEV-VCEK") else {
            continue;
        };
        let report = sample.file("report").unwrap();
        let stated = SnpPlatform::of_report(&report).unwrap();
        let endorsed = SnpPlatform::of_certificate(&vcek).unwrap();
        if (&stated.chip_id, stated.tcb) != (&endorsed.chip_id, endorsed.tcb) {
            // Some samples come with the certificate of another TCB version.
            continue;
        }
        let product: Product = sample.product.as_ref().unwrap().parse().unwrap();
        assert_eq!(endorsed.product, Some(product), "{}", sample.id);
        assert!(stated.product.is_none_or(|stated| stated == product));
        let service = Service::start(kds(&endorsed, &vcek)).await;
        let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_764_000_000);
        let fetcher = service.fetcher(options(now));
        let fetched = fetcher.platform(&Platform::Snp(stated)).await.unwrap();
        assert_eq!(fetched.platform, Some(Platform::Snp(endorsed)));
        assert_eq!(fetched.collateral.certificates.len(), 3);
        assert_eq!(fetched.collateral.certificates[0], vcek);
        assert_eq!(fetched.collateral.crls.len(), 1);
        count += 1;
    }
    assert!(count > 5, "{count}");
}

#[tokio::test]
async fn a_vleks_certificate_is_not_asked_for_and_that_is_said() {
    let sample = Sample::of_kind("snp")
        .into_iter()
        .find(|sample| sample.file("SEV-VLEK").is_some())
        .unwrap();
    let platform = SnpPlatform::of_report(&sample.file("report").unwrap()).unwrap();
    assert_eq!(platform.key, Vek::Vlek);
    let service = Service::start(Replies::new()).await;
    let now = std::time::UNIX_EPOCH;
    let error = service
        .fetcher(options(now))
        .platform(&Platform::Snp(platform))
        .await
        .unwrap_err();
    assert!(error.is_not_found());
    assert!(
        service
            .asked()
            .iter()
            .all(|path| path.starts_with("/vlek/v1/Milan/")),
        "{:?}",
        service.asked()
    );
}

#[tokio::test]
async fn evidence_that_carries_everything_needs_no_service() {
    let sample = Sample::all()
        .into_iter()
        .find(|sample| sample.kind == "tdx-v4" && sample.genuine)
        .unwrap();
    let evidence = sample.evidence();
    let fetcher = Fetcher::new(Sources::default(), Options::default()).unwrap();
    let error = fetcher.collateral(&evidence).await.unwrap_err();
    assert!(error.to_string().contains("no service is known"), "{error}");
    assert!(matches!(evidence, Evidence::TdxDcap(_)));
}

#[tokio::test]
async fn many_at_once_ask_once_and_everything_is_counted() {
    let (sample, case) = accepted("sgx-v3");
    let service = Service::start(pccs(&case.collateral())).await;
    let counters = Arc::new(Counters::default());
    let fetcher = service.fetcher(Options {
        observer: Arc::<Counters>::clone(&counters),
        ..options(case.now())
    });
    let evidence = sample.evidence();
    let (a, b, c) = tokio::join!(
        fetcher.collateral(&evidence),
        fetcher.collateral(&evidence),
        fetcher.collateral(&evidence),
    );
    assert_eq!(a.unwrap().collateral, b.unwrap().collateral);
    c.unwrap();
    assert_eq!(service.asked().len(), 4);
    let counts = counters.counts();
    assert_eq!((counts.fetched, counts.cached), (4, 8));
    assert_eq!((counts.failed, counts.stale), (0, 0));
}
