//! `mse measure`: reference values from files, without a login or a network.

use std::fmt::Write;
use std::fs;

use mse_measure::Sha384Digest;

use crate::support::{FakePlatform, User};

/// The synthetic files of the library's own tests.
#[path = "../../../measure/tests/common/mod.rs"]
mod files;

/// A user with firmware, kernel, initrd and event log.
fn user() -> User {
    let user = User::new();
    let write = |name: &str, bytes: &[u8]| fs::write(user.path(name), bytes).unwrap();
    write(
        "OVMF.fd",
        &files::sev_image(5, &files::AMD_SEV, files::HASHES_TABLE),
    );
    write(
        "TDVF.fd",
        &files::tdx_image(
            6,
            &[
                (0x2000, 0x4000, 0xffff_c000, 0x4000, 0, 1),
                (0, 0x2000, 0xffff_a000, 0x2000, 1, 0),
                (0, 0, 0x200_0000, 0x1000, 4, 2),
            ],
        ),
    );
    write("vmlinuz", &files::kernel(0, 0));
    write("initrd.img", &files::filler(65_537, 13, 1));
    let event = |register, kind, data| (register, kind, Sha384Digest::of(data).0, data);
    write(
        "CCEL",
        &files::event_log(&[
            (1, 3, [0; 48], b"StartupLocality"),
            event(1, 4, &[0; 4]),
            event(2, 0x8000_0007, b"Exit Boot Services Invocation"),
            (3, 6, [7; 48], b"LOADED_IMAGE::LoadOptions\0"),
        ]),
    );
    write(
        "CCEL.lies",
        &files::event_log(&[(2, 0x8000_0007, [1; 48], b"nothing happened")]),
    );
    user
}

