//! Who may do what.

use std::collections::BTreeSet;

use mse_crypto::signing::VerifyingKey;
use mse_secrets::Kind;
use mse_session::{
    AccessPolicy, AccessRule, Acl, Identity, KeyHash, Operation, OrReference, Reference, Requester,
};
use serde_json::Value;

use super::load::Loaded;
use crate::release::attestation::Fragments as _;

/// Who asks: what the connection proved, and whose signatures over what was sent were verified.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// The key of the TLS client certificate.
    pub tls: Option<KeyHash>,
    /// Whose signatures over what was sent hold.
    pub signers: BTreeSet<VerifyingKey>,
    /// Whose signing key was shown on the connection: it is the key of somebody who is there, and has
    /// signed nothing.
    pub present: Option<VerifyingKey>,
}

impl Asker {
    /// Known by a TLS client certificate, DER, with proof of its key; or by nothing.
    pub fn of_certificate(der: Option<&[u8]>) -> Self {
        Self {
            tls: der.and_then(|der| KeyHash::of_certificate(der).ok()),
            ..Self::default()
        }
    }

    /// With the signing key that was shown on the connection.
    #[must_use]
    pub fn with_present(self, present: Option<VerifyingKey>) -> Self {
        Self { present, ..self }
    }

    /// For the audit log: the key that authenticated.
    pub fn actor(&self) -> Option<[u8; 32]> {
        self.tls.map(|hash| hash.0).or_else(|| {
            let signer = self.signers.first().or(self.present.as_ref())?;
            Some(KeyHash::of_spki(&signer.to_spki()).0)
        })
    }

    pub(super) fn requester(&self) -> Requester<'_> {
        Requester {
            tls: self.tls,
            signers: &self.signers,
        }
    }
}

impl Loaded {
    /// Whether `asker` may do this with the session as it is now.
    pub fn allows(&self, operation: Operation, asker: &Asker) -> bool {
        self.policy().is_some_and(|policy| {
            policy.allows(
                operation,
                &asker.requester(),
                self.session.creator.as_ref(),
                |reference| self.acl_of(reference, operation),
            )
        })
    }

    /// Whether everybody may do this.
    pub(super) fn is_open(&self, operation: Operation) -> bool {
        self.policy()
            .is_some_and(|policy| *policy.acl(operation) == Acl::Any)
    }

    /// Whether the rules of an operation name one of those who ask: even if it takes more of them.
    pub(super) fn names(&self, operation: Operation, asker: &Asker) -> bool {
        let Some(policy) = self.policy() else {
            return false;
        };
        let mut signers = asker.signers.clone();
        signers.extend(asker.present.clone());
        let requester = Requester {
            tls: asker.tls,
            signers: &signers,
        };
        let is_creator = self
            .session
            .creator
            .as_ref()
            .is_some_and(|creator| requester.is(creator));
        self.is_named(policy.acl(operation), operation, &requester, is_creator)
    }

    fn is_named(
        &self,
        acl: &Acl,
        operation: Operation,
        requester: &Requester<'_>,
        is_creator: bool,
    ) -> bool {
        match acl {
            Acl::Any => true,
            Acl::None => false,
            Acl::OneOf(rules) => rules
                .iter()
                .any(|rule| self.is_in(rule, operation, requester, is_creator)),
            // A reference inside of what a reference stands for names nobody.
            Acl::From(reference) => match self.acl_of(reference, operation) {
                Some(Acl::From(_)) | None => false,
                Some(acl) => self.is_named(&acl, operation, requester, is_creator),
            },
        }
    }

    fn is_in(
        &self,
        rule: &AccessRule,
        operation: Operation,
        requester: &Requester<'_>,
        is_creator: bool,
    ) -> bool {
        match rule {
            AccessRule::Creator => is_creator,
            AccessRule::Identity(identity) => requester.is(identity),
            AccessRule::From(reference) => match self.acl_of(reference, operation) {
                Some(Acl::OneOf(rules)) => rules
                    .iter()
                    .any(|rule| matches!(rule, AccessRule::Identity(one) if requester.is(one))),
                _ => false,
            },
            AccessRule::All(rules) | AccessRule::AtLeast(_, rules) => rules
                .iter()
                .any(|rule| self.is_in(rule, operation, requester, is_creator)),
        }
    }

    /// How many approvals the rules ask for at least, for people to read.
    pub(super) fn threshold(&self) -> u64 {
        fn least(rule: &AccessRule) -> u64 {
            match rule {
                AccessRule::Creator | AccessRule::Identity(_) | AccessRule::From(_) => 1,
                AccessRule::All(rules) => rules.iter().map(least).sum(),
                AccessRule::AtLeast(count, _) => *count as u64,
            }
        }
        match self.policy().as_ref().map(|p| p.acl(Operation::Update)) {
            Some(Acl::OneOf(rules)) => rules.iter().map(least).min().unwrap_or(1),
            _ => 1,
        }
    }

    fn policy(&self) -> Option<AccessPolicy> {
        match &self.session.access_policy {
            OrReference::Given(policy) => Some(policy.clone()),
            // One that cannot be read lets nobody in.
            OrReference::From(reference) => {
                AccessPolicy::from_fragment(&self.values.fragment(reference)?).ok()
            }
        }
    }

    fn acl_of(&self, reference: &Reference, operation: Operation) -> Option<Acl> {
        let value = self.values.get(reference.secret()?)?;
        let json = if value.kind() == Kind::ConfigFragment {
            self.values.fragment(reference)?
        } else {
            let text = self.values.render(reference).ok()?;
            Value::String(String::from_utf8(text.to_vec()).ok()?)
        };
        Acl::from_fragment(&json, operation).ok()
    }
}

/// Whether this is one of those who ask.
pub(super) fn is_asker(identity: &Identity, asker: &Asker) -> bool {
    asker.requester().is(identity)
}
