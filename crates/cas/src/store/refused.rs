//! Why a write was refused.

use mse_crypto::Digest;

use super::write::MAX_NAME;

/// Why a write was refused. Nothing of it was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A name is not one.
    #[error(
        "`{name}` cannot name a {what}: 1 to {MAX_NAME} bytes without control characters are expected"
    )]
    BadName {
        /// Of what.
        what: &'static str,
        /// Its beginning.
        name: String,
    },
    /// A value is too long.
    #[error("{what} has a size of {size}; at most {limit} is stored")]
    TooLarge {
        /// Which value.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The name is taken.
    #[error(
        "session `{name}` exists, with current version {head}; name that as predecessor to update it"
    )]
    SessionExists {
        /// The name.
        name: String,
        /// Its current version.
        head: Digest,
    },
    /// There is no such session.
    #[error("there is no session `{name}`; create it without a predecessor")]
    NoSession {
        /// The name.
        name: String,
    },
    /// The session was revoked.
    #[error("session `{name}` was revoked and cannot be changed; use another name")]
    Revoked {
        /// The name.
        name: String,
    },
    /// Somebody else was faster.
    #[error(
        "version {given} of session `{name}` is not the current one, {head} is; read that and make the change again"
    )]
    HeadMoved {
        /// The name.
        name: String,
        /// The predecessor that the write named.
        given: Digest,
        /// The current version.
        head: Digest,
    },
    /// The session has this very version already.
    #[error(
        "session `{name}` has a version {hash} already; a version names its predecessor, so no two are the same"
    )]
    VersionExists {
        /// The name.
        name: String,
        /// The version.
        hash: Digest,
    },
    /// There is a secret of this id.
    #[error(
        "version {version} of secret `{name}` of session `{session}` exists; store a new version"
    )]
    SecretExists {
        /// The session.
        session: String,
        /// The secret.
        name: String,
        /// The version.
        version: u64,
    },
    /// There is no such secret.
    #[error("there is no version {version} of secret `{name}` of session `{session}`")]
    NoSecret {
        /// The session.
        session: String,
        /// The secret.
        name: String,
        /// The version.
        version: u64,
    },
    /// The volume is further than that.
    #[error(
        "volume `{volume}` of session `{session}` is at {stored}, so {given} is not its newest state; the service runs on an old copy"
    )]
    VolumeBehind {
        /// The session.
        session: String,
        /// The volume.
        volume: String,
        /// Its stored sequence number.
        stored: u64,
        /// The reported one.
        given: u64,
    },
    /// There is such a token.
    #[error("this token was issued before; make a fresh one")]
    TokenExists,
    /// There is no such token, or not any more.
    #[error("the token is unknown, used up or expired; ask for another one")]
    NoToken,
    /// It was done before.
    #[error("`{what}` was used already")]
    AlreadyUsed {
        /// What.
        what: String,
    },
    /// There is such a proposal.
    #[error("proposal {proposal} for session `{name}` is waiting already; approve it")]
    ProposalExists {
        /// The session.
        name: String,
        /// The proposal.
        proposal: Digest,
    },
    /// There is no such proposal.
    #[error("no proposal {proposal} for session `{name}` is waiting; it was settled or it lapsed")]
    NoProposal {
        /// The session.
        name: String,
        /// The proposal.
        proposal: Digest,
    },
    /// The signer approved before.
    #[error("signer {signer} has approved already")]
    AlreadyApproved {
        /// The signer.
        signer: Digest,
    },
    /// No approval of the signer stands.
    #[error("no approval of signer {signer} stands")]
    NoApproval {
        /// The signer.
        signer: Digest,
    },
}
