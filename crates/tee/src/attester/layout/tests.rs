use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::emulated::{sgx_quote, snp_report, tdx_quote};
use super::*;

const DATA: [u8; 64] = [0x42; 64];

#[test]
fn every_form_states_its_report_data() {
    for (form, bytes) in [
        (Form::SgxQuote, sgx_quote(&DATA)),
        (Form::TdxQuote, tdx_quote(4, &DATA)),
        (Form::TdxQuote, tdx_quote(5, &DATA)),
        (Form::SnpReport, snp_report(2, &DATA)),
        (Form::SnpReport, snp_report(3, &DATA)),
        (Form::SnpReport, snp_report(5, &DATA)),
    ] {
        let stated = read(form, bytes.clone()).unwrap();
        assert_eq!(stated.report_data, DATA);
        assert_eq!(stated.evidence, bytes);
    }
}

/// Each sample's report data against the one that other tools read in it.
#[test]
fn genuine_samples_are_read_whole() {
    let (folder, manifest) = samples();
    let mut seen = 0;
    for sample in manifest.split("[[sample]]").skip(1) {
        if !sample.contains("\ngenuine = true\n") {
            continue;
        }
        let field = |name: &str| {
            let start = sample.find(&format!("\n{name} = \""))? + name.len() + 5;
            sample[start..].split('"').next()
        };
        let form = match field("kind") {
            Some("sgx-v3") => Form::SgxQuote,
            Some("tdx-v4" | "tdx-v5") => Form::TdxQuote,
            Some("snp") => Form::SnpReport,
            _ => continue,
        };
        let (Some(id), Some(report_data)) = (field("id"), field("report_data")) else {
            continue;
        };
        let file = match form {
            Form::SnpReport => "report.bin",
            _ => "quote.bin",
        };
        let path = folder.join(id).join(file);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stated = read(form, bytes.clone()).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(hex::encode(stated.report_data), report_data, "{id}");
        assert!(bytes.starts_with(&stated.evidence));
        seen += 1;
    }
    assert!(seen > 30, "only {seen} samples were read");
}

fn samples() -> (PathBuf, String) {
    let folder = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    let manifest = fs::read_to_string(folder.join("MANIFEST.toml")).unwrap_or_else(|error| {
        panic!(
            "the evidence samples are not at `{}` ({error}): put them there, or set MSE_EVIDENCE_DIR to their folder",
            folder.display()
        )
    });
    (folder, manifest)
}

#[test]
fn zeros_after_a_quote_are_cut_off_and_nothing_else_is() {
    let quote = tdx_quote(4, &DATA);
    let mut padded = quote.clone();
    padded.extend_from_slice(&[0; 50]);
    let stated = read(Form::TdxQuote, padded.clone()).unwrap();
    assert_eq!(stated.evidence, quote);
    *padded.last_mut().unwrap() = 1;
    assert_eq!(
        read(Form::TdxQuote, padded).unwrap_err(),
        LayoutError::Trailing {
            length: quote.len(),
            trailing: 50
        }
    );
}

#[test]
fn cut_quotes_are_refused_wherever_they_are_cut() {
    for quote in [tdx_quote(4, &DATA), tdx_quote(5, &DATA)] {
        for length in 1..quote.len() {
            let error = read(Form::TdxQuote, quote[..length].to_vec()).unwrap_err();
            assert!(matches!(
                error,
                LayoutError::Truncated { .. } | LayoutError::BodySize(_)
            ));
        }
    }
    assert_eq!(
        read(Form::SgxQuote, Vec::new()).unwrap_err(),
        LayoutError::Empty
    );
}

#[test]
fn other_kinds_are_refused_by_name() {
    let error = |form, bytes| read(form, bytes).unwrap_err();
    assert_eq!(
        error(Form::TdxQuote, sgx_quote(&DATA)),
        LayoutError::Tee {
            found: 0,
            expected: 0x81
        }
    );
    assert_eq!(
        error(Form::SgxQuote, tdx_quote(4, &DATA)),
        LayoutError::Tee {
            found: 0x81,
            expected: 0
        }
    );
    assert_eq!(
        error(Form::TdxQuote, tdx_quote(3, &DATA)),
        LayoutError::Version(3)
    );
    assert_eq!(
        error(Form::SnpReport, snp_report(1, &DATA)),
        LayoutError::SnpVersion(1)
    );
    assert_eq!(
        error(Form::SnpReport, vec![2; 1185]),
        LayoutError::SnpSize(1185)
    );
    let mut quote = tdx_quote(5, &DATA);
    quote[50..54].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        error(Form::TdxQuote, quote),
        LayoutError::BodySize(_)
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        version in 0_u16..7,
        tdx: bool,
        rest in proptest::collection::vec(any::<u8>(), 0..1200),
    ) {
        let mut bytes = version.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[2, 0, if tdx { 0x81 } else { 0 }, 0, 0, 0]);
        bytes.extend_from_slice(&rest);
        for form in [Form::SgxQuote, Form::TdxQuote, Form::SnpReport] {
            let _ = read(form, bytes.clone());
        }
    }
}
