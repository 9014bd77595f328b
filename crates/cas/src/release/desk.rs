//! Decides on releases: what a service proved against what its session asks.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use mse_attest::{Appraisal, Collateral, ReferenceValues, Refusal, TrustAnchor, Verifier};
use mse_audit::entry::{Event, Measurement};
use mse_crypto::digest::Hasher;
use mse_crypto::hpke::PublicKey;
use mse_crypto::totp::{STEP, SharedSecret};
use mse_crypto::{Digest, Zeroizing};
use mse_ratls::release::{
    RefusalCode, ReleaseRefusal, SealedRelease, Target, VolumeGrant, access_token_proof,
    release_report_data,
};
use mse_ratls::{ChannelBinding, CollateralSource};
use mse_session::{Security, Service, SessionName, Template};
use subtle::ConstantTimeEq as _;

use super::asked::{Asked, ReportedState, refusal};
use super::attestation::{self, Requirements};
use super::configuration::configuration;
use super::endpoint::Releases;
use super::mounting::{self, MountingError};
use super::proven::{Program, Proven};
use super::ticket::{Ticket, Tickets};
use super::volumes::{Mount, Recording};
use crate::audit_log;
use crate::sessions::{Limiter, Loaded, SessionError, Sessions};
use crate::store::{Refused, StoreError, Write};

/// A release is renewed at least so often: so long may it take until a service is told that its
/// session was changed or revoked.
pub const RENEW_EVERY: Duration = Duration::from_secs(60);

/// Decides on releases.
pub struct Desk<C> {
    sessions: Arc<Sessions>,
    tickets: Tickets,
    collateral: C,
    verifier: Verifier,
    simulated: Vec<TrustAnchor>,
    refusals: Limiter,
    /// Tries of one-time passwords, by their secret.
    passwords: Limiter,
    renew_every: Duration,
}

