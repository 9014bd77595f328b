//! Who may read, update and build upon a session.

use std::collections::BTreeSet;

use mse_crypto::signing::VerifyingKey;

use crate::model::{Identity, KeyHash};
use crate::reference::Reference;

/// Who may do what. Without a policy, the creator may read and update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Read the session, without generated values.
    pub read: Acl,
    /// Replace it by a successor.
    pub update: Acl,
    /// Create sessions in its namespace; None: as `update`.
    pub create_sessions: Option<Acl>,
    /// List the sessions in its namespace; None: as `read`. The creator always may.
    pub list_sessions: Option<Acl>,
}

impl Default for AccessPolicy {
    fn default() -> Self {
        Self {
            read: Acl::creator(),
            update: Acl::creator(),
            create_sessions: None,
            list_sessions: None,
        }
    }
}

impl AccessPolicy {
    /// Whether `requester` may do `operation` on a session of `creator`.
    ///
    /// `fragment` gives the rules behind a reference, as [`Acl::from_fragment`] reads them; where
    /// it gives None, and for references inside fragments, nobody is let in by that reference.
    pub fn allows(
        &self,
        operation: Operation,
        requester: &Requester<'_>,
        creator: Option<&Identity>,
        mut fragment: impl FnMut(&Reference) -> Option<Acl>,
    ) -> bool {
        let mut asks = Asks {
            requester,
            creator,
            fragment: Some(&mut fragment),
        };
        self.acl(operation).allows(&mut asks)
            || (operation == Operation::ListSessions && asks.is_creator())
    }

    /// The rules of an operation.
    pub fn acl(&self, operation: Operation) -> &Acl {
        match operation {
            Operation::Read => &self.read,
            Operation::Update => &self.update,
            Operation::CreateSessions => self.create_sessions.as_ref().unwrap_or(&self.update),
            Operation::ListSessions => self.list_sessions.as_ref().unwrap_or(&self.read),
        }
    }
}

/// What can be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Read its description.
    Read,
    /// Replace it.
    Update,
    /// Create sessions in its namespace.
    CreateSessions,
    /// List the sessions in its namespace.
    ListSessions,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Read,
        Self::Update,
        Self::CreateSessions,
        Self::ListSessions,
    ];

    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::CreateSessions => "create_sessions",
            Self::ListSessions => "list_sessions",
        }
    }

    /// Whether signatures count: they are over a new session, so there is none when one is read.
    pub fn takes_signatures(self) -> bool {
        matches!(self, Self::Update | Self::CreateSessions)
    }
}

/// Who asks: proven by the connection and by the signatures over the session that is sent.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    /// The key of the TLS client certificate.
    pub tls: Option<KeyHash>,
    /// Whose signatures over the session were verified.
    pub signers: &'a BTreeSet<VerifyingKey>,
}

impl Requester<'_> {
    /// Whether `identity` is among those who ask.
    pub fn is(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Tls(key) => self.tls == Some(*key),
            Identity::Signer(key) => self.signers.contains(key),
        }
    }
}

/// The rules of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acl {
    /// Whoever asks.
    Any,
    /// Nobody.
    None,
    /// Whoever meets one of the rules.
    OneOf(Vec<AccessRule>),
    /// The rules come from a secret.
    From(Reference),
}

impl Acl {
    pub(crate) fn creator() -> Self {
        Self::OneOf(vec![AccessRule::Creator])
    }

    fn allows(&self, asks: &mut Asks<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::None => false,
            Self::OneOf(rules) => rules.iter().any(|rule| rule.is_met(asks)),
            Self::From(reference) => asks
                .resolve(reference)
                .is_some_and(|acl| acl.allows(&mut asks.without_fragments())),
        }
    }
}

/// A rule that lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessRule {
    /// The creator of the session.
    Creator,
    /// Somebody, by a key.
    Identity(Identity),
    /// What stands in a secret.
    From(Reference),
    /// All of these together.
    All(Vec<Self>),
    /// So many of these together. At least one, and no more than there are.
    AtLeast(usize, Vec<Self>),
}

