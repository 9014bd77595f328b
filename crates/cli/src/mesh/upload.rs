//! From planned sessions to those of a CAS: what is new, what changes, what is as it was.

use std::collections::BTreeSet;

use mse_api::cas::{
    PublicValue, SESSION, SESSIONS, SessionList, SessionState, SessionView, StoredSession, Upload,
    VALUE,
};
use mse_crypto::{Zeroizing, random};
use mse_mesh::compile::{MADE_BY, PlannedSession, SessionRole, made_by};
use mse_session::{EnvironmentValue, Identity, Service, Session, SessionName};
use serde::Serialize;

use crate::cas::KnownCas;
use crate::commands::session::stored::understood;
use crate::exit::Exit;
use crate::failure::Failure;

/// What a session becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// It is new.
    Create,
    /// It takes the place of a version.
    Update,
    /// The CAS has it already.
    Same,
}

impl Change {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Same => "same",
        }
    }
}

/// A session, ready to be sent.
pub(crate) struct Prepared {
    pub(crate) role: SessionRole,
    pub(crate) change: Change,
    pub(crate) session: Session,
    /// The version that the CAS has.
    pub(crate) before: Option<Session>,
    /// As it is sent.
    pub(crate) text: Zeroizing<String>,
}

impl Prepared {
    /// Whether it is a namespace that the CAS does not have yet.
    pub(crate) fn is_new_namespace(&self) -> bool {
        self.role == SessionRole::Namespace && self.change == Change::Create
    }
}

/// Whose the sessions of a mesh are.
pub(crate) struct Owner {
    /// Who creates its sessions: who applies it, or signs them.
    pub(crate) creator: Identity,
    /// Its namespace; those above it may be anybody's.
    pub(crate) namespace: SessionName,
    /// Whether sessions of other meshes become this one's.
    pub(crate) takes_over: bool,
}

impl Owner {
    /// A session that is there must be this user's: whoever created it reads and changes it.
    fn prove(&self, session: &Session) -> Result<(), Failure> {
        let is_above = self.namespace != session.name && self.namespace.is_within(&session.name);
        if is_above || session.creator.as_ref() == Some(&self.creator) {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Forbidden,
            format!(
                "the session `{}` was created by somebody else, who could read and change what is put there",
                session.name
            ),
        )
        .with_hint("choose another `policy.namespace`; `mse session read` shows who created it"))
    }
}

impl Owner {
    /// A session that is there must be this mesh's: another one's services live by what it says.
    fn prove_mesh(&self, current: &Session, planned: &PlannedSession) -> Result<(), Failure> {
        let Some(wanted) = planned.made_by() else {
            return Ok(());
        };
        let found = made_by(current);
        if self.takes_over || found == Some(wanted) {
            return Ok(());
        }
        let name = &current.name;
        let whose = match found {
            Some(mesh) => format!("is of the mesh `{mesh}`"),
            None => "was not made by `mse apply`".to_owned(),
        };
        let hint = match planned.role {
            SessionRole::Image => {
                "leave `policy.image_policy_namespace` away, so that each mesh has its own"
            }
            _ => "choose another `policy.namespace`",
        };
        Err(Failure::new(
            Exit::Conflict,
            format!(
                "the session `{name}` {whose}, and this is the mesh `{wanted}`: what it says would be lost, and its services with it"
            ),
        )
        .with_hint(format!(
            "{hint}; if that mesh has become this one (`--release` names it): `--take-over`"
        )))
    }
}

/// All sessions of a mesh, compared with those of its CAS.
pub(crate) struct Changes(pub(crate) Vec<Prepared>);

impl Changes {
    /// Reads what the CAS has, in the order of `planned`.
    pub(crate) async fn find(
        cas: &mut KnownCas,
        planned: &[PlannedSession],
        owner: &Owner,
    ) -> Result<Self, Failure> {
        let mut prepared = Vec::with_capacity(planned.len());
        for session in planned {
            prepared.push(prepare(cas, session, owner).await?);
        }
        Ok(Self(prepared))
    }

    /// What gets easier to reach than it was.
    pub(crate) fn opened_ports(&self) -> Vec<String> {
        let mut opened = Vec::new();
        for prepared in &self.0 {
            let Some(before) = &prepared.before else {
                continue;
            };
            for service in &prepared.session.services {
                let earlier = before.services.iter().find(|one| one.name == service.name);
                let Some(earlier) = earlier else { continue };
                for port in open_to_everybody(service).difference(&open_to_everybody(earlier)) {
                    if earlier
                        .environment
                        .keys()
                        .any(|name| name.as_str() == *port)
                    {
                        opened.push(format!(
                            "`{}` opens to everybody what only services of the mesh could reach (`{port}`): no service connects to it any more; leave the port out of the service, or say in `connections` who connects",
                            prepared.session.name
                        ));
                    }
                }
            }
        }
        opened
    }

