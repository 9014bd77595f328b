//! Secrets that need themselves in the end.

use std::collections::{BTreeMap, BTreeSet};

use mse_yaml::{Code, Field};

use crate::model::{AadCredential, Explicit, Generated, Secret, SecretName, SecretSource};
use crate::read::Reader;
use crate::template::Template;

/// Certificates and keys that need each other in a circle can never be made.
pub(in crate::read) fn check(r: &mut Reader, fields: &[Field<'_>], secrets: &[Option<Secret>]) {
    let needs: Edges<'_> = secrets
        .iter()
        .flatten()
        .map(|secret| (secret.name.as_str(), needs(secret).into_iter().collect()))
        .collect();
    // What is left when all that needs nothing is made; and of that, what something left needs.
    let unmade = without_ends(&needs);
    let mut needed_by: Edges<'_> = unmade.iter().map(|name| (*name, BTreeSet::new())).collect();
    for name in &unmade {
        for need in needs[name].intersection(&unmade) {
            needed_by.entry(*need).or_default().insert(*name);
        }
    }
    let circles = without_ends(&needed_by);
    for (field, secret) in fields.iter().zip(secrets) {
        if let Some(secret) = secret
            && circles.contains(secret.name.as_str())
        {
            let message = format!("the secret `{}` needs itself in the end", secret.name);
            r.report.error(Code::Circular, &field.spot, message);
        }
    }
}

/// From each secret to others.
type Edges<'s> = BTreeMap<&'s str, BTreeSet<&'s str>>;

/// The nodes that are left when those without edges are taken away, again and again.
fn without_ends<'s>(edges: &Edges<'s>) -> BTreeSet<&'s str> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut back: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, all) in edges {
        let known = all.iter().filter(|to| edges.contains_key(*to));
        let count = known
            .inspect(|to| back.entry(*to).or_default().push(from))
            .count();
        open.insert(from, count);
    }
    let mut left: BTreeSet<&str> = edges.keys().copied().collect();
    let mut ends: Vec<&str> = open
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    while let Some(end) = ends.pop() {
        left.remove(end);
        for from in back.get(end).into_iter().flatten() {
            let count = open.get_mut(from).expect("every node is counted");
            *count -= 1;
            if *count == 0 {
                ends.push(from);
            }
        }
    }
    left
}

/// The secrets that are needed to make this one.
fn needs(secret: &Secret) -> Vec<&str> {
    match &secret.source {
        SecretSource::Generated(Generated::PublicKey(key)) => vec![key.as_str()],
        SecretSource::Generated(Generated::Certificate(request)) => {
            [request.private_key.as_ref(), request.issuer.as_ref()]
                .into_iter()
                .flatten()
                .map(SecretName::as_str)
                .collect()
        }
        SecretSource::Generated(Generated::Jwt(request)) => {
            std::iter::once(request.signer.as_str())
                .chain(request.payload.values().flat_map(names_in))
                .collect()
        }
        SecretSource::Generated(Generated::AadToken(token)) => match &token.credential {
            AadCredential::Secret(template)
            | AadCredential::Certificate {
                private_key: template,
                ..
            } => names_in(template).collect(),
        },
        SecretSource::Explicit(Explicit::Text { value, private_key }) => names_in(value)
            .chain(private_key.iter().map(SecretName::as_str))
            .collect(),
        SecretSource::Vault(import) => std::iter::once(import.token.as_str())
            .chain(import.decryption_key.iter().map(SecretName::as_str))
            .collect(),
        SecretSource::External(external) => external
            .credential()
            .into_iter()
            .map(SecretName::as_str)
            .collect(),
        SecretSource::Generated(_) | SecretSource::Imported(_) | SecretSource::Explicit(_) => {
            Vec::new()
        }
    }
}

fn names_in(template: &Template) -> impl Iterator<Item = &str> {
    template
        .references()
        .filter_map(|reference| Some(reference.secret()?.as_str()))
}