impl AccessRule {
    fn is_met(&self, asks: &mut Asks<'_>) -> bool {
        match self {
            Self::Creator => asks.is_creator(),
            Self::Identity(identity) => asks.requester.is(identity),
            Self::From(reference) => asks
                .resolve(reference)
                .is_some_and(|acl| acl.allows(&mut asks.without_fragments())),
            Self::All(rules) => rules.iter().all(|rule| rule.is_met(asks)),
            Self::AtLeast(count, rules) => people(rules, asks) >= *count,
        }
    }

    /// Whose key meets it, where it is one person's rule: somebody who is named twice (by their key
    /// and as the creator, or by two references) counts once.
    fn persons(&self, asks: &mut Asks<'_>) -> Vec<Identity> {
        match self {
            Self::Creator => asks.creator.into_iter().cloned().collect(),
            Self::Identity(identity) => vec![identity.clone()],
            Self::From(reference) => match asks.resolve(reference) {
                Some(Acl::OneOf(rules)) => rules
                    .iter()
                    .flat_map(|rule| rule.persons(&mut asks.without_fragments()))
                    .filter(|one| asks.requester.is(one))
                    .collect(),
                _ => Vec::new(),
            },
            Self::All(_) | Self::AtLeast(..) => Vec::new(),
        }
    }
}

/// How many of the rules are met, each by somebody else. Where the same people could be counted in
/// several ways, it may be fewer than possible, and never more.
fn people(rules: &[AccessRule], asks: &mut Asks<'_>) -> usize {
    let mut counted = BTreeSet::new();
    let mut together = 0;
    let mut met: Vec<Vec<Identity>> = Vec::new();
    for rule in rules {
        if rule.is_met(asks) {
            match rule.persons(asks) {
                persons if persons.is_empty() => together += 1,
                persons => met.push(persons),
            }
        }
    }
    // Who has no choice comes first.
    met.sort_by_key(Vec::len);
    for persons in met {
        if let Some(person) = persons.into_iter().find(|one| !counted.contains(one)) {
            counted.insert(person);
        }
    }
    counted.len() + together
}

/// What rules are held against.
struct Asks<'a> {
    requester: &'a Requester<'a>,
    creator: Option<&'a Identity>,
    /// None inside of fragments: references there let nobody in.
    #[allow(clippy::type_complexity)] // It is written here only.
    fragment: Option<&'a mut dyn FnMut(&Reference) -> Option<Acl>>,
}

