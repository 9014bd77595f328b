//! What a session says, once it is read: values that cannot be ill-formed.
//!
//! Legacy spellings are gone, relative paths are absolute, defaults are filled in.

mod access;
mod attestation;
mod external;
mod identity;
mod image;
mod names;
mod secret;
mod security;
mod service;
mod session;
mod sharing;
mod text;
mod tolerance;
mod version;
mod volume;

pub use access::{AccessPolicy, AccessRule, Acl, Operation, Requester};
pub use attestation::{
    AttestationEntry, EvidenceRule, Hex, InvalidHex, PlatformId, SecurityVersion, SgxSigner,
    TeeKind,
};
pub use external::{
    External, InvalidKvPath, InvalidKvUrl, InvalidModuleName, InvalidTokenLabel, KvImport, KvPath,
    KvUrl, ModuleName, Pkcs11Import, TokenLabel,
};
pub use identity::{Identity, InvalidIdentity, KeyHash};
pub use image::{Image, InjectedFile, InvalidPermission, MountedVolume, Permission};
pub use names::{
    EnvironmentName, ImageName, InvalidName, SecretName, ServiceName, SessionName, VolumeName,
};
pub use secret::{
    AadCredential, AadToken, AlternativeName, CertificateRequest, Endpoint, Explicit, Generated,
    InvalidLifetime, JwtRequest, Lifetime, Secret, SecretSource, VaultImport,
};
pub use security::{Advisories, AttestationMode, AttestationSettings, Security};
pub use service::{Command, EnvironmentValue, FileSystem, FileSystemUpdatePolicy, Service};
pub use session::{SecretStore, Session, SessionHash};
pub use sharing::{Export, ImportFrom, Recipient, RemoteCas, SessionPin};
pub use text::{OrReference, SecretKey32};
pub use tolerance::{Advisory, InvalidUntil, Terms, Tolerance, Tolerated, UnknownTolerated, Until};
pub use version::{Feature, InvalidVersion, LanguageVersion};
pub use volume::{FileProtection, UpdatePolicy, Volume, VolumeExport, VolumeOrigin};