impl<C: CollateralSource + Send + Sync + 'static> Desk<C> {
    /// Releases what `sessions` say. `simulated` are the roots of simulated platforms that count
    /// where a session accepts simulations: none by default.
    pub fn new(
        sessions: Arc<Sessions>,
        tickets: Tickets,
        collateral: C,
        simulated: Vec<TrustAnchor>,
    ) -> Self {
        Self {
            sessions,
            tickets,
            collateral,
            verifier: Verifier::new(mse_attest::Policy::strict()),
            simulated,
            refusals: Limiter::new(),
            passwords: Limiter::new(),
            renew_every: RENEW_EVERY,
        }
    }

    /// Has services renew their releases at least so often.
    #[must_use]
    pub fn with_renewal(self, renew_every: Duration) -> Self {
        Self {
            renew_every,
            ..self
        }
    }

    async fn decide(
        &self,
        asked: &Asked,
        channel: &ChannelBinding,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        let loaded = self.session(&asked.target).await?;
        // Nothing is fetched for what is not there.
        service(&loaded, &asked.target)?;
        let found = self.collateral(asked).await?;
        // Collateral may have taken its time: what counts is the session as it is after that.
        let now = SystemTime::now();
        let loaded = self.session(&asked.target).await?;
        let service = service(&loaded, &asked.target)?;
        let requirements = requirements(&loaded, service)?;
        let appraisal = self.appraise(&requirements, asked, &found, channel, now)?;
        let proven = Proven::of(&appraisal).ok_or_else(|| {
            refusal(
                RefusalCode::Attestation,
                "evidence of this kind proves no program of a service: SGX, TDX and SEV-SNP do"
                    .into(),
            )
        })?;
        requirements
            .admit(&proven)
            .map_err(|error| ReleaseRefusal {
                code: RefusalCode::Attestation,
                message: error.to_string(),
                check: Some("program".into()),
            })?;
        // After the evidence: else anybody could try tokens, without any TEE.
        prove_token(&loaded, asked, channel)?;
        let used = one_time_password(&self.passwords, &loaded, service, asked, now)?;
        let sealed = self
            .seal(
                &loaded,
                service,
                &Ticket {
                    target: asked.target.clone(),
                    x25519: asked.x25519.0,
                    proven: proven.clone(),
                    attested_at: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
                    terms: terms(&loaded, &requirements, now)?,
                },
                channel,
                now,
            )
            .await?;
        self.record(&loaded, service, &proven, used).await?;
        Ok(sealed)
    }

    /// The session as it is now, if it may be used.
    async fn session(&self, target: &Target) -> Result<Arc<Loaded>, ReleaseRefusal> {
        let no_such = || no_such_service(target);
        let name: SessionName = target.session.parse().map_err(|_| no_such())?;
        let loaded = match self.sessions.load(&name).await {
            Ok(loaded) => loaded,
            Err(SessionError::NoSession(_)) => return Err(no_such()),
            Err(error) => return Err(unavailable(&name, &error)),
        };
        if loaded.is_revoked() {
            return Err(refusal(
                RefusalCode::Revoked,
                format!("the session `{name}` was revoked"),
            ));
        }
        if let Some(missing) = loaded.missing.first() {
            tracing::warn!(session = %name, %missing, "a session cannot be released");
            return Err(refusal(
                RefusalCode::Unavailable,
                "the session imports something that it is not given any more; its author sees what when storing it again".into(),
            ));
        }
        Ok(loaded)
    }

    async fn collateral(&self, asked: &Asked) -> Result<Collateral, ReleaseRefusal> {
        let mut collateral = self
            .collateral
            .collateral(&asked.evidence)
            .await
            .map_err(|error| {
                tracing::warn!(%error, "there is no collateral for a service's platform");
                refusal(
                    RefusalCode::Unavailable,
                    "this CAS has no collateral for your platform now: try again, or have its operator name a service that knows it".into(),
                )
            })?;
        if collateral.certificates.is_empty() {
            collateral.certificates.clone_from(&asked.certificates);
        }
        Ok(collateral)
    }

    fn appraise(
        &self,
        requirements: &Requirements,
        asked: &Asked,
        collateral: &Collateral,
        channel: &ChannelBinding,
        now: SystemTime,
    ) -> Result<Appraisal, ReleaseRefusal> {
        let expected = ReferenceValues {
            report_data: Some(release_report_data(
                &asked.nonce,
                channel,
                &asked.x25519,
                &asked.target,
            )),
            ..ReferenceValues::default()
        };
        let policy = requirements.policy(&self.simulated, now);
        let appraise = |policy| {
            self.verifier
                .under(policy)
                .appraise(&asked.evidence, collateral, &expected, now)
        };
        let mut outcome = appraise(policy.clone());
        if let Err(refused) = &outcome
            && requirements.tolerates_every_advisory(now)
        {
            let far = now + Duration::from_secs(60);
            let named = advisories(&refused.found)
                .fold(policy, |policy, id| policy.tolerate_advisory(id, far));
            outcome = appraise(named);
        }
        outcome.map_err(|refused| attestation_refusal(&refused))
    }

    /// The configuration as it is now, for what the ticket says was proven.
    async fn seal(
        &self,
        loaded: &Loaded,
        service: &Service,
        ticket: &Ticket,
        channel: &ChannelBinding,
        now: SystemTime,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        let impossible = |error: &dyn std::error::Error| {
            refusal(
                RefusalCode::Unavailable,
                format!("the service cannot be told what its session says: {error}"),
            )
        };
        let volumes = self.grants(loaded, service).await?;
        let configuration = configuration(
            &loaded.session,
            loaded.hash(),
            service,
            &loaded.values,
            volumes,
        )
        .map_err(|error| impossible(&error))?;
        let sealed = configuration
            .seal(&PublicKey(ticket.x25519), &ticket.target, channel)
            .map_err(|error| impossible(&error))?;
        let ticket = self
            .tickets
            .seal(ticket)
            .map_err(|error| impossible(&error))?;
        let settled = loaded.settled_for(now).unwrap_or(Duration::MAX);
        Ok(SealedRelease {
            sealed: BASE64.encode(sealed),
            ticket: BASE64.encode(ticket),
            // Not before the change that it waits for.
            renew_in: self.renew_every.min(settled).as_secs() + 1,
        })
    }

    /// What a ticket stands for, if the session as it is now would still release to it.
    async fn ticket(
        &self,
        sealed: &[u8],
        now: SystemTime,
    ) -> Result<(Ticket, Arc<Loaded>), ReleaseRefusal> {
        let ticket = self
            .tickets
            .open(sealed, now)
            .map_err(|error| refusal(RefusalCode::Ticket, error.to_string()))?;
        let loaded = self.session(&ticket.target).await?;
        let changed = |what: String| {
            refusal(
                RefusalCode::Ticket,
                format!("the session was changed since you attested: {what}"),
            )
        };
        let requirements = requirements(&loaded, service(&loaded, &ticket.target)?)?;
        requirements
            .admit(&ticket.proven)
            .map_err(|error| changed(error.to_string()))?;
        if terms(&loaded, &requirements, now)? != ticket.terms {
            return Err(changed(
                "its security section asks for something else".into(),
            ));
        }
        Ok((ticket, loaded))
    }

    async fn mounts(
        &self,
        loaded: &Loaded,
        service: &Service,
    ) -> Result<Vec<Mount>, ReleaseRefusal> {
        let (session, values) = (&loaded.session, &loaded.values);
        mounting::mounts(&self.sessions, session, loaded.hash(), service, values)
            .await
            .map_err(|error| mounting_refusal(loaded, error))
    }

    async fn grants(
        &self,
        loaded: &Loaded,
        service: &Service,
    ) -> Result<Vec<VolumeGrant>, ReleaseRefusal> {
        let mounts = self.mounts(loaded, service).await?;
        mounting::grants(self.sessions.store(), &mounts)
            .await
            .map_err(|error| mounting_refusal(loaded, error))
    }

    /// One try to record a state: `false` if another report came in between.
    async fn try_record(
        &self,
        loaded: &Loaded,
        mount: &Mount,
        state: &ReportedState,
    ) -> Result<bool, ReleaseRefusal> {
        let (store, name) = (self.sessions.store(), &loaded.session.name);
        let id = mount.id();
        let recorded = store
            .volume(&id.session, &id.volume)
            .await
            .map_err(|error| unavailable(name, &error))?;
        let (id, sequence, root) = match mount.record(state, recorded.as_ref()) {
            Ok(Recording::AlreadyThere) => return Ok(true),
            Ok(Recording::Advance { id, sequence, root }) => (id, sequence, root),
            Err(refused) => {
                if refused.code == RefusalCode::StaleVolume {
                    self.record_stale(loaded, mount, state).await;
                }
                return Err(refused);
            }
        };
        let mut write = Write::new().advance_volume(&id.session, &id.volume, sequence, root);
        if let Ok(volume) = id.volume.parse() {
            let event = Event::VolumeRootUpdated {
                root: Digest(state.root),
                version: sequence,
                volume,
            };
            write = write.audit(audit_log::leaf(
                event,
                // Where it belongs: an importer's name for it is another.
                id.session.parse().ok().as_ref().map(|owner| (owner, None)),
                None,
            ));
        }
        match store.commit(write).await {
            Ok(_) => Ok(true),
            Err(StoreError::Refused(Refused::VolumeBehind { .. })) => Ok(false),
            Err(error) => Err(unavailable(name, &error)),
        }
    }

    async fn record_stale(&self, loaded: &Loaded, mount: &Mount, state: &ReportedState) {
        let name = &loaded.session.name;
        let Ok(volume) = mount.id().volume.parse() else {
            return;
        };
        if !self.refusals.admit(name.as_str()) {
            return;
        }
        let event = Event::VolumeStaleRefused {
            root: Digest(state.root),
            volume,
        };
        let leaf = audit_log::leaf(event, Some((name, Some(loaded.hash()))), None);
        audit_log::note(self.sessions.store(), leaf).await;
    }

    /// Tells the audit log, and uses the one-time password up: only then does anything leave.
    async fn record(
        &self,
        loaded: &Loaded,
        service: &Service,
        proven: &Proven,
        used: Option<(String, Timestamp)>,
    ) -> Result<(), ReleaseRefusal> {
        let event = attested(service, proven);
        let mut write = Write::new().audit(audit_log::leaf(
            event,
            Some((&loaded.session.name, Some(loaded.hash()))),
            None,
        ));
        if let Some((what, expires_at)) = used {
            write = write.use_once(&what, expires_at);
        }
        match self.sessions.store().commit(write).await {
            Ok(_) => Ok(()),
            Err(StoreError::Refused(Refused::AlreadyUsed { .. })) => Err(refusal(
                RefusalCode::OneTimePassword,
                "the one-time password was used already: wait for the next one".into(),
            )),
            Err(error) => Err(unavailable(&loaded.session.name, &error)),
        }
    }

    /// Tells the audit log of a refusal, as long as it is not one of very many.
    async fn record_refusal(&self, target: &Target, refused: &ReleaseRefusal) {
        let Some(check) = check_of(refused) else {
            return;
        };
        let Ok(name) = target.session.parse::<SessionName>() else {
            return;
        };
        // What does not exist is anybody's invention, and not worth a line.
        let Ok(loaded) = self.sessions.load(&name).await else {
            return;
        };
        if service(&loaded, target).is_err() || !self.refusals.admit(&target.session) {
            return;
        }
        tracing::info!(session = %name, service = %target.service, check, "refused: {refused}");
        let (Ok(check), Ok(service)) = (check.parse(), target.service.parse()) else {
            return;
        };
        let leaf = audit_log::leaf(
            Event::ServiceRefused { check, service },
            Some((&name, Some(loaded.hash()))),
            None,
        );
        audit_log::note(self.sessions.store(), leaf).await;
    }
}