    /// Sessions of this mesh that the Meshfile has no more.
    pub(crate) async fn left_over(
        &self,
        cas: &mut KnownCas,
        owner: &Owner,
    ) -> Result<Vec<String>, Failure> {
        let Some(mesh) = self.0.iter().find_map(|one| made_by(&one.session)) else {
            return Ok(Vec::new());
        };
        let namespace = owner.namespace.as_str();
        if !self.0.iter().any(|one| one.before.is_some()) {
            return Ok(Vec::new());
        }
        let list: SessionList = cas.get(SESSIONS, &[("within", namespace)]).await?;
        let mut left = Vec::new();
        for line in list.sessions {
            let is_planned = self
                .0
                .iter()
                .any(|one| one.session.name.as_str() == line.name);
            if is_planned || line.state == SessionState::Revoked {
                continue;
            }
            // Public, so that nobody's session has to be read for it.
            let mark = [("session", line.name.as_str()), ("secret", MADE_BY)];
            let mark: Option<PublicValue> = cas.get_if_let(VALUE, &mark).await?;
            if mark.is_some_and(|mark| mark.value.trim_end() == mesh) {
                left.push(format!(
                    "`{0}` is a session of the mesh `{mesh}` and no more of this Meshfile: its service goes on getting its secrets until `mse session revoke {0} --hash {1}`, which ends that name for good; if another Meshfile made it, give one of the two another `policy.namespace` or `--release`",
                    line.name, line.hash
                ));
            }
        }
        Ok(left)
    }

    /// The hash of a session, as it is applied.
    pub(crate) fn hash_of(&self, session: &SessionName) -> Option<String> {
        let mut all = self.0.iter();
        let found = all.find(|one| one.session.name == *session)?;
        Some(found.session.hash().to_string())
    }

    /// Sends what is new or changed. What was sent before a failure stays: applying again goes on
    /// from there.
    pub(crate) async fn send(&self, cas: &mut KnownCas) -> Result<usize, Failure> {
        let mut sent = 0;
        for prepared in &self.0 {
            if prepared.change == Change::Same {
                continue;
            }
            let upload = Upload::Text(prepared.text.to_string());
            let _: StoredSession = cas.post(SESSIONS, &upload).await?;
            sent += 1;
        }
        Ok(sent)
    }
}

/// The variables by which the shield of a service lets in who shows no certificate.
fn open_to_everybody(service: &Service) -> BTreeSet<&str> {
    let variables = service.environment.iter();
    let open = variables.filter(|(name, value)| {
        name.as_str().ends_with("_CLIENT_AUTH")
            && matches!(value, EnvironmentValue::Given(text) if text.as_literal() == Some("disabled"))
    });
    open.map(|(name, _)| name.as_str()).collect()
}

async fn prepare(
    cas: &mut KnownCas,
    planned: &PlannedSession,
    owner: &Owner,
) -> Result<Prepared, Failure> {
    let name = planned.name.as_str();
    let view: Option<SessionView> = cas.get_if_let(SESSION, &[("name", name)]).await?;
    let Some(view) = view else {
        return made(planned, Change::Create, *random::secret_bytes(), None);
    };
    if view.state == SessionState::Revoked {
        return Err(Failure::new(
            Exit::Conflict,
            format!("the session `{name}` was revoked: its name cannot be used again"),
        )
        .with_hint("choose another `policy.namespace`"));
    }
    let current = understood(&view.text)?;
    owner.prove(&current)?;
    if planned.role == SessionRole::Namespace {
        let text = current.to_text();
        return Ok(Prepared {
            role: planned.role,
            change: Change::Same,
            before: Some(current.clone()),
            session: current,
            text,
        });
    }
    owner.prove_mesh(&current, planned)?;
    let salt = current
        .salt
        .map_or_else(|| *random::secret_bytes(), |salt| salt.0);
    let mut as_it_is = made(planned, Change::Same, salt, current.predecessor)?;
    let mut compared = as_it_is.session.clone();
    compared.creator.clone_from(&current.creator);
    if compared.hash() == current.hash() {
        as_it_is.before = Some(current);
        return Ok(as_it_is);
    }
    let mut update = made(planned, Change::Update, salt, Some(current.hash()))?;
    update.before = Some(current);
    Ok(update)
}

fn made(
    planned: &PlannedSession,
    change: Change,
    salt: [u8; 16],
    predecessor: Option<mse_session::SessionHash>,
) -> Result<Prepared, Failure> {
    let (session, text) = planned.text(salt, predecessor).map_err(|faults| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!(
                "the session `{}` that comes out cannot be: {faults}",
                planned.name
            ),
        )
        .with_hint("a value of the Meshfile or of a manifest does not fit there")
    })?;
    Ok(Prepared {
        role: planned.role,
        change,
        session,
        before: None,
        text,
    })
}
