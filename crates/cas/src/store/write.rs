//! Writes: what one caller wants changed, all of it or nothing.

use jiff::Timestamp;
use mse_crypto::{Digest, Zeroizing};

use super::records::{MAX_VALUE, NewVersion, SecretId};
use super::refused::Refused;

/// A set of changes that happen together or not at all, with the leaves that the audit log takes
/// for them. Nothing happens before [`Store::commit`](super::Store::commit).
#[derive(Default)]
pub struct Write {
    pub(super) operations: Vec<Operation>,
    pub(super) leaves: Vec<Vec<u8>>,
}

impl Write {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a session. Refused if there is one of this name.
    pub fn create_session(self, name: &str, first: NewVersion) -> Self {
        self.with(Operation::CreateSession {
            name: name.into(),
            first,
        })
    }

    /// Gives a session another version. Refused if `predecessor` is not the current one.
    pub fn update_session(self, name: &str, predecessor: Digest, next: NewVersion) -> Self {
        self.with(Operation::UpdateSession {
            name: name.into(),
            predecessor,
            next,
        })
    }

    /// Changes nothing, and refuses the whole write if `head` is not the current version of a session,
    /// or the session is revoked: of what was decided by it.
    pub fn expect_session(self, name: &str, head: Digest) -> Self {
        self.with(Operation::ExpectSession {
            name: name.into(),
            head,
        })
    }

    /// Ends a session for good. Refused if `head` is not the current version.
    pub fn revoke_session(self, name: &str, head: Digest) -> Self {
        self.with(Operation::RevokeSession {
            name: name.into(),
            head,
        })
    }

    /// Stores a secret. Refused if there is one of this id: a new value is a new version.
    pub fn put_secret(self, id: SecretId, value: Zeroizing<Vec<u8>>) -> Self {
        self.with(Operation::PutSecret { id, value })
    }

    /// Forgets a secret. Refused if there is none.
    pub fn remove_secret(self, id: SecretId) -> Self {
        self.with(Operation::RemoveSecret { id })
    }

    /// Moves the root of a volume forward. Refused unless `sequence` is greater than the stored one.
    pub fn advance_volume(
        self,
        session: &str,
        volume: &str,
        sequence: u64,
        root: Zeroizing<Vec<u8>>,
    ) -> Self {
        self.with(Operation::AdvanceVolume {
            session: session.into(),
            volume: volume.into(),
            sequence,
            root,
        })
    }

    /// Stores what a token stands for, under the digest of the token. Refused if there is one.
    pub fn issue_token(
        self,
        token: Digest,
        stands_for: Zeroizing<Vec<u8>>,
        expires_at: Timestamp,
    ) -> Self {
        self.with(Operation::IssueToken {
            token,
            stands_for,
            expires_at,
        })
    }

    /// Uses a token up. Refused if there is none, or if it expired.
    pub fn redeem_token(self, token: Digest, now: Timestamp) -> Self {
        self.with(Operation::RedeemToken { token, now })
    }

    /// Marks something as done that may be done once, such as the use of a one-time password within
    /// its time step. Refused if it was done and `expires_at` of then is not forgotten yet.
    pub fn use_once(self, what: &str, expires_at: Timestamp) -> Self {
        self.with(Operation::UseOnce {
            what: what.into(),
            expires_at,
        })
    }

    /// Stores a proposed version of the session `name`. Refused if there is a proposal of this id.
    pub fn propose(
        self,
        name: &str,
        proposal: Digest,
        text: Zeroizing<Vec<u8>>,
        expires_at: Timestamp,
    ) -> Self {
        self.with(Operation::Propose {
            name: name.into(),
            proposal,
            text,
            expires_at,
        })
    }

    /// Forgets a proposal and what was said to it, because it was taken or dropped. Refused if there
    /// is none.
    pub fn settle_proposal(self, name: &str, proposal: Digest) -> Self {
        self.with(Operation::SettleProposal {
            name: name.into(),
            proposal,
        })
    }

    /// Stores a signer's approval of a proposal. Refused if there is no such proposal, or if the
    /// signer's approval stands already.
    pub fn approve(self, name: &str, proposal: Digest, signer: Digest, signature: Vec<u8>) -> Self {
        self.with(Operation::Approve {
            name: name.into(),
            proposal,
            signer,
            signature,
        })
    }

    /// Takes a signer's approval back. Refused if none stands.
    pub fn withdraw_approval(self, name: &str, proposal: Digest, signer: Digest) -> Self {
        self.with(Operation::WithdrawApproval {
            name: name.into(),
            proposal,
            signer,
        })
    }

    /// Stores a setting of the CAS itself, in the place of the one before.
    pub fn put_setting(self, name: &str, value: Zeroizing<Vec<u8>>) -> Self {
        self.with(Operation::PutSetting {
            name: name.into(),
            value,
        })
    }

    /// Forgets tokens, uses and proposals whose time is over: at most [`FORGET_AT_ONCE`] of each.
    pub fn forget_expired(self, now: Timestamp) -> Self {
        self.with(Operation::ForgetExpired { now })
    }

    /// Appends a leaf to the audit log, with this change and not without it.
    pub fn audit(mut self, leaf: Vec<u8>) -> Self {
        self.leaves.push(leaf);
        self
    }