impl<C: CollateralSource + Send + Sync + 'static> Releases for Desk<C> {
    async fn release(
        &self,
        asked: Asked,
        channel: &ChannelBinding,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        let decided = self.decide(&asked, channel).await;
        if let Err(refused) = &decided {
            self.record_refusal(&asked.target, refused).await;
        }
        decided
    }

    async fn renew(
        &self,
        ticket: &[u8],
        channel: &ChannelBinding,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        let now = SystemTime::now();
        let (ticket, loaded) = self.ticket(ticket, now).await?;
        let service = service(&loaded, &ticket.target)?;
        self.seal(&loaded, service, &ticket, channel, now).await
    }

    async fn record_volume(
        &self,
        ticket: &[u8],
        state: ReportedState,
    ) -> Result<(), ReleaseRefusal> {
        let (ticket, loaded) = self.ticket(ticket, SystemTime::now()).await?;
        let service = service(&loaded, &ticket.target)?;
        let mounts = self.mounts(&loaded, service).await?;
        let mount = mounts
            .iter()
            .find(|mount| mount.name().as_str() == state.name)
            .ok_or_else(|| {
                refusal(
                    RefusalCode::NoSuchVolume,
                    format!("the service has no volume `{}`", state.name.escape_debug()),
                )
            })?;
        for _ in 0..TRIES {
            if self.try_record(&loaded, mount, &state).await? {
                return Ok(());
            }
        }
        Err(refusal(
            RefusalCode::Unavailable,
            "others write to the volume all the time: try again".into(),
        ))
    }
}

