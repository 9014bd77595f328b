//! Attested TLS: a channel that ends, provably, inside one particular enclave.
//!
//! Two things make it, and only the second is trusted:
//!
//! 1. The **certificate** carries evidence (RA-TLS): an extension with a raw quote whose report
//!    data is `SHA-256(TLS public key as uncompressed point) ‖ X25519 public key` ([`binding`]).
//!    Existing clients check just that. It shows that *some* enclave made this key, but
//!    evidence bound only to a key can be relayed (CVE-2026-33697).
//! 2. The **channel challenge**: after the handshake the client sends a nonce, and the enclave
//!    answers with fresh evidence over the nonce, the TLS exporter of *this* connection
//!    (RFC 9266), the TLS key and the X25519 key. Whoever terminates TLS elsewhere has another
//!    exporter, and fails.
//!
//! Nothing secret relies on the channel alone: what is provisioned is sealed by HPKE to the
//! attested X25519 key first ([`provisioning`]).
//!
//! | module | side | what |
//! | --- | --- | --- |
//! | [`binding`] | both | the layouts of report data |
//! | [`forwarding`] | both | headers that end with a connection |
//! | [`identity`] | enclave | the TLS key and the certificate with evidence |
//! | [`cas`] | both | how a CAS proves what it is, and the client of one |
//! | [`certificate`] | client | reading an enclave's certificate and its evidence |
//! | [`release`] | both | what a service shows to a CAS, and what it gets |
//! | [`tagged`] | both | the evidence extension that RA-TLS stacks share |
//! | [`pinned`] | client | servers of a root key that is known |
//! | [`peer`] | client | certificates of other stacks |
//! | [`channel`] | client | connect, appraise, challenge: the result is a channel to use |
//! | [`provisioning`] | both | sealing and opening what the owner sends |
//! | [`wire`] | both | paths and JSON of `/.well-known/mse/…` |

pub mod binding;
pub mod cas;
mod cbor;
pub mod certificate;
pub mod channel;
pub mod forwarding;
pub mod identity;
pub mod peer;
pub mod pinned;
pub mod provisioning;
pub mod release;
pub mod tagged;
pub mod wire;

pub use binding::{ChannelBinding, TlsPublicKey, certificate_report_data};
pub use cbor::CborError;
pub use channel::{
    Attestation, AttestedChannel, Body, CollateralSource, ConnectError, Endpoint, Expected,
    GivenCollateral, connect,
};
pub use identity::TlsIdentity;
pub use peer::PeerCertificate;
pub use provisioning::ProvisioningPayload;
