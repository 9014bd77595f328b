//! Logging in and out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::Timestamp;
use mse_api::{ApiError, ErrorCode, Login, SessionToken, User};
use mse_crypto::{Zeroizing, password};
use tokio::sync::Semaphore;

use super::State;
use super::caller::Caller;
use super::listener::Peer;
use super::refusal::Refusal;
use crate::store::{Account, Store};

/// Log in with a one-time token or a password.
#[utoipa::path(
    post, path = "/login", tag = "login", request_body = Login, security(()),
    responses(
        (status = OK, body = SessionToken),
        (status = UNAUTHORIZED, body = ApiError, description = "wrong, used up, or too many attempts"),
    )
)]
pub(super) async fn login(
    api: State,
    Extension(Peer(peer)): Extension<Peer>,
    login: Result<Json<Login>, JsonRejection>,
) -> Result<Json<SessionToken>, Refusal> {
    let Json(login) = login?;
    let store = &api.fleet.platform().store;
    let attempt = api.guard.begin(Key {
        peer,
        account: account_of(&login),
    })?;
    let account = match login {
        Login::Token { one_time_token } => {
            let token = Zeroizing::new(one_time_token);
            store.redeem_login_token(&token, Timestamp::now()).await?
        }
        Login::Password { email, password } => {
            by_password(&api.guard, store, &email, Zeroizing::new(password)).await?
        }
    };
    let Some(account) = account else {
        attempt.failed();
        return Err(ApiError::new(
            ErrorCode::Unauthorized,
            "the login is not valid: the token is wrong, used up or too old, or the password is wrong",
        )
        .with_hint("`mse-server token` on the platform's machine makes a new one-time token")
        .into());
    };
    attempt.succeeded();
    let (token, expires_at) = store.open_session(account.id, Timestamp::now()).await?;
    Ok(Json(SessionToken {
        access_token: token.as_str().to_owned(),
        email: account.email,
        expires_at,
    }))
}

/// End this session.
#[utoipa::path(
    post, path = "/logout", tag = "login",
    responses((status = NO_CONTENT), (status = UNAUTHORIZED, body = ApiError))
)]
pub(super) async fn logout(api: State, caller: Caller) -> Result<StatusCode, Refusal> {
    api.fleet
        .platform()
        .store
        .close_session(&caller.token)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is logged in.
#[utoipa::path(
    get, path = "/users/me", tag = "login",
    responses((status = OK, body = User), (status = UNAUTHORIZED, body = ApiError))
)]
pub(super) async fn me(caller: Caller) -> Json<User> {
    let account = caller.account;
    Json(User {
        id: account.id.to_string(),
        given_name: account.given_name,
        family_name: account.family_name,
        email: account.email,
        created_at: account.created_at,
        configured: true,
        // Local accounts are made by the operator, who vouches for them.
        email_verified: true,
    })
}

/// Keeps guessing slow: after ten failures for one account from one address, nothing is tried for
/// a quarter of an hour. Others are not locked out by it.
pub(super) struct LoginGuard {
    failures: Mutex<HashMap<Key, Failures>>,
    /// Argon2 takes 19 MiB and a core: a flood of attempts must not take the machine.
    hashing: Semaphore,
}

impl Default for LoginGuard {
    fn default() -> Self {
        Self {
            failures: Mutex::default(),
            hashing: Semaphore::new(2),
        }
    }
}

impl LoginGuard {
    fn begin(&self, who: Key) -> Result<Attempt<'_>, Refusal> {
        let mut failures = self.failures();
        failures.retain(|_, failed| failed.since.elapsed() < LOCKED);
        let tried = failures.get(&who).map_or(0, |failed| failed.count);
        if tried >= MAX_FAILURES || failures.len() >= MAX_TRACKED {
            return Err(
                ApiError::new(ErrorCode::Unauthorized, "too many failed logins")
                    .with_hint(format!("try again in {} minutes", LOCKED.as_secs() / 60))
                    .into(),
            );
        }
        drop(failures);
        Ok(Attempt { guard: self, who })
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<Key, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    peer: IpAddr,
    /// Empty for tokens: they cannot be guessed, but trying costs a write.
    account: String,
}

struct Failures {
    count: u32,
    since: Instant,
}

struct Attempt<'a> {
    guard: &'a LoginGuard,
    who: Key,
}

impl Attempt<'_> {
    fn failed(self) {
        let mut failures = self.guard.failures();
        let failed = failures.entry(self.who).or_insert_with(|| Failures {
            count: 0,
            since: Instant::now(),
        });
        failed.count += 1;
    }

    fn succeeded(self) {
        self.guard.failures().remove(&self.who);
    }
}

fn account_of(login: &Login) -> String {
    match login {
        Login::Token { .. } => String::new(),
        Login::Password { email, .. } => email.chars().take(255).collect::<String>().to_lowercase(),
    }
}

async fn by_password(
    guard: &LoginGuard,
    store: &Store,
    email: &str,
    given: Zeroizing<String>,
) -> Result<Option<Account>, Refusal> {
    let account = store.account_by_email(email).await?;
    let stored = match &account {
        Some(account) => store.password_hash(account.id).await?,
        None => None,
    };
    // An account that does not exist takes as long as one that does.
    let against = stored.unwrap_or_else(|| NOBODYS_PASSWORD.to_owned());
    let _turn = guard.hashing.acquire().await.map_err(Refusal::internal)?;
    let fits = tokio::task::spawn_blocking(move || password::verify(&given, &against))
        .await
        .map_err(Refusal::internal)?;
    Ok(account.filter(|_| fits))
}

/// Of a random password that nobody kept.
const NOBODYS_PASSWORD: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IGhlcmU$RtAJDIeQTW6MhkDWbz6q7OUQvtQKRFCsqCdmN5SLJhA";
const MAX_FAILURES: u32 = 10;
const MAX_TRACKED: usize = 10_000;
const LOCKED: Duration = Duration::from_mins(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: u8, account: &str) -> Key {
        Key {
            peer: [127, 0, 0, peer].into(),
            account: account.into(),
        }
    }

    #[test]
    fn ten_failures_lock_one_account_for_one_address_and_nothing_else() {
        let guard = LoginGuard::default();
        for _ in 0..MAX_FAILURES {
            guard.begin(key(1, "a")).unwrap().failed();
        }
        assert!(guard.begin(key(1, "a")).is_err());
        guard.begin(key(1, "b")).unwrap().succeeded();
        guard.begin(key(2, "a")).unwrap().succeeded();
    }

    #[test]
    fn a_success_forgets_the_failures() {
        let guard = LoginGuard::default();
        for _ in 0..MAX_FAILURES - 1 {
            guard.begin(key(1, "a")).unwrap().failed();
        }
        guard.begin(key(1, "a")).unwrap().succeeded();
        guard.begin(key(1, "a")).unwrap().failed();
        assert!(guard.begin(key(1, "a")).is_ok());
    }

    #[test]
    fn the_stand_in_for_unknown_accounts_is_a_real_hash_of_the_usual_cost() {
        let own = password::hash("x").unwrap();
        let parameters = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        assert_eq!(parameters(&own), parameters(NOBODYS_PASSWORD));
        assert!(!password::verify("x", NOBODYS_PASSWORD));
    }
}