    fn with(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// About how many bytes it adds to the store.
    pub(super) fn weight(&self) -> usize {
        let operations: usize = self.operations.iter().map(Operation::weight).sum();
        let leaves: usize = self.leaves.iter().map(|leaf| leaf.len() + 256).sum();
        operations + leaves
    }

    /// Whether all sizes and names are within bounds.
    pub(super) fn check(&self) -> Result<(), Refused> {
        if self.weight() > MAX_WRITE {
            return Err(Refused::TooLarge {
                what: "a write",
                size: self.weight(),
                limit: MAX_WRITE,
            });
        }
        if self.operations.len() + self.leaves.len() > MAX_OPERATIONS {
            return Err(Refused::TooLarge {
                what: "the list of changes of a write",
                size: self.operations.len() + self.leaves.len(),
                limit: MAX_OPERATIONS,
            });
        }
        for leaf in &self.leaves {
            fits("a leaf of the audit log", leaf)?;
        }
        self.operations.iter().try_for_each(Operation::check)
    }
}

/// One change.
pub(super) enum Operation {
    CreateSession {
        name: String,
        first: NewVersion,
    },
    UpdateSession {
        name: String,
        predecessor: Digest,
        next: NewVersion,
    },
    ExpectSession {
        name: String,
        head: Digest,
    },
    RevokeSession {
        name: String,
        head: Digest,
    },
    PutSecret {
        id: SecretId,
        value: Zeroizing<Vec<u8>>,
    },
    RemoveSecret {
        id: SecretId,
    },
    AdvanceVolume {
        session: String,
        volume: String,
        sequence: u64,
        root: Zeroizing<Vec<u8>>,
    },
    IssueToken {
        token: Digest,
        stands_for: Zeroizing<Vec<u8>>,
        expires_at: Timestamp,
    },
    RedeemToken {
        token: Digest,
        now: Timestamp,
    },
    UseOnce {
        what: String,
        expires_at: Timestamp,
    },
    Propose {
        name: String,
        proposal: Digest,
        text: Zeroizing<Vec<u8>>,
        expires_at: Timestamp,
    },
    SettleProposal {
        name: String,
        proposal: Digest,
    },
    Approve {
        name: String,
        proposal: Digest,
        signer: Digest,
        signature: Vec<u8>,
    },
    WithdrawApproval {
        name: String,
        proposal: Digest,
        signer: Digest,
    },
    PutSetting {
        name: String,
        value: Zeroizing<Vec<u8>>,
    },
    ForgetExpired {
        now: Timestamp,
    },
}

impl Operation {
    fn weight(&self) -> usize {
        let value = match self {
            Self::CreateSession { first: new, .. } | Self::UpdateSession { next: new, .. } => {
                new.text.len()
            }
            Self::PutSecret { value, .. } | Self::PutSetting { value, .. } => value.len(),
            Self::AdvanceVolume { root, .. } => root.len(),
            Self::IssueToken { stands_for, .. } => stands_for.len(),
            Self::Propose { text, .. } => text.len(),
            Self::Approve { signature, .. } => signature.len(),
            Self::ExpectSession { .. }
            | Self::RevokeSession { .. }
            | Self::RemoveSecret { .. }
            | Self::RedeemToken { .. }
            | Self::UseOnce { .. }
            | Self::SettleProposal { .. }
            | Self::WithdrawApproval { .. }
            | Self::ForgetExpired { .. } => 0,
        };
        value + 256
    }

    fn check(&self) -> Result<(), Refused> {
        match self {
            Self::CreateSession { name, first: new }
            | Self::UpdateSession {
                name, next: new, ..
            } => {
                check_name("session", name)?;
                fits("the text of a session", &new.text)
            }
            Self::ExpectSession { name, .. }
            | Self::RevokeSession { name, .. }
            | Self::SettleProposal { name, .. }
            | Self::WithdrawApproval { name, .. } => check_name("session", name),
            Self::PutSecret { id, value } => {
                check_name("session", &id.session)?;
                check_name("secret", &id.name)?;
                fits("the value of a secret", value)
            }
            Self::RemoveSecret { id } => {
                check_name("session", &id.session)?;
                check_name("secret", &id.name)
            }
            Self::AdvanceVolume {
                session,
                volume,
                root,
                ..
            } => {
                check_name("session", session)?;
                check_name("volume", volume)?;
                fits("the root of a volume", root)
            }
            Self::IssueToken { stands_for, .. } => fits("what a token stands for", stands_for),
            Self::RedeemToken { .. } | Self::ForgetExpired { .. } => Ok(()),
            Self::UseOnce { what, .. } => check_name("use", what),
            Self::Propose { name, text, .. } => {
                check_name("session", name)?;
                fits("the text of a proposal", text)
            }
            Self::Approve {
                name, signature, ..
            } => {
                check_name("session", name)?;
                fits("a signature", signature)
            }
            Self::PutSetting { name, value } => {
                check_name("setting", name)?;
                fits("the value of a setting", value)
            }
        }
    }
}

/// Most bytes of one write.
pub const MAX_WRITE: usize = 32 << 20;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 512;

/// How many cells of a kind one [`Write::forget_expired`] forgets at most.
pub const FORGET_AT_ONCE: usize = 1000;

/// Most changes and leaves of one write.
pub const MAX_OPERATIONS: usize = 10_000;

/// Refuses what cannot be a name. A name without control characters has no zero byte, on which the
/// keys of cells depend.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Refused> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let name = name.escape_debug().to_string().chars().take(60).collect();
        return Err(Refused::BadName { what, name });
    }
    Ok(())
}

fn fits(what: &'static str, value: &[u8]) -> Result<(), Refused> {
    // What is stored beside a value takes some bytes, too.
    let limit = MAX_VALUE - 1024;
    if value.len() > limit {
        return Err(Refused::TooLarge {
            what,
            size: value.len(),
            limit,
        });
    }
    Ok(())
}
