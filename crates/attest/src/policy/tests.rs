use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::snp::SnpProduct;

fn at(text: &str) -> SystemTime {
    let instant: jiff::Timestamp = text.parse().unwrap();
    UNIX_EPOCH + Duration::from_secs(instant.as_second().try_into().unwrap())
}

fn read(body: &str) -> Result<Policy, PolicyError> {
    Policy::from_toml(&format!("format = \"mse-policy/1\"\n{body}"))
}

fn refusal(body: &str) -> String {
    match read(body) {
        Ok(_) => panic!("this is accepted: {body}"),
        Err(error) => error.to_string(),
    }
}

const TERMS: &str = "reason = \"because\"\nuntil = 2027-01-31\n";

#[test]
fn the_example_is_a_policy_and_the_documentation_has_it() {
    let policy = Policy::from_toml(POLICY_EXAMPLE).unwrap();
    assert_eq!(policy.description(), Some("Payment service, production"));
    assert_eq!(policy.tees.as_ref().map(Vec::len), Some(5));
    assert_eq!(
        policy.max_collateral_age,
        Some(Duration::from_secs(30 * 86_400))
    );
    assert_eq!(policy.min_tcb_evaluation_number, 17);
    assert_eq!(policy.debug, None);
    assert_eq!(policy.sgx.isv_prod_id, Some(1));
    assert_eq!(policy.references.len(), 8);
    assert_eq!(policy.snp.min_tcb[&SnpProduct::Genoa].microcode, 72);
    assert_eq!(policy.vtpm.pinned_aks.len(), 1);
    assert_eq!(policy.snp.min_abi, (1, 51));
    assert_eq!(policy.snp.demands.len(), 1);
    assert_eq!(policy.snp.vmpl.as_ref().map(|(max, _)| *max), Some(1));
    assert_eq!(policy.nitro.max_age, Some(Duration::from_secs(600)));
    assert_eq!(policy.tdx.min_tee_tcb_svn[..4], [6, 1, 3, 0]);
    assert!(policy.tdx.sept_ve.is_some());
    assert!(!policy.accepts_simulated());
    let documentation = include_str!("../../../../docs/policy.md");
    assert!(
        documentation.contains(POLICY_EXAMPLE),
        "docs/policy.md must show crates/attest/src/policy/example.toml as it is"
    );
}

#[test]
fn the_least_policy_is_the_strict_one() {
    let policy = read("").unwrap();
    assert_eq!(format!("{policy:?}"), format!("{:?}", Policy::strict()));
}

#[test]
fn an_exception_holds_until_the_end_of_its_day_and_not_longer() {
    let policy = read(&format!(
        "[[accept_status]]\nstatus = \"OutOfDate\"\n{TERMS}"
    ))
    .unwrap();
    let accepts = |time| {
        policy
            .acceptance_of(TcbStatus::OutOfDate, at(time))
            .is_some()
    };
    assert!(accepts("2027-01-31T23:59:59Z"));
    assert!(!accepts("2027-02-01T00:00:00Z"));
    for (until, last) in [
        ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00Z"),
        ("2027-01-31T18:00:00+02:00", "2027-01-31T16:00:00Z"),
        ("2027-01-31 18:00:00-01:30", "2027-01-31T19:30:00Z"),
        ("2028-02-29", "2028-02-29T23:59:59Z"),
    ] {
        let policy = read(&format!(
            "[debug]\nallowed = true\nreason = \"r\"\nuntil = {until}\n"
        ))
        .unwrap();
        assert_eq!(
            policy.debug,
            Some(Tolerance::until(at(last)).with_reason("r".into())),
            "{until}"
        );
    }
}

