//! Accounts, their one-time tokens and their sessions.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use mse_crypto::{Digest, Zeroizing, random};
use uuid::Uuid;

use super::{Row, Store, StoreError, millis, query, time, uuid};

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccountId(pub Uuid);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// How it logs in.
    pub email: String,
    /// Given name, may be empty.
    pub given_name: String,
    /// Family name, may be empty.
    pub family_name: String,
    /// Since when.
    pub created_at: Timestamp,
}

impl Store {
    /// The account of `email`, which is made if there is none.
    pub async fn ensure_account(&self, email: &str, now: Timestamp) -> Result<Account, StoreError> {
        query(
            "INSERT INTO accounts (id, email, created_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(Uuid::new_v4().to_string())
        .bind(email)
        .bind(millis(now))
        .change(self)
        .await?;
        let account = self.account_by_email(email).await?;
        account.ok_or_else(|| StoreError::corrupt("account", email))
    }

    /// The account of `email`.
    pub async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let row = query("SELECT * FROM accounts WHERE lower(email) = lower($1)")
            .bind(email)
            .fetch_optional(&self.database)
            .await?;
        row.as_ref().map(account).transpose()
    }

    /// The stored form of the account's password, if it has one.
    pub async fn password_hash(&self, account: AccountId) -> Result<Option<String>, StoreError> {
        let row = query("SELECT password_hash FROM accounts WHERE id = $1")
            .bind(account.to_string())
            .fetch_optional(&self.database)
            .await?;
        let row = row.ok_or_else(|| StoreError::corrupt("account", account.to_string()))?;
        Ok(row.get("password_hash")?)
    }

    /// Gives the account another password, as the form that `mse_crypto::password` makes.
    pub async fn set_password_hash(
        &self,
        account: AccountId,
        hash: &str,
    ) -> Result<(), StoreError> {
        query("UPDATE accounts SET password_hash = $2 WHERE id = $1")
            .bind(account.to_string())
            .bind(hash)
            .change(self)
            .await?;
        Ok(())
    }

