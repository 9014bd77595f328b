//! Services that are slow, broken, or lie: each has its own error, which names the URL.

use std::time::{Duration, UNIX_EPOCH};

use mse_collateral::answer::AnswerError;
use mse_collateral::{DcapTee, Document, Edition, FetchError, Fmspc, Limits, Options, PckCa};

use crate::samples::accepted;
use crate::service::{Replies, Reply, Service, facts, options, pccs, signed};

const ROOT_CRL: &str = "/sgx/certification/v4/rootcacrl";

/// What comes of a root CRL that is answered so.
async fn root_crl(replies: impl Into<Vec<Reply>>, limits: Limits) -> (FetchError, Service) {
    let service = Service::start(Replies::from([(ROOT_CRL.to_owned(), replies.into())])).await;
    let fetcher = service.fetcher(Options {
        limits,
        ..options(UNIX_EPOCH)
    });
    let error = fetcher
        .document(&Document::RootCaCrl, None)
        .await
        .unwrap_err();
    let url = format!("{}{ROOT_CRL}", service.url);
    assert!(error.to_string().contains(&url), "{error}");
    (error, service)
}

fn quick() -> Limits {
    Limits {
        first_pause: Duration::from_millis(1),
        attempts: 2,
        ..Limits::default()
    }
}

