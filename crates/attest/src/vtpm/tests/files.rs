//! Files in which evidence is given.

use super::{Quote, Tpm, pcr};
use crate::vtpm::{VtpmError, VtpmEvidence};

#[test]
fn a_member_that_stands_twice_is_refused() {
    let tpm = Tpm::new();
    let good = tpm.evidence(&Quote::good()).to_string();
    let twice = good.replacen("{\"ak_public\":", "{\"ak_public\":\"\",\"ak_public\":", 1);
    assert!(matches!(
        VtpmEvidence::parse(twice.as_bytes()),
        Err(VtpmError::Json(_))
    ));
}

#[test]
fn a_pcr_that_stands_twice_is_refused() {
    let file = |pcrs: &str| {
        format!(
            r#"{{"ak_pubkeys":{{"ecc_p256":{{"x":"01","y":"02"}}}},"pcrs":{{{pcrs}}},
                "attestation":{{"tpm":{{"ecc_p256":{{"attest_data":"{}",
                "signature":"3006020101020101"}}}}}}}}"#,
            hex::encode(Quote::of(0..1).bytes())
        )
    };
    let value = hex::encode(pcr(0));
    let parse = |pcrs: &str| VtpmEvidence::parse(file(pcrs).as_bytes());
    parse(&format!(r#""sha256":{{"0":"{value}"}}"#)).unwrap();
    assert!(matches!(
        parse(&format!(r#""sha256":{{"0":"{value}","0":"{value}"}}"#)),
        Err(VtpmError::PcrTwice { index: 0 })
    ));
    assert!(matches!(
        parse(&format!(r#""sha256":{{"0":"{value}","00":"{value}"}}"#)),
        Err(VtpmError::PcrIndex { .. })
    ));
    assert!(matches!(
        parse(&format!(r#""sha256":{{"0":"{value}"}},"sha256":{{}}"#)),
        Err(VtpmError::BankTwice { .. })
    ));
    assert!(matches!(
        parse(r#""sha256":{"0":"00"}"#),
        Err(VtpmError::PcrSize { .. })
    ));
    assert!(matches!(parse(r#""md5":{}"#), Err(VtpmError::Bank { .. })));
}

#[test]
fn files_of_no_known_form_are_refused() {
    for text in [
        "{}",
        r#"{"report":"","hcl_report":""}"#,
        r#"{"tpm_quote":1}"#,
    ] {
        assert!(VtpmEvidence::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(matches!(VtpmEvidence::parse(b"{}"), Err(VtpmError::Form)));
    assert!(matches!(
        VtpmEvidence::parse(
            br#"{"ak_public":"***","tpm_quote":{"signature":"","message":"","pcrs":[]}}"#
        ),
        Err(VtpmError::Encoding {
            member: "ak_public"
        })
    ));
}
