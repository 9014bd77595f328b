//! The cryptography of MSE, in one place: nothing else in the workspace touches raw primitives.
//!
//! | module | what | specification |
//! | --- | --- | --- |
//! | [`digest`] | SHA-256 and its 32-byte newtype | FIPS 180-4 |
//! | [`secretbox`] | XSalsa20-Poly1305 for the code bundle, streaming | NaCl `crypto_secretbox` |
//! | [`hpke`] | sealing to an enclave's attested key | RFC 9180, X25519 / HKDF-SHA256 / ChaCha20-Poly1305 |
//! | [`mac`] | tags that only the holder of a key can make | HMAC-SHA256, FIPS 198-1 |
//! | [`password`] | local passwords at rest | Argon2id, RFC 9106 |
//! | [`sealing`] | values at rest, derived keys | AES-256-GCM-SIV, RFC 8452; HKDF-SHA256, RFC 5869 |
//! | [`signing`] | signatures of people and services | Ed25519, RFC 8032; ECDSA P-384 |
//! | [`pem`] | keys and certificates as text | RFC 7468 |
//! | [`random`] | keys, nonces, bearer tokens | the operating system's generator |
//! | [`totp`] | one-time passwords | RFC 6238 |
//!
//! Secrets live in types that wipe themselves when dropped and have no `Debug`: a key cannot
//! end up in a log line by accident.

pub mod digest;
pub mod ecdsa;
pub mod hpke;
pub mod mac;
pub mod password;
pub mod pem;
pub mod random;
pub mod sealing;
pub mod secretbox;
pub mod signing;
pub mod totp;

pub use digest::Digest;
pub use secretbox::CodeKey;
pub use zeroize::{Zeroize, Zeroizing};
