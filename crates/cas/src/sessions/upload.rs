//! A session that somebody sends: read strictly, with whose it is.

use mse_api::cas::Upload;
use mse_crypto::signing::VerifyingKey;
use mse_session::{
    Compatibility, Diagnostic, EncryptedSession, Identity, Session, SignedSession, Variables,
    check_text,
};

use super::Sessions;
use super::access::{Asker, is_asker};
use super::error::SessionError;

/// What was sent, checked as far as it can be without knowing other sessions.
pub(super) struct Received {
    pub(super) session: Session,
    pub(super) asker: Asker,
    pub(super) warnings: Vec<Diagnostic>,
    /// Those over the session's hash: all of them hold.
    pub(super) signatures: Vec<(VerifyingKey, Vec<u8>)>,
    /// Signatures are over the hash: nothing may be put in where the author wrote nothing.
    is_signed: bool,
    /// Whoever carries a sealed session cannot read it, and must not become who may.
    is_sealed: bool,
}

impl Sessions {
    /// Reads what `asker` sent. Signatures that hold make their signers askers, too; one that does
    /// not hold spoils all.
    pub(super) fn receive(&self, upload: &Upload, asker: &Asker) -> Result<Received, SessionError> {
        let signed = match upload {
            Upload::Text(text) => {
                let (session, warnings) =
                    check_text(text, &Variables::replaced(), Compatibility::Strict)
                        .into_result()?;
                return Ok(Received {
                    session,
                    asker: asker.clone(),
                    warnings,
                    signatures: Vec::new(),
                    is_signed: false,
                    is_sealed: false,
                });
            }
            Upload::Signed(json) => SignedSession::from_json(&json.to_string())?,
            Upload::Encrypted(json) => {
                EncryptedSession::from_json(&json.to_string())?.open(&self.encryption)?
            }
        };
        let verified = signed.verify(Compatibility::Strict)?;
        let mut asker = asker.clone();
        asker.signers = verified.signers;
        Ok(Received {
            session: verified.session,
            signatures: signed.signatures()?,
            is_signed: !asker.signers.is_empty(),
            is_sealed: matches!(upload, Upload::Encrypted(_)),
            asker,
            warnings: verified.warnings,
        })
    }
}

impl Received {
    /// A session that was checked when it was proposed, and is complete.
    pub(super) fn checked(session: Session, asker: Asker) -> Self {
        Self {
            session,
            asker,
            warnings: Vec::new(),
            signatures: Vec::new(),
            is_signed: true,
            is_sealed: false,
        }
    }

    /// Says who made a new session: what it says itself has to be true.
    pub(super) fn with_creator(self) -> Result<Self, SessionError> {
        match (&self.session.creator, self.asker.tls) {
            (Some(creator), _) if is_asker(creator, &self.asker) => Ok(self),
            (Some(_), _) => Err(SessionError::Field {
                field: "creator",
                what: "names somebody who neither sent nor signed this session; leave it away, or sign with that key".into(),
            }),
            (None, _) if self.is_signed => Err(SessionError::Field {
                field: "creator",
                what: "is missing, and what is signed cannot be completed: write `creator: {signer: …}` or `creator: {key: …}`, and sign again".into(),
            }),
            (None, _) if self.is_sealed => Err(SessionError::Field {
                field: "creator",
                what: "is missing, and who brings a sealed session may be anybody who carries it: write `creator: {key: …}` with the key of its owner (`mse cas whoami` prints yours), and seal it again".into(),
            }),
            (None, None) => Err(SessionError::Anonymous),
            (None, Some(key)) => Ok(self.made_by(Identity::Tls(key))),
        }
    }

    /// Says that it is by who made the version before: that does not change by an update.
    pub(super) fn with_creator_of(self, before: &Session) -> Result<Self, SessionError> {
        match (&self.session.creator, &before.creator) {
            (given, creator) if given == creator => Ok(self),
            (None, Some(creator)) if !self.is_signed => {
                let creator = creator.clone();
                Ok(self.made_by(creator))
            }
            (None, _) => Err(SessionError::Field {
                field: "creator",
                what: "is missing, and what is signed cannot be completed: take it over from the version before, and sign again".into(),
            }),
            (Some(_), _) => Err(SessionError::Field {
                field: "creator",
                what: "is another than that of the version before: it stays who it was; take it over, or leave it away".into(),
            }),
        }
    }

    fn made_by(self, creator: Identity) -> Self {
        Self {
            session: self.session.with_creator(creator),
            ..self
        }
    }
}
