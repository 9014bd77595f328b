//! Services, and the images and volumes that they use.

use mse_session::Code;

use super::{H, M, found};

#[allow(clippy::too_many_lines)] // A table.
pub(super) fn of_services() {
    let service = format!("attestation: [{{mrenclave: {H}}}]");
    found(&[
        (
            "services: [{name: a b, attestation: $$SCONE::x$$}]",
            Code::BadName,
            "services[0].name",
        ),
        (
            "services: [{name: s}]",
            Code::MissingAttestation,
            "services[0]",
        ),
        (
            "services: [{name: s, attestation: []}]",
            Code::MissingAttestation,
            "services[0]",
        ),
        (
            "services: [{name: s, attestation: [{tee: snp}]}]",
            Code::MissingAttestation,
            "services[0].attestation[0]",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{tee: tdx, measurement: {M}}}]}}]"),
            Code::BadValue,
            "services[0].attestation[0]",
        ),
        (
            &format!(
                "services: [{{name: s, attestation: [{{measurement: {M}, rtmr0: {M}, rtmr1: {M}}}]}}]"
            ),
            Code::BadValue,
            "services[0].attestation[0]",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{workload: {H}, rtmr2: {M}}}]}}]"),
            Code::BadValue,
            "services[0].attestation[0]",
        ),
        (
            "services: [{name: s, attestation: [{mrenclave: []}]}]",
            Code::BadValue,
            "services[0].attestation[0].mrenclave",
        ),
        (
            &format!("services: [{{name: s, {service}, image_name: i}}]"),
            Code::UnresolvedName,
            "services[0].image_name",
        ),
        (
            &format!("services: [{{name: s, {service}, command: run $$SCONE::x$$}}]"),
            Code::UnresolvedName,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, command: run 'x}}]"),
            Code::BadValue,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, command: ' '}}]"),
            Code::BadValue,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, command: a @@1 @@1}}]"),
            Code::BadReference,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, environment: {{A=B: c}}}}]"),
            Code::BadName,
            "services[0].environment.A=B",
        ),
        (
            &format!("services: [{{name: s, {service}, environment: {{A: \"a\\0b\"}}}}]"),
            Code::BadValue,
            "services[0].environment.A",
        ),
        (
            &format!("services: [{{name: s, {service}, environment: {{A: x, '@@A': ~}}}}]"),
            Code::Conflict,
            "services[0].environment.@@A",
        ),
        (
            &format!("services: [{{name: s, {service}, mrenclaves: [{H}]}}]"),
            Code::Conflict,
            "services[0].mrenclaves",
        ),
        (
            &format!("services: [{{name: s, {service}, pwd: relative}}]"),
            Code::BadValue,
            "services[0].pwd",
        ),
        (
            &format!("services: [{{name: s, {service}, fspf_path: /f, fspf_key: {H}}}]"),
            Code::MissingKey,
            "services[0].fspf_path",
        ),
        (
            &format!("services: [{{name: s, {service}, fspf_tag: {}}}]", &H[..32]),
            Code::MissingKey,
            "services[0].fspf_tag",
        ),
        (
            &format!("services: [{{name: s, {service}, platforms: [x]}}]"),
            Code::BadValue,
            "services[0].platforms[0]",
        ),
        (
            &format!("services: [{{name: s, {service}}}, {{name: s, {service}}}]"),
            Code::DuplicateName,
            "services[1]",
        ),
        (
            &format!("services: [{{name: s, {service}, one_time_password_shared_secret: SHORT}}]"),
            Code::BadValue,
            "services[0].one_time_password_shared_secret",
        ),
        (
            "services: [{name: s, attestation: [{signer: {mrsigner: x, isvprodid: 1}}]}]",
            Code::BadValue,
            "services[0].attestation[0].signer.mrsigner",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}}}}}]}}]"),
            Code::MissingKey,
            "services[0].attestation[0].signer",
        ),
        (
            &format!(
                "services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn: 1, isvsvn_min: 1}}}}]}}]"
            ),
            Code::Conflict,
            "services[0].attestation[0].signer.isvsvn_min",
        ),
        (
            &format!(
                "services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn_min: 2, isvsvn_max: 1}}}}]}}]"
            ),
            Code::BadValue,
            "services[0].attestation[0].signer.isvsvn_max",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{workload: {H}, tee: simulated}}]}}]"),
            Code::BadValue,
            "services[0].attestation[0].tee",
        ),
    ]);
}

pub(super) fn of_images_and_volumes() {
    found(&[
        (
            "images: [{name: i, volumes: [{name: v, path: /v}]}]",
            Code::UnresolvedName,
            "images[0].volumes[0].name",
        ),
        (
            "images: [{name: i, injection_files: [relative]}]",
            Code::BadValue,
            "images[0].injection_files[0]",
        ),
        (
            "images: [{name: i, injection_files: [{path: /f, permission: 0o644}]}]",
            Code::BadValue,
            "images[0].injection_files[0].permission",
        ),
        (
            "images: [{name: i, injection_files: [/f, /f]}]",
            Code::DuplicateName,
            "images[0]",
        ),
        (
            "images: [{name: i, provide_secrets: [x]}]",
            Code::UnresolvedName,
            "images[0].provide_secrets[0]",
        ),
        (
            "volumes: [{name: v, files: plain}]",
            Code::BadValue,
            "volumes[0].files",
        ),
        (
            &format!("volumes: [{{name: v, fspf_tag: {}}}]", &H[..32]),
            Code::MissingKey,
            "volumes[0].fspf_tag",
        ),
        (
            &format!("volumes: [{{name: v, fspf_key: {H}, import: {{session: s, volume: v}}}}]"),
            Code::Conflict,
            "volumes[0].fspf_key",
        ),
        (
            "volumes: [{name: v, export: {session: s}, import: {session: s, volume: v}}]",
            Code::Conflict,
            "volumes[0].export",
        ),
    ]);
}