impl Asks<'_> {
    fn is_creator(&self) -> bool {
        self.creator
            .is_some_and(|creator| self.requester.is(creator))
    }

    fn resolve(&mut self, reference: &Reference) -> Option<Acl> {
        self.fragment.as_mut()?(reference)
    }

    fn without_fragments(&self) -> Asks<'_> {
        Asks {
            requester: self.requester,
            creator: self.creator,
            fragment: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mse_crypto::signing::{Algorithm, SigningKey};
    use proptest::prelude::*;

    use super::*;

    fn keys(count: usize) -> Vec<VerifyingKey> {
        (0..count)
            .map(|_| SigningKey::generate(Algorithm::Ed25519).public())
            .collect()
    }

    fn rule(key: &VerifyingKey) -> AccessRule {
        AccessRule::Identity(Identity::Signer(key.clone()))
    }

    fn asks(acl: Acl, signers: &[&VerifyingKey]) -> bool {
        let policy = AccessPolicy {
            update: acl,
            ..AccessPolicy::default()
        };
        let signers = signers.iter().map(|key| (*key).clone()).collect();
        let requester = Requester {
            tls: None,
            signers: &signers,
        };
        policy.allows(Operation::Update, &requester, None, |_| None)
    }

    #[test]
    fn thresholds_count_distinct_rules() {
        let keys = keys(3);
        let two_of_three = Acl::OneOf(vec![AccessRule::AtLeast(
            2,
            keys.iter().map(rule).collect(),
        )]);
        assert!(!asks(two_of_three.clone(), &[]));
        assert!(!asks(two_of_three.clone(), &[&keys[0]]));
        assert!(!asks(two_of_three.clone(), &[&keys[0], &keys[0]]));
        assert!(asks(two_of_three.clone(), &[&keys[0], &keys[2]]));
        assert!(asks(two_of_three, &[&keys[0], &keys[1], &keys[2]]));
        let all = Acl::OneOf(vec![AccessRule::All(keys.iter().map(rule).collect())]);
        assert!(!asks(all.clone(), &[&keys[0], &keys[1]]));
        assert!(asks(all, &[&keys[0], &keys[1], &keys[2]]));
    }

    #[test]
    fn a_creator_is_whoever_has_the_key() {
        let key = KeyHash([1; 32]);
        let policy = AccessPolicy::default();
        let nobody = BTreeSet::new();
        let requester = |tls| Requester {
            tls,
            signers: &nobody,
        };
        let creator = Identity::Tls(key);
        for operation in Operation::ALL {
            let asks = |tls, creator: Option<&Identity>| {
                policy.allows(operation, &requester(tls), creator, |_| None)
            };
            assert!(asks(Some(key), Some(&creator)));
            assert!(!asks(Some(KeyHash([2; 32])), Some(&creator)));
            assert!(!asks(None, Some(&creator)));
            assert!(!asks(Some(key), None));
        }
    }

    #[test]
    fn operations_without_rules_follow_others() {
        let nobody = BTreeSet::new();
        let stranger = Requester {
            tls: None,
            signers: &nobody,
        };
        let policy = AccessPolicy {
            read: Acl::Any,
            update: Acl::None,
            create_sessions: None,
            list_sessions: None,
        };
        let asks = |operation| policy.allows(operation, &stranger, None, |_| None);
        assert!(asks(Operation::Read) && asks(Operation::ListSessions));
        assert!(!asks(Operation::Update) && !asks(Operation::CreateSessions));
    }

    #[test]
    fn references_let_in_whom_they_name_and_go_no_further() {
        let reference = Reference::parse_body("board", crate::reference::Escape::None).unwrap();
        let nobody = BTreeSet::new();
        let stranger = Requester {
            tls: None,
            signers: &nobody,
        };
        let policy = AccessPolicy {
            read: Acl::OneOf(vec![AccessRule::From(reference.clone())]),
            ..AccessPolicy::default()
        };
        let asks =
            |acl: Option<Acl>| policy.allows(Operation::Read, &stranger, None, |_| acl.clone());
        assert!(asks(Some(Acl::Any)));
        assert!(!asks(None));
        assert!(!asks(Some(Acl::From(reference))));
    }

    #[test]
    fn nobody_is_two_people() {
        let keys = keys(2);
        let board = Reference::parse_body("board", crate::reference::Escape::None).unwrap();
        let creator = Identity::Signer(keys[0].clone());
        let asks = |rules: Vec<AccessRule>, signers: &[&VerifyingKey], acl: Option<Acl>| {
            let policy = AccessPolicy {
                update: Acl::OneOf(vec![AccessRule::AtLeast(2, rules)]),
                ..AccessPolicy::default()
            };
            let signers = signers.iter().map(|key| (*key).clone()).collect();
            let requester = Requester {
                tls: None,
                signers: &signers,
            };
            let fragment = |_: &Reference| acl.clone();
            policy.allows(Operation::Update, &requester, Some(&creator), fragment)
        };
        let named_twice = || vec![AccessRule::Creator, rule(&keys[0]), rule(&keys[1])];
        assert!(!asks(named_twice(), &[&keys[0]], None));
        assert!(asks(named_twice(), &[&keys[0], &keys[1]], None));
        let referred = || vec![rule(&keys[0]), AccessRule::From(board.clone())];
        let both = Acl::OneOf(keys.iter().map(rule).collect());
        assert!(!asks(referred(), &[&keys[0]], Some(both.clone())));
        assert!(asks(referred(), &[&keys[0], &keys[1]], Some(both)));
    }

    proptest! {
        /// More signatures never take a right away.
        #[test]
        fn rules_are_monotonic(bits in 0u8..8, more in 0u8..8, threshold in 1usize..4) {
            let keys = keys(3);
            let acl = Acl::OneOf(vec![AccessRule::AtLeast(
                threshold,
                keys.iter().map(rule).collect(),
            )]);
            let pick = |bits: u8| -> Vec<&VerifyingKey> {
                keys.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, k)| k).collect()
            };
            let few = asks(acl.clone(), &pick(bits));
            prop_assert_eq!(few, pick(bits).len() >= threshold);
            prop_assert!(!few || asks(acl, &pick(bits | more)));
        }
    }
}