/// Reports of one volume that are tried against each other.
const TRIES: usize = 3;

fn service<'a>(loaded: &'a Loaded, target: &Target) -> Result<&'a Service, ReleaseRefusal> {
    let name = target.service.parse().ok();
    name.and_then(|name| loaded.session.service(&name))
        .ok_or_else(|| no_such_service(target))
}

fn requirements(loaded: &Loaded, service: &Service) -> Result<Requirements, ReleaseRefusal> {
    Requirements::of(&loaded.session, service, &loaded.values)
        .map_err(|error| refusal(RefusalCode::Unavailable, error.to_string()))
}

fn security(loaded: &Loaded) -> Result<Security, ReleaseRefusal> {
    attestation::security(&loaded.session, &loaded.values)
        .map_err(|error| refusal(RefusalCode::Unavailable, error.to_string()))
}

/// Whether the service knows the access token, if the session has one.
fn prove_token(
    loaded: &Loaded,
    asked: &Asked,
    channel: &ChannelBinding,
) -> Result<(), ReleaseRefusal> {
    let security = security(loaded)?;
    let Some(template) = &security.service_access_token else {
        return Ok(());
    };
    let token = text(loaded, template)?;
    let expected = access_token_proof(&token, &asked.nonce, channel);
    let shown = asked.access_token_proof.as_deref().unwrap_or_default();
    if bool::from(expected.as_bytes().ct_eq(shown.as_bytes())) {
        Ok(())
    } else {
        Err(refusal(
            RefusalCode::AccessToken,
            "the session has an access token, and the service has not shown to know it".into(),
        ))
    }
}

/// On what terms evidence is appraised at `now`, and who may bring it.
fn terms(
    loaded: &Loaded,
    requirements: &Requirements,
    now: SystemTime,
) -> Result<Digest, ReleaseRefusal> {
    let token = match &security(loaded)?.service_access_token {
        Some(template) => text(loaded, template)?,
        None => Zeroizing::default(),
    };
    let mut hasher = Hasher::with_domain("mse-release-terms-v1");
    hasher.update_field(requirements.terms(now).as_bytes());
    hasher.update_field(token.as_bytes());
    Ok(hasher.finish())
}

