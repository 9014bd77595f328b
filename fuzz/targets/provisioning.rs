//! What the owner's client sends, as the enclave reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_crypto::hpke::{self, KeyPair};
use mse_ratls::wire::{Challenge, ChallengeAnswer, Problem, SealedProvisioning};
use mse_ratls::{ChannelBinding, ProvisioningPayload};
use mse_workload::AppId;

fuzz_target!(|json: &[u8]| {
    let _ = serde_json::from_slice::<Challenge>(json);
    let _ = serde_json::from_slice::<ChallengeAnswer>(json);
    let _ = serde_json::from_slice::<SealedProvisioning>(json);
    let _ = serde_json::from_slice::<Problem>(json);
    // Anyone can seal to the public key: what is inside is as hostile as what is outside.
    let app: AppId = "3f2b8c1e-0000-4000-8000-000000000001".parse().expect("a UUID");
    let (key, channel) = (KeyPair::generate(), ChannelBinding([0; 32]));
    let info = format!("mse-provisioning-v1\0{app}\0");
    let sealed = hpke::seal(&key.public(), info.as_bytes(), &channel.0, json).expect("a good key");
    let _ = ProvisioningPayload::open(&sealed, &app, &key, &channel);
    let _ = ProvisioningPayload::open(json, &app, &key, &channel);
});
