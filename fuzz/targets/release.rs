//! What a CAS and its services and clients send each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_crypto::hpke::{self, KeyPair};
use mse_ratls::ChannelBinding;
use mse_ratls::cas::{AttestAnswer, AttestRequest, CasReport};
use mse_ratls::release::{
    Configuration, ReleaseChallenge, ReleaseRefusal, ReleaseRequest, RenewalRequest, SealedRelease,
    Target,
};

fuzz_target!(|json: &[u8]| {
    let _ = serde_json::from_slice::<ReleaseChallenge>(json);
    let _ = serde_json::from_slice::<ReleaseRequest>(json);
    let _ = serde_json::from_slice::<RenewalRequest>(json);
    let _ = serde_json::from_slice::<SealedRelease>(json);
    let _ = serde_json::from_slice::<ReleaseRefusal>(json);
    let _ = serde_json::from_slice::<AttestAnswer>(json);
    let _ = serde_json::from_slice::<AttestRequest>(json).map(|request| request.nonce());
    let _ = CasReport::from_json(json);
    let target = Target {
        session: "team/shop".into(),
        service: "web".into(),
    };
    let (key, channel) = (KeyPair::generate(), ChannelBinding([0; 32]));
    let info = [b"mse-release-v1\0".as_slice(), &target.digest().0].concat();
    let sealed = hpke::seal(&key.public(), &info, &channel.0, json).expect("a good key");
    let _ = Configuration::open(&sealed, &target, &key, &channel);
    let _ = Configuration::open(json, &target, &key, &channel);
});