#[test]
fn every_claim_has_its_length() {
    for (section, name, length) in [
        ("sgx", "mrenclave", 32),
        ("sgx", "mrsigner", 32),
        ("tdx", "mr_td", 48),
        ("tdx", "rtmr3", 48),
        ("tdx", "mr_seam", 48),
        ("tdx", "xfam", 8),
        ("tdx", "td_attributes", 8),
        ("snp", "measurement", 48),
        ("snp", "host_data", 32),
        ("snp", "family_id", 16),
        ("snp", "chip_id", 64),
        ("nitro", "pcr0", 48),
        ("nitro", "pcr31", 48),
        ("nitro", "nitrotpm_pcr7", 48),
        ("vtpm", "pcr23", 32),
        ("vtpm", "pcr11", 64),
    ] {
        let with = |length: usize| {
            read(&format!(
                "[{section}]\n{name} = [\"{}\"]\n",
                "aB".repeat(length)
            ))
        };
        let policy = with(length).unwrap();
        assert_eq!(
            policy.references[&format!("{section}.{name}")],
            [vec![0xab; length]]
        );
        for wrong in [0, length - 1, length + 1] {
            let error = with(wrong).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{wrong}` bytes")) && error.contains(name),
                "{error}"
            );
        }
    }
    // One value may stand without brackets.
    let policy = read(&format!("[sgx]\nmrenclave = \"{}\"\n", "00".repeat(32))).unwrap();
    assert_eq!(policy.references["sgx.mrenclave"], [[0; 32]]);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table of everything that can be wrong"
)]
fn errors_name_line_key_value_and_fix() {
    let status = |body: &str| format!("[[accept_status]]\n{body}");
    let cases = [
        (
            "tess = [\"sgx\"]",
            "line 2: `tess` is not a known key; did you mean `tees`?",
        ),
        (
            "zzz = 1",
            "`zzz` is not a known key; the keys here are format, description",
        ),
        (
            "mrenclave = []",
            "`mrenclave` is not a known key; it belongs in `[sgx]`",
        ),
        (
            "[sgx]\nmr_td = []",
            "line 3: `sgx.mr_td` is not a known key; it belongs in `[tdx]`",
        ),
        (
            "[sgx]\nmrenclav = []",
            "`sgx.mrenclav` is not a known key; did you mean `mrenclave`?",
        ),
        ("[tdx]\nrtmr4 = []", "`tdx.rtmr4` is not a known key"),
        ("[nitro]\npcr07 = []", "`nitro.pcr07` is not a known key"),
        (
            "[sgx]\nmrenclave = []",
            "line 3: `sgx.mrenclave` is an empty list",
        ),
        ("tees = []", "`tees` is an empty list"),
        ("accept_status = []", "`accept_status` is an empty list"),
        (
            "tees = [\"simulated\"]",
            "`tees[0]` is `simulated`: simulated platforms pass by their trust anchor",
        ),
        (
            "tees = [\"sgx\", \"sev\"]",
            "`tees[1]` is `sev`: this is not a TEE; use sgx, tdx, snp, nitro, tpm",
        ),
        (
            "tees = [\"sgx\", \"sgx\"]",
            "`tees[1]` names `sgx` a second time",
        ),
        ("tees = \"sgx\"", "`tees` is a string and must be a list"),
        (
            "max_collateral_age = \"30\"",
            "`max_collateral_age` is `30`: this is no duration",
        ),
        (
            "max_collateral_age = \"0d\"",
            "`max_collateral_age` is `0d`",
        ),
        (
            "max_collateral_age = \"99999999999999999999d\"",
            "this is no duration",
        ),
        (
            "max_collateral_age = 30",
            "`max_collateral_age` is an integer and must be a string",
        ),
        (
            "min_tcb_evaluation_number = -1",
            "`min_tcb_evaluation_number` is `-1`: the number is out of range; use 0 to",
        ),
        (
            "[sgx]\nisv_prod_id = 65536",
            "`sgx.isv_prod_id` is `65536`: the number is out of range; use 0 to 65535",
        ),
        (
            "[sgx]\nmrsigner = [\"0xab\"]",
            "`sgx.mrsigner[0]` is `0xab`: this is not hexadecimal; write 32 bytes",
        ),
        (
            "[sgx]\nmrsigner = [\"abc\"]",
            "`3` digits are no whole number of bytes",
        ),
        (
            "[sgx]\nmrsigner = [1]",
            "`sgx.mrsigner[0]` is an integer and must be a string",
        ),
        (
            "[tdx]\nmin_tee_tcb_svn = \"06\"",
            "`tdx.min_tee_tcb_svn` is `06`: these are `1` bytes; write 16 bytes",
        ),
        (
            "[[tdx.tolerate]]\nwhat = \"migrate\"",
            "`tdx.tolerate[0].what` is `migrate`: there is no such exception; use `sept-ve`, `migration`",
        ),
        (
            "[[tdx.tolerate]]\nwhat = \"service-td\"",
            "`tdx.tolerate[0].mr_service_td` is missing",
        ),
        (
            "[[tdx.tolerate]]\nwhat = \"migration\"\nmr_service_td = \"\"",
            "`tdx.tolerate[0].mr_service_td` is not a known key",
        ),
        (
            "[tdx]\ntolerate = 1",
            "`tdx.tolerate` is an integer and must be a list of tables",
        ),
        (
            "[debug]\nallowed = true",
            "line 2: `debug.reason` is missing; say in a sentence",
        ),
        (
            "[debug]\nallowed = true\nreason = \" \"",
            "`debug.reason` is ` `",
        ),
        (
            "[debug]\nallowed = true\nreason = \"r\"",
            "`debug.until` is missing; name the day",
        ),
        (
            "[debug]\nallowed = true\nreason = \"r\"\nuntil = \"2027-01-31\"",
            "`debug.until` is a string and must be a date",
        ),
        (
            "[debug]\nallowed = true\nreason = \"r\"\nuntil = 2027-01-31T18:00:00",
            "`debug.until` is `2027-01-31T18:00:00`: this time has no zone",
        ),
        (
            "[debug]\nallowed = true\nreason = \"r\"\nuntil = 18:00:00",
            "this time has no date",
        ),
        (
            "[debug]\nallowed = true\nreason = \"r\"\nuntil = 1969-12-31",
            "this is before 1970",
        ),
        (
            "[debug]\nallowed = 1",
            "`debug.allowed` is an integer and must be `true` or `false`",
        ),
        ("[nitro]\npcr0 = [\"Q\"]", "`nitro.pcr0[0]` is `Q`"),
        (
            "[[trust_anchor]]\ntee = \"sgx\"\nroot_certificate = \"\"",
            "line 2: `trust_anchor[0]` is no trust anchor: a trust anchor file cannot vouch for tee `sgx`",
        ),
        (
            "[[trust_anchor]]\ntee = \"simulated\"",
            "`trust_anchor[0].root_certificate` is missing",
        ),
        (
            "[snp]\nrequire = [\"smt\"]",
            "`snp.require[0]` is `smt`: there is no such demand; use `no-smt`",
        ),
        (
            "[snp]\nrequire = [\"no-smt\", \"no-smt\"]",
            "names `no-smt` a second time",
        ),
        ("[snp]\nmin_abi = \"1.055\"", "`snp.min_abi` is `1.055`"),
        (
            "[snp]\nmin_abi = 1.55",
            "`snp.min_abi` is a float and must be a string",
        ),
        (
            "[snp.min_tcb]",
            "`snp.min_tcb` is `[snp.min_tcb]`: it asks for nothing",
        ),
        (
            "[snp.min_tcb.Rome]\nsnp = 1",
            "`snp.min_tcb.Rome` is not a known key",
        ),
        (
            "[snp.min_tcb.Milan]\nfmc = 1",
            "`snp.min_tcb.Milan.fmc` is not a known key",
        ),
        ("[snp.min_tcb.Turin]\nfmc = 256", "use 0 to 255"),
        (
            "[[snp.tolerate]]\nwhat = \"vmpl\"\nmax_vmpl = 4",
            "`snp.tolerate[0].max_vmpl` is `4`: the number is out of range; use 1 to 3",
        ),
        (
            "[[snp.tolerate]]\nwhat = \"x\"",
            "use `migration-agent`, `masked-chip-id`, or `vmpl`",
        ),
        (
            "[[snp.tolerate]]\nwhat = \"masked-chip-id\"\nmax_vmpl = 1",
            "`snp.tolerate[0].max_vmpl` is not a known key",
        ),
        (
            "[nitro]\nmax_age = \"1 h\"",
            "`nitro.max_age` is `1 h`: this is no duration",
        ),
        (
            "[nitro]\nenclaves_only = 1",
            "`nitro.enclaves_only` is an integer and must be `true` or `false`",
        ),
        (
            "[vtpm]\npinned_aks = [\"00\"]",
            "`vtpm.pinned_aks[0]` is `00`: these are `1` bytes; write 32 bytes",
        ),
        (
            "[vtpm]\nroots = [\"x\"]",
            "`vtpm.roots[0]` is `x`: this is not PEM",
        ),
        ("tees = [", "this is not TOML"),
        (
            "description = \"a\\u0007\"",
            "`description` is `a\u{fffd}`: this is no text",
        ),
    ];
    for (body, part) in cases {
        let error = refusal(body);
        assert!(error.contains(part), "{body}\n{error}");
        assert!(!error.contains('\n') && !error.contains('\u{7}'), "{error}");
    }
    for (body, part) in [
        ("", "`accept_status[0].status` is missing"),
        (
            "status = \"Revoked\"\n",
            "no policy can accept platforms whose keys were revoked",
        ),
        (
            "status = \"UpToDate\"\n",
            "every policy accepts this status",
        ),
        ("status = \"outofdate\"\n", "did you mean `OutOfDate`?"),
        ("status = \"x\"\n", "use one of UpToDate, SWHardeningNeeded"),
        (
            "status = \"OutOfDate\"\nreason = \"r\"\n",
            "`accept_status[0].until` is missing",
        ),
    ] {
        let error = refusal(&status(body));
        assert!(error.contains(part), "{body}\n{error}");
    }
    for id in [
        "INTEL-SA-615",
        "intel-sa-00615",
        "INTEL-SA-00615 ",
        "CVE-2024-1",
    ] {
        let error = refusal(&format!("[[tolerate_advisory]]\nid = \"{id}\"\n{TERMS}"));
        assert!(
            error.contains("this is not the id of an advisory"),
            "{error}"
        );
    }
    let one = format!("[[accept_status]]\nstatus = \"OutOfDate\"\n{TERMS}");
    assert!(refusal(&format!("{one}{one}")).contains("names `OutOfDate` a second time"));
    let registers = format!(
        "[nitro]\npcr0 = \"{0}\"\nnitrotpm_pcr0 = \"{0}\"\n",
        "ab".repeat(48)
    );
    assert!(refusal(&registers).contains("registers of an enclave and of a NitroTPM"));
}

#[test]
fn the_format_comes_first_and_the_size_before_it() {
    let error = |text: &str| Policy::from_toml(text).unwrap_err().to_string();
    assert!(error("tees = 1").contains("`format` is missing"));
    assert!(
        error("format = \"mse-policy/2\"\nnew = 1")
            .contains("`mse-policy/2`: this format is not known")
    );
    assert!(matches!(
        Policy::from_toml(&" ".repeat(MAX_POLICY_BYTES + 1)),
        Err(PolicyError::TooLarge { size }) if size == MAX_POLICY_BYTES + 1
    ));
}

#[test]
fn a_policy_says_what_is_dangerous_and_what_ends() {
    let policy = read(&format!(
        "tees = [\"sgx\", \"tdx\"]
        [sgx]
        mrsigner = \"{}\"
        [snp]
        measurement = \"{}\"
        [debug]
        allowed = true
        {TERMS}
        [[accept_status]]
        status = \"OutOfDate\"
        reason = \"update is on its way\"
        until = 2026-12-01
        [[tdx.tolerate]]
        what = \"migration\"
        reason = \"was needed\"
        until = 2026-01-01
        ",
        "ab".repeat(32),
        "cd".repeat(48),
    ))
    .unwrap();
    let statements = policy.describe(at("2026-11-25T12:00:00Z"));
    let has = |kind: StatementKind, part: &str| {
        assert!(
            statements
                .iter()
                .any(|one| one.kind == kind && one.text.contains(part)),
            "{part}: {statements:#?}"
        );
    };
    has(StatementKind::Rule, "only evidence of sgx, tdx may pass");
    has(StatementKind::Rule, "`sgx.mrsigner` must be abab");
    has(
        StatementKind::Tolerance,
        "code in debug mode: accepted until the end of 2027-01-31 (UTC): because",
    );
    has(
        StatementKind::Danger,
        "whoever runs the code can read its memory",
    );
    has(
        StatementKind::Danger,
        "known holes of such platforms are open",
    );
    has(
        StatementKind::Danger,
        "any code in tdx passes: no value of mr_td",
    );
    has(
        StatementKind::Warning,
        "platforms in TCB status OutOfDate: accepted for another 6 days only",
    );
    has(
        StatementKind::Warning,
        "to another machine: not accepted any more; tolerated until",
    );
    has(StatementKind::Warning, "`[snp]` has no effect");
    has(StatementKind::Warning, "every product in every version");
    has(StatementKind::Warning, "no advisory is tolerated by name");
    has(StatementKind::Warning, "until it expires");
    assert!(statements.is_sorted_by_key(|one| one.kind));
    assert!(
        !statements
            .iter()
            .any(|one| one.kind == StatementKind::Danger && one.text.contains("move to another")),
        "what is not in force is no danger"
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Policy::from_toml(&text);
        let _ = read(&text);
    }

    #[test]
    fn no_mutation_of_the_example_makes_it_panic(
        at in 0..POLICY_EXAMPLE.len(),
        length in 0_usize..40,
        with in "[\\PC\\n\"=\\[\\]]{0,20}",
    ) {
        let end = (at + length).min(POLICY_EXAMPLE.len());
        if let (Some(before), Some(after)) = (POLICY_EXAMPLE.get(..at), POLICY_EXAMPLE.get(end..)) {
            match Policy::from_toml(&format!("{before}{with}{after}")) {
                Ok(policy) => {
                    policy.describe(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
                }
                Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
            }
        }
    }
}