    /// A token that logs the account in once, within a day.
    pub async fn issue_login_token(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Zeroizing<String>, StoreError> {
        let token = random::token();
        let mut transaction = self.begin_write().await?;
        query("DELETE FROM login_tokens WHERE expires_at <= $1")
            .bind(millis(now))
            .execute(&mut transaction)
            .await?;
        query("INSERT INTO login_tokens (digest, account_id, expires_at) VALUES ($1, $2, $3)")
            .bind(digest(&token))
            .bind(account.to_string())
            .bind(millis(now + LOGIN_TOKEN_LIFE))
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(token)
    }

    /// Whose one-time token it is. The token is used up by this.
    pub async fn redeem_login_token(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let row =
            query("DELETE FROM login_tokens WHERE digest = $1 RETURNING account_id, expires_at")
                .bind(digest(token))
                .fetch_optional_in(&mut transaction)
                .await?;
        transaction.commit().await?;
        let Some(row) = row else {
            return Ok(None);
        };
        if time(&row, "expires_at")? <= now {
            return Ok(None);
        }
        self.account(AccountId(uuid(&row, "account_id")?)).await
    }

    /// A session token of 30 days, and when it ends.
    pub async fn open_session(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<(Zeroizing<String>, Timestamp), StoreError> {
        let token = random::token();
        let expires_at = now + SESSION_LIFE;
        let mut transaction = self.begin_write().await?;
        query("DELETE FROM sessions WHERE expires_at <= $1")
            .bind(millis(now))
            .execute(&mut transaction)
            .await?;
        query(
            "INSERT INTO sessions (digest, account_id, created_at, expires_at)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(digest(&token))
        .bind(account.to_string())
        .bind(millis(now))
        .bind(millis(expires_at))
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok((token, expires_at))
    }

    /// Who holds the session token, if it is valid.
    pub async fn account_of_session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError> {
        let row = query(
            "SELECT accounts.* FROM sessions JOIN accounts ON accounts.id = sessions.account_id
             WHERE sessions.digest = $1 AND sessions.expires_at > $2",
        )
        .bind(digest(token))
        .bind(millis(now))
        .fetch_optional(&self.database)
        .await?;
        row.as_ref().map(account).transpose()
    }

    /// Ends the session of this token.
    pub async fn close_session(&self, token: &str) -> Result<(), StoreError> {
        query("DELETE FROM sessions WHERE digest = $1")
            .bind(digest(token))
            .change(self)
            .await?;
        Ok(())
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let row = query("SELECT * FROM accounts WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.database)
            .await?;
        row.as_ref().map(account).transpose()
    }
}

fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        id: AccountId(uuid(row, "id")?),
        email: row.get("email")?,
        given_name: row.get("given_name")?,
        family_name: row.get("family_name")?,
        created_at: time(row, "created_at")?,
    })
}

/// Tokens have 256 random bits: a plain digest cannot be guessed back.
fn digest(token: &str) -> String {
    Digest::of(token.as_bytes()).to_string()
}

const LOGIN_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);
const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Place, on_both};

    on_both! {
        a_login_token_works_once_and_for_a_day;
        of_many_at_once_one_logs_in_with_a_token;
        a_session_ends_by_itself_and_by_logout;
        an_email_is_one_account_in_any_case;
    }

    async fn a_login_token_works_once_and_for_a_day(place: Place) {
        let store = place.open().await.unwrap();
        let now = Timestamp::now();
        let owner = store.ensure_account("o@example.org", now).await.unwrap();
        let token = store.issue_login_token(owner.id, now).await.unwrap();
        let redeemed = store.redeem_login_token(&token, now).await.unwrap();
        assert_eq!(redeemed, Some(owner.clone()));
        assert_eq!(store.redeem_login_token(&token, now).await.unwrap(), None);

        let token = store.issue_login_token(owner.id, now).await.unwrap();
        let late = now + SignedDuration::from_hours(24);
        assert_eq!(store.redeem_login_token(&token, late).await.unwrap(), None);
    }

    async fn a_session_ends_by_itself_and_by_logout(place: Place) {
        let store = place.open().await.unwrap();
        let now = Timestamp::now();
        let owner = store.ensure_account("o@example.org", now).await.unwrap();
        let (token, expires_at) = store.open_session(owner.id, now).await.unwrap();
        let held = |at| {
            let store = store.clone();
            let token = token.clone();
            async move { store.account_of_session(&token, at).await.unwrap() }
        };
        assert_eq!(held(now).await, Some(owner));
        assert_eq!(held(expires_at).await, None);
        store.close_session(&token).await.unwrap();
        assert_eq!(held(now).await, None);
    }

    async fn of_many_at_once_one_logs_in_with_a_token(place: Place) {
        let store = place.open().await.unwrap();
        let now = Timestamp::now();
        let owner = store.ensure_account("o@example.org", now).await.unwrap();
        let token = store.issue_login_token(owner.id, now).await.unwrap();
        let tries = (0..16).map(|_| {
            let (store, token) = (store.clone(), token.clone());
            tokio::spawn(async move { store.redeem_login_token(&token, now).await.unwrap() })
        });
        let mut entered = 0;
        for attempt in tries.collect::<Vec<_>>() {
            entered += usize::from(attempt.await.unwrap().is_some());
        }
        assert_eq!(entered, 1);
    }

    async fn an_email_is_one_account_in_any_case(place: Place) {
        let store = place.open().await.unwrap();
        let now = Timestamp::now();
        let one = store.ensure_account("O@example.org", now).await.unwrap();
        let again = store.ensure_account("o@EXAMPLE.org", now).await.unwrap();
        assert_eq!(one, again);
        let found = store.account_by_email("o@example.ORG").await.unwrap();
        assert_eq!(found, Some(one));
        let other = store.account_by_email("o%@example.org").await.unwrap();
        assert_eq!(other, None);
    }

    #[tokio::test]
    async fn tokens_are_not_in_the_database() {
        let place = Place::sqlite();
        let store = place.open().await.unwrap();
        let now = Timestamp::now();
        let owner = store.ensure_account("o@example.org", now).await.unwrap();
        let login = store.issue_login_token(owner.id, now).await.unwrap();
        let (session, _) = store.open_session(owner.id, now).await.unwrap();
        store.close().await;
        for entry in std::fs::read_dir(place.folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            for token in [&login, &session] {
                let found = bytes
                    .windows(token.len())
                    .any(|window| window == token.as_bytes());
                assert!(!found);
            }
        }
    }
}
