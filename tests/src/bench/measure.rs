//! Recomputing a measurement: what a user's `mse verify` does with the source and the context,
//! without any key, image or container engine.

use std::fs::File;
use std::time::Instant;

use mse_crypto::Digest;
use mse_workload::bundle::{CodeTree, SourceSalt, source_commitment};
use mse_workload::{
    AppId, EnclaveDigest, FORMAT, ImageIdentity, Measured as _, Measurement, Provisioning,
    Resources, Tls, TlsOrigin, Workload, measurement,
};

use super::report::{Goal, Measured, Unit};
use super::{Bench, code_tree, say};
use crate::enclave::FLASK;
use crate::programs::program;

const SIZE: u64 = 10 << 20;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Vec<Measured>> {
    let rounds = bench.effort.choose(31, 5);
    let code = code_tree::make(&bench.work, SIZE)?;
    let (salt, enclave) = (SourceSalt::generate(), program("mse-enclave"));
    let mut milliseconds = Vec::new();
    let mut expected = None;
    for _ in 0..rounds {
        let began = Instant::now();
        let tree = CodeTree::collect(&code)?;
        let workload = workload(source_commitment(&tree, &salt)?);
        let base = EnclaveDigest(Digest::of_reader(File::open(&enclave)?)?);
        let found = measurement::simulated(&base, &workload.digest());
        milliseconds.push(began.elapsed().as_secs_f64() * 1000.0);
        let first: &mut Measurement = expected.get_or_insert(found);
        anyhow::ensure!(
            *first == found,
            "the same code was measured as {first} and {found}"
        );
    }
    say(format!("measure: {rounds} rounds"));
    Ok(vec![Measured {
        what: format!("Recomputing the measurement of {} MiB of code", SIZE >> 20),
        unit: Unit::Milliseconds,
        ours: milliseconds,
        theirs: Vec::new(),
        goal: Some(Goal::Below(50.0)),
    }])
}

/// All of it but the source commitment comes from the context.
fn workload(source_commitment: Digest) -> Workload {
    let app_id: AppId = "00000000-0000-4000-8000-000000000000"
        .parse()
        .expect("a UUID");
    Workload {
        format: FORMAT,
        app_id,
        application: "app:app".into(),
        image: ImageIdentity {
            name: FLASK.into(),
            digest: Digest::of(b"image"),
        },
        bundle: Digest::of(b"bundle"),
        source_commitment,
        code_key_check: Digest::of(b"key"),
        tls: Tls {
            origin: TlsOrigin::Enclave,
            names: vec![format!("{app_id}.mse.localhost"), "localhost".into()],
            certificate: None,
        },
        expires_at: Some(1_800_000_000),
        resources: Resources {
            memory_mib: 4096,
            millicores: 1000,
        },
        health_endpoint: String::from("/health").try_into().expect("a path"),
        environment: std::collections::BTreeMap::new(),
        provisioning: Provisioning::Owner {},
    }
}