#[test]
fn help_of_each_value() {
    let user = User::new();
    for value in ["snp", "tdx", "event-log", "workload"] {
        let help = user.mse(&["measure", value, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{value}");
        insta::assert_snapshot!(format!("help_{value}"), help);
    }
}

#[test]
fn values_of_guests() {
    let user = user();
    let snp = &["measure", "snp", "--ovmf", "OVMF.fd", "--vcpus", "2"][..];
    let boot = &["--kernel", "vmlinuz", "--initrd", "initrd.img", "--append"][..];
    let tdx = &["measure", "tdx"][..];
    let log = &["measure", "event-log"][..];
    let mut shown = String::new();
    for words in [
        [snp, &["--cpu", "EPYC-Milan"]].concat(),
        [
            snp,
            &["--cpu", "0xa10f10", "--json"],
            boot,
            &["root=/dev/vda"],
        ]
        .concat(),
        [snp, &["--vmm", "gce", "--guest-features", "0x21"]].concat(),
        [tdx, &["--firmware", "TDVF.fd"]].concat(),
        [
            tdx,
            &["--firmware", "TDVF.fd", "--order", "by-section", "--json"],
        ]
        .concat(),
        [tdx, boot, &["console=ttyS0 ro", "--qemu-header", "4G"]].concat(),
        [tdx, &["--kernel", "vmlinuz", "--json"]].concat(),
        [log, &["CCEL"]].concat(),
        [log, &["CCEL", "--events"]].concat(),
        [log, &["CCEL", "--json"]].concat(),
        [log, &["CCEL.lies", "--events"]].concat(),
    ] {
        let ran = user.mse(&words);
        assert_eq!(ran.code, 0, "{ran:?}");
        writeln!(shown, "##### mse {}\n{}", words.join(" "), ran.shown()).unwrap();
    }
    insta::assert_snapshot!(shown);
}

/// The same values as the library's, which are those of other implementations.
#[test]
fn values_are_those_of_other_implementations() {
    let user = user();
    let line = files::vectors("snp-computed.txt")
        .into_iter()
        .find(|words| words.len() == 6 && words[..5].join(" ") == "EPYC-Rome 64 qemu 0x1 none")
        .unwrap();
    let measured = user.mse(&[
        "measure",
        "snp",
        "--ovmf",
        "OVMF.fd",
        "--vcpus",
        "64",
        "--cpu",
        "EPYC-Rome",
        "--json",
    ]);
    let measured = measured.json();
    assert_eq!(measured["measurement"], line[5].as_str());
    // The firmware's pages may come from elsewhere.
    let other = files::filler(4096, 1, 1);
    let mut short = files::sev_image(1, &files::AMD_SEV, files::HASHES_TABLE);
    short[..100].copy_from_slice(&other[..100]);
    fs::write(user.path("short.fd"), short).unwrap();
    let again = user.mse(&[
        "measure",
        "snp",
        "--ovmf",
        "short.fd",
        "--ovmf-hash",
        measured["ovmf_hash"].as_str().unwrap(),
        "--vcpus",
        "64",
        "--cpu",
        "EPYC-Rome",
        "--json",
    ]);
    assert_eq!(again.json(), measured);
    let rtmr1 = files::vectors("kernel-computed.txt")
        .into_iter()
        .find(|words| words[0] == "rtmr1")
        .unwrap();
    let booted = user.mse(&[
        "measure",
        "tdx",
        "--kernel",
        "vmlinuz",
        "--initrd",
        "initrd.img",
        "--append",
        "console=ttyS0 ro",
        "--qemu-header",
        "4G",
        "--json",
    ]);
    assert_eq!(booted.json()["boot"]["rtmr1"], rtmr1[1].as_str());
}

#[test]
fn registers_are_compared() {
    let user = user();
    let registers = user.mse(&["measure", "event-log", "CCEL", "--json"]).json();
    let [rtmr1, rtmr3] = ["rtmr1", "rtmr3"].map(|name| registers[name].as_str().unwrap());
    let output = user.mse(&[
        "measure",
        "event-log",
        "CCEL",
        "--rtmr1",
        rtmr1,
        "--rtmr3",
        rtmr3,
        "--json",
    ]);
    assert_eq!(
        output.json()["compared"],
        serde_json::json!(["RTMR1", "RTMR3"])
    );
    let output = user.mse(&["measure", "event-log", "CCEL", "--rtmr0", rtmr1]);
    output.failed_with(1, "for RTMR0, which must be");
    assert!(output.stderr.contains("believe none of it"), "{output:?}");
}

#[test]
fn errors_say_what_to_do() {
    let user = user();
    let mut truncated = fs::read(user.path("CCEL")).unwrap();
    truncated.pop();
    fs::write(user.path("CCEL.cut"), truncated).unwrap();
    user.write("text", "hello");
    user.write("folder/text", "hello");
    let snp = &[
        "measure", "snp", "--vcpus", "1", "--cpu", "EPYC-v4", "--ovmf",
    ][..];
    let mut shown = String::new();
    for words in [
        &["measure"][..],
        &["measure", "snp"],
        &["measure", "snp", "--ovmf", "OVMF.fd", "--vcpus", "1"],
        &[
            "measure", "snp", "--ovmf", "OVMF.fd", "--vcpus", "1", "--cpu", "Skylake",
        ],
        &[
            "measure", "snp", "--ovmf", "OVMF.fd", "--vcpus", "1", "--vmm", "xen",
        ],
        &[
            "measure",
            "snp",
            "--ovmf",
            "OVMF.fd",
            "--vcpus",
            "1",
            "--guest-features",
            "g",
        ],
        &[
            "measure",
            "snp",
            "--ovmf",
            "OVMF.fd",
            "--vcpus",
            "1",
            "--initrd",
            "initrd.img",
        ],
        &[
            "measure", "snp", "--ovmf", "OVMF.fd", "--vcpus", "5000", "--cpu", "EPYC",
        ],
        &[snp, &["none.fd"]].concat(),
        &[snp, &["text"]].concat(),
        &[snp, &["TDVF.fd", "--json"]].concat(),
        &["measure", "tdx"],
        &["measure", "tdx", "--firmware", "OVMF.fd"],
        &[
            "measure",
            "tdx",
            "--firmware",
            "TDVF.fd",
            "--order",
            "random",
        ],
        &["measure", "tdx", "--kernel", "text"],
        &["measure", "tdx", "--kernel", "folder"],
        &[
            "measure",
            "tdx",
            "--kernel",
            "vmlinuz",
            "--qemu-header",
            "4K",
        ],
        &["measure", "tdx", "--kernel", "vmlinuz", "--append", "ä"],
        &["measure", "event-log", "text"],
        &["measure", "event-log", "CCEL.cut"],
        &["measure", "workload"],
        &["measure", "workload", "--context", "context.mse"],
    ] {
        let ran = user.mse(words);
        assert_ne!(ran.code, 0, "{ran:?}");
        writeln!(shown, "##### mse {}\n{}", words.join(" "), ran.shown()).unwrap();
    }
    insta::assert_snapshot!(shown);
}

/// The workload as deployed, from the owner's machine and from an export; changed code is not it.
#[test]
fn the_workload_of_a_deployed_app() {
    let platform = FakePlatform::start();
    let owner = User::of(&platform);
    owner.project();
    owner
        .mse(&["measure", "workload"])
        .failed_with(6, "deploy it first");
    let deployed = owner.deploy();
    let own = owner.mse(&["measure", "workload", "--json"]);
    assert_eq!(own.code, 0, "{own:?}");
    let own = own.json();
    assert_eq!(own["measurement"], deployed["fingerprint"], "{deployed}");
    assert!(own["source"]["bundle"].is_string());

    let id = deployed["id"].as_str().unwrap();
    assert_eq!(owner.mse(&["context", "--export", id]).code, 0);
    let stranger = User::new();
    stranger.project();
    fs::copy(owner.path("context.mse"), stranger.path("context.mse")).unwrap();
    let by_export = [
        "measure",
        "workload",
        "--context",
        "context.mse",
        "--code",
        "mse_src",
    ];
    let output = stranger.mse(&[&by_export[..], &["--json"]].concat()).json();
    assert_eq!(output["workload"], own["workload"]);
    assert_eq!(output["measurement"], own["measurement"]);
    assert!(output["source"]["bundle"].is_null(), "no key, no bundle");
    let text = stranger.mse(&by_export).stdout;
    for value in ["workload", "measurement"] {
        assert!(text.contains(own[value].as_str().unwrap()), "{text}");
    }
    // Without the program the workload is known all the same.
    let output = stranger.mse(&[&by_export[..], &["--json", "--enclave", "nowhere"]].concat());
    assert_eq!(output.json()["workload"], own["workload"]);
    assert!(
        output.json()["warnings"][0]
            .as_str()
            .unwrap()
            .contains("no measurement")
    );

    stranger.write("mse_src/app.py", "app = 'something else'\n");
    stranger
        .mse(&by_export)
        .failed_with(1, "is not the code that runs");
}