/// Checks the one-time password, if one is asked for; gives what is to be used up with it.
fn one_time_password(
    tries: &Limiter,
    loaded: &Loaded,
    service: &Service,
    asked: &Asked,
    now: SystemTime,
) -> Result<Option<(String, Timestamp)>, ReleaseRefusal> {
    let settings = attestation::settings(&security(loaded)?, &loaded.values)
        .map_err(|error| refusal(RefusalCode::Unavailable, error.to_string()))?;
    let general = settings.one_time_password.as_ref();
    let Some(template) = service.one_time_password.as_ref().or(general) else {
        return Ok(None);
    };
    let wrong = |what: &str| refusal(RefusalCode::OneTimePassword, what.to_owned());
    let password = asked
        .one_time_password
        .as_deref()
        .ok_or_else(|| wrong("the session asks for a one-time password: give six digits"))?;
    let secret = text(loaded, template)?;
    let plain = secret.trim().trim_end_matches('=').to_ascii_uppercase();
    let bytes = BASE32_NOPAD
        .decode(Zeroizing::new(plain).as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| wrong("the session's secret of one-time passwords is not base32"))?;
    // Its use anywhere is its use: sessions and services may share a secret.
    let mut hasher = Hasher::with_domain("mse-one-time-password-v1");
    hasher.update_field(&bytes);
    let which = hasher.finish();
    if !tries.admit(&which.to_string()) {
        return Err(wrong("there were too many tries: wait some minutes"));
    }
    let shared = SharedSecret::from_bytes(bytes).map_err(|error| wrong(&error.to_string()))?;
    let step = shared
        .step_of(password, now)
        .ok_or_else(|| wrong("the one-time password is wrong, or too old"))?;
    let what = format!("otp {which} {}", step.0);
    // Steps before and after are taken too: only then is it surely of no use.
    let expires_at = Timestamp::try_from(now + 4 * STEP).unwrap_or(Timestamp::MAX);
    Ok(Some((what, expires_at)))
}

fn text(loaded: &Loaded, template: &Template) -> Result<Zeroizing<String>, ReleaseRefusal> {
    let broken = || {
        refusal(
            RefusalCode::Unavailable,
            "a secret in the session's security section cannot be read".into(),
        )
    };
    let bytes = template
        .render(
            |reference| loaded.values.render(reference),
            |_| Err(crate::values::ValuesError::Missing("@@".into())),
        )
        .map_err(|_| broken())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| broken())?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn attested(service: &Service, proven: &Proven) -> Event {
    let (tee, measurement): (_, &[u8]) = match &proven.program {
        Program::Sgx { mrenclave, .. } => ("sgx", mrenclave),
        Program::Tdx { mr_td, .. } => ("tdx", mr_td),
        Program::Snp { measurement, .. } => ("sev-snp", measurement),
    };
    let tee = if proven.simulated { "simulated" } else { tee };
    Event::ServiceAttested {
        measurement: Measurement::from_bytes(measurement)
            .expect("measurements of 32 and 48 bytes are words of the log"),
        service: service
            .name
            .as_str()
            .parse()
            .expect("names of services are names of the log"),
        tee: tee.parse().expect("it is a word of the log"),
    }
}

fn attestation_refusal(refused: &Refusal) -> ReleaseRefusal {
    ReleaseRefusal {
        code: RefusalCode::Attestation,
        message: refused.to_string(),
        check: Some(refused.failed.to_string()),
    }
}

/// What the audit log calls the reason; nothing for what is no attempt to get a release.
fn check_of(refused: &ReleaseRefusal) -> Option<String> {
    let name = match refused.code {
        RefusalCode::Attestation => return refused.check.clone(),
        RefusalCode::OneTimePassword => "one-time-password",
        RefusalCode::AccessToken => "access-token",
        RefusalCode::Revoked => "revoked",
        _ => return None,
    };
    Some(name.into())
}

/// Ids of Intel's advisories in a text.
fn advisories(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("INTEL-"))
}

fn mounting_refusal(loaded: &Loaded, error: MountingError) -> ReleaseRefusal {
    match error {
        MountingError::Volumes(error) => refusal(RefusalCode::Unavailable, error.to_string()),
        error => unavailable(&loaded.session.name, &error),
    }
}

fn no_such_service(target: &Target) -> ReleaseRefusal {
    refusal(
        RefusalCode::NoSuchService,
        format!(
            "there is no service `{}` in a session `{}`",
            target.service.escape_debug(),
            target.session.escape_debug()
        ),
    )
}

fn unavailable(name: &SessionName, error: &dyn std::error::Error) -> ReleaseRefusal {
    tracing::error!(session = %name, %error, "a session cannot be used");
    refusal(
        RefusalCode::Unavailable,
        "this CAS cannot answer now; its operator finds the reason in its log".into(),
    )
}