#[tokio::test]
async fn silence_and_trickles_end_in_time_outs() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n30".to_vec();
    let tiny = Duration::from_millis(30);
    let read = Limits {
        read: tiny,
        ..quick()
    };
    // The total time ends it however many attempts are left.
    let total = Limits {
        total: tiny,
        read: Duration::from_secs(3600),
        attempts: 1000,
        ..quick()
    };
    for reply in [Reply::Hang(Vec::new()), Reply::Hang(head)] {
        for limits in [&read, &total] {
            let (error, _) = root_crl([reply.clone()], limits.clone()).await;
            assert!(
                matches!(error, FetchError::TimedOut { after, .. } if after == tiny),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_taken_for_the_whole() {
    let (error, service) = root_crl(
        [Reply::Raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n3082".to_vec(),
        )],
        quick(),
    )
    .await;
    assert!(matches!(error, FetchError::CutShort { .. }), "{error}");
    assert_eq!(service.asked().len(), 2, "it is tried again");
}

#[tokio::test]
async fn no_http_and_nobody_there_are_unreachable() {
    let (error, _) = root_crl([Reply::Raw(b"SSH-2.0-x\r\n".to_vec())], quick()).await;
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    let service = Service::start(Replies::new()).await;
    let fetcher = service.fetcher(Options {
        limits: quick(),
        ..options(UNIX_EPOCH)
    });
    drop(service);
    let error = fetcher.document(&Document::RootCaCrl, None).await;
    assert!(matches!(error, Err(FetchError::Unreachable { .. })));
}

#[tokio::test]
async fn large_answers_are_not_read_to_their_end() {
    let limits = Limits {
        max_bytes: 1000,
        ..quick()
    };
    let announced = Reply::ok(vec![b'3'; 1001]);
    let endless = [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n"[..],
        &[b'3'; 0x1000],
    ]
    .concat();
    for reply in [announced, Reply::Hang(endless)] {
        let (error, service) = root_crl([reply], limits.clone()).await;
        assert!(
            matches!(error, FetchError::TooLarge { limit: 1000, .. }),
            "{error}"
        );
        assert_eq!(service.asked().len(), 1, "it is not tried again");
    }
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let (error, service) = root_crl([Reply::status(404)], quick()).await;
    assert!(error.is_not_found(), "{error}");
    assert_eq!(service.asked().len(), 1, "it is not tried again");
    for status in [400, 401, 418] {
        let (error, service) = root_crl([Reply::status(status)], quick()).await;
        assert!(
            matches!(error, FetchError::Status { status: found, .. } if found == status),
            "{error}"
        );
        assert_eq!(service.asked().len(), 1, "it is not tried again");
    }
    for status in [500, 503] {
        let (error, service) = root_crl([Reply::status(status)], quick()).await;
        assert!(
            matches!(error, FetchError::Status { status: found, .. } if found == status),
            "{error}"
        );
        assert_eq!(service.asked().len(), 2, "it is tried again");
    }
}

#[tokio::test]
async fn retry_after_is_honoured_within_the_time_and_not_beyond() {
    let (error, service) =
        root_crl([Reply::status(429).with("Retry-After", "3600")], quick()).await;
    assert!(
        matches!(
            error,
            FetchError::RateLimited {
                wait: Some(wait),
                ..
            } if wait == Duration::from_secs(3600)
        ),
        "{error}"
    );
    assert!(error.to_string().contains("wait 3600 s"), "{error}");
    assert_eq!(service.asked().len(), 1, "an hour is too long to wait");

    let (_, case) = accepted("sgx-v3");
    let good = Reply::ok(case.collateral().root_ca_crl);
    let busy = Reply::status(429).with("Retry-After", "0");
    let service = Service::start(Replies::from([(
        ROOT_CRL.to_owned(),
        vec![busy, Reply::status(503), good],
    )]))
    .await;
    let fetcher = service.fetcher(options(case.now()));
    fetcher.document(&Document::RootCaCrl, None).await.unwrap();
    assert_eq!(service.asked().len(), 3);
}

#[tokio::test]
async fn redirects_stay_with_the_service() {
    let (error, _) = root_crl(
        [Reply::status(302).with("Location", "http://127.0.0.2:1/crl")],
        quick(),
    )
    .await;
    assert!(
        matches!(&error, FetchError::Redirected { to, .. } if to == "http://127.0.0.2:1/crl"),
        "{error}"
    );
    let (error, service) = root_crl([Reply::status(302).with("Location", ROOT_CRL)], quick()).await;
    assert!(matches!(error, FetchError::Redirected { .. }), "{error}");
    assert!(service.asked().len() <= 5, "a circle is left");

    let (_, case) = accepted("sgx-v3");
    let service = Service::start(Replies::from([
        (
            ROOT_CRL.to_owned(),
            vec![Reply::status(301).with("Location", "/elsewhere")],
        ),
        (
            "/elsewhere".to_owned(),
            vec![Reply::ok(case.collateral().root_ca_crl)],
        ),
    ]))
    .await;
    let fetcher = service.fetcher(options(case.now()));
    fetcher.document(&Document::RootCaCrl, None).await.unwrap();
}

#[tokio::test]
async fn pages_missing_headers_and_other_documents_are_told_apart() {
    let (sample, case) = accepted("sgx-v3");
    let kept = case.collateral();
    let (tee, fmspc, ca) = facts(&kept);
    let paths = [
        format!("/{tee}/certification/v4/tcb?fmspc={fmspc}&update=standard"),
        format!("/{tee}/certification/v4/qe/identity?update=standard"),
        format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
        ROOT_CRL.to_owned(),
    ];
    let page = Reply::ok("<html>sign in</html>").with("Content-Type", "application/json");
    let (_, tdx) = accepted("tdx-v4");
    let tdx = pccs(&tdx.collateral());
    let of = |end: &str| {
        let (_, row) = tdx.iter().find(|(path, _)| path.contains(end)).unwrap();
        row[0].clone()
    };
    let good = pccs(&kept);
    let unsigned = Reply::ok(format!(r#"{{"tcbInfo":{}}}"#, kept.tcb_info));
    let half = signed("tcbInfo", &kept.tcb_info, &kept.tcb_info_signature[1..]);
    let other = kept.tcb_info.replace(&fmspc, "00806F050000");
    let other = signed("tcbInfo", &other, &kept.tcb_info_signature)
        .with("TCB-Info-Issuer-Chain", "-----BEGIN");
    let root_for_pck = Reply::ok(kept.root_ca_crl.clone());
    let no_chain = |path: &String| good[path][0].clone().without_headers();
    let cases: Vec<(&String, Reply, &str)> = vec![
        (&paths[0], page.clone(), "NotJson"),
        (&paths[1], page.clone(), "NotJson"),
        (&paths[2], page.clone(), "Chain"),
        (&paths[3], page, "Crl"),
        (&paths[0], no_chain(&paths[0]), "Chain"),
        (&paths[1], no_chain(&paths[1]), "Chain"),
        (&paths[2], no_chain(&paths[2]), "Chain"),
        (&paths[0], unsigned, "Signature"),
        (&paths[0], half, "Signature"),
        (&paths[0], other, "Chain"),
        (&paths[0], of("/tcb?"), "OtherSubject"),
        (&paths[1], of("/qe/identity"), "OtherSubject"),
        (&paths[0], of("/qe/identity"), "NotJson"),
        (&paths[2], root_for_pck, "Chain"),
        (&paths[3], Reply::ok(kept.pck_crl.clone()), "OtherSubject"),
        (&paths[3], Reply::ok(""), "Crl"),
        (&paths[3], Reply::ok(&kept.root_ca_crl[..100]), "Crl"),
    ];
    for (path, reply, flaw) in cases {
        let service = Service::start(good.clone()).await;
        service.change(path, [reply.clone()]);
        let error = service
            .fetcher(options(case.now()))
            .collateral(&sample.evidence())
            .await
            .unwrap_err();
        let FetchError::Answer { url, source } = &error else {
            panic!("{path}: {error}");
        };
        assert!(url.ends_with(path.as_str()), "{url}");
        let name = format!("{source:?}");
        assert!(name.starts_with(flaw), "{path}: {name}, not {flaw}");
    }
}

#[tokio::test]
async fn another_machine_types_tcb_info_is_named() {
    let (_, case) = accepted("sgx-v3");
    let kept = case.collateral();
    let (_, fmspc, _) = facts(&kept);
    let replies = pccs(&kept);
    let path = format!("/sgx/certification/v4/tcb?fmspc={fmspc}&update=standard");
    let asked = "/sgx/certification/v4/tcb?fmspc=00806F050000&update=standard";
    let service = Service::start(Replies::from([(asked.to_owned(), replies[&path].clone())])).await;
    let document = Document::TcbInfo {
        tee: DcapTee::Sgx,
        fmspc: Fmspc([0, 0x80, 0x6f, 5, 0, 0]),
        edition: Edition::Standard,
    };
    let error = service
        .fetcher(options(case.now()))
        .document(&document, None)
        .await
        .unwrap_err();
    let FetchError::Answer {
        source: AnswerError::OtherSubject { asked, found },
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(asked, "SGX 00806F050000");
    assert_eq!(found.to_uppercase(), format!("SGX {fmspc}"));
}

#[tokio::test]
async fn the_other_cas_crl_is_refused() {
    let (_, case) = accepted("tdx-v4");
    let kept = case.collateral();
    let (_, _, ca) = facts(&kept);
    assert_eq!(ca, "platform");
    let replies = pccs(&kept);
    let row = replies["/sgx/certification/v4/pckcrl?ca=platform&encoding=der"].clone();
    let asked = "/sgx/certification/v4/pckcrl?ca=processor&encoding=der".to_owned();
    let service = Service::start(Replies::from([(asked, row)])).await;
    let error = service
        .fetcher(options(case.now()))
        .document(&Document::PckCrl(PckCa::Processor), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("processor CA"), "{error}");
}
