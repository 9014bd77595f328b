//! Apps: their rows, and the transitions between their states.

use jiff::Timestamp;
use mse_api::AppStatus;
use mse_crypto::Digest;
use mse_workload::launch::Confinement;
use mse_workload::{AppId, Measured, Workload};

use super::{
    AccountId, ProjectId, Query, Row, Store, StoreError, Transaction, millis, number,
    optional_time, query, time, uuid,
};

/// An app as the platform knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRecord {
    /// What was asked for.
    pub app: NewApp,
    /// The loopback port of its own, once it has one.
    pub port: Option<u16>,
    /// When it began to answer.
    pub ready_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// How far it is.
    pub status: AppStatus,
    /// Why it ended, or what it is doing.
    pub status_reason: Option<String>,
    /// Why it is being stopped, once someone asked for that.
    pub stop_reason: Option<String>,
    /// What confines it.
    pub confinement: Vec<Confinement>,
}

impl AppRecord {
    /// Its id.
    pub fn id(&self) -> AppId {
        self.app.workload.app_id
    }
}

/// An app that nobody has launched yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApp {
    /// Its project.
    pub project_id: ProjectId,
    /// Whose it is.
    pub owner_id: AccountId,
    /// Unique among the project's live apps.
    pub name: String,
    /// What it runs on.
    pub hardware_name: String,
    /// The host its users open.
    pub domain_name: String,
    /// The host at which its enclave is verified and provisioned.
    pub config_domain_name: String,
    /// What is measured.
    pub workload: Workload,
    /// The owner's certificate chain as PEM.
    pub certificate_chain: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it stops by itself.
    pub expires_at: Timestamp,
}

/// What makes a repeated request the same request.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The client's key, if it sent one.
    pub key: Option<String>,
    /// Digest of everything that was asked for.
    pub request: Digest,
}

/// What came of [`Store::create_app`].
#[derive(Debug)]
pub enum Created {
    /// A new row.
    New(Box<AppRecord>),
    /// The same request was answered before: this is what it made.
    Before(Box<AppRecord>),
}

/// Why no app was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateRefused {
    /// The name is in use.
    #[error("an app named `{name}` is {status} in this project")]
    NameTaken {
        /// The name.
        name: String,
        /// How far the other one is.
        status: AppStatus,
    },
    /// The domain is in use, by anybody.
    #[error("the domain `{0}` is in use by another app")]
    DomainTaken(String),
    /// All slots are in use, or there are none.
    #[error("all {slots} slots of hardware `{name}` are in use in this project")]
    NoSlot {
        /// The hardware.
        name: String,
        /// How many slots there are.
        slots: i64,
    },
    /// The key came with another request before.
    #[error("the idempotency key `{0}` was used for another request")]
    KeyReused(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for CreateRefused {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Which apps of an owner.
#[derive(Clone, Debug, Default)]
pub struct AppFilter {
    /// Of this name.
    pub name: Option<String>,
    /// In one of these states; empty: in any.
    pub statuses: Vec<AppStatus>,
    /// In this project.
    pub project: Option<ProjectId>,
    /// Made by the request with this `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

/// A change of an app's state.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The states it may start from: from another one nothing changes.
    pub from: &'static [AppStatus],
    /// The state it ends in.
    pub to: AppStatus,
    /// Why, for the owner.
    pub reason: Option<String>,
}

/// The states of an app that has not ended.
pub const LIVE: &[AppStatus] = &[
    AppStatus::Spawning,
    AppStatus::Initializing,
    AppStatus::Running,
];

impl Store {
    /// Makes an app, unless its name, its domain or all slots of its hardware are taken. All is
    /// decided in one transaction, so that no two requests can both win.
    pub async fn create_app(
        &self,
        app: &NewApp,
        idempotency: &Idempotency,
    ) -> Result<Created, CreateRefused> {
        let mut transaction = self.begin_write().await?;
        if let Some((key, query)) = of_request(app.owner_id, idempotency)
            && let Some(row) = query.fetch_optional_in(&mut transaction).await?
        {
            let before = same_request(&row, key, idempotency)?;
            return Ok(Created::Before(Box::new(before)));
        }
        refuse_taken(&mut transaction, app).await?;
        insert(&mut transaction, app, idempotency).await?;
        record(
            &mut transaction,
            app.workload.app_id,
            None,
            AppStatus::Spawning,
            Some("accepted"),
            app.created_at,
        )
        .await?;
        if let Err(error) = transaction.commit().await
            && !self.was_stored(app.workload.app_id).await
        {
            return Err(error.into());
        }
        Ok(Created::New(Box::new(AppRecord {
            app: app.clone(),
            port: None,
            ready_at: None,
            stopped_at: None,
            status: AppStatus::Spawning,
            status_reason: Some("accepted".into()),
            stop_reason: None,
            confinement: Vec::new(),
        })))
    }

    /// Whether an app is there though its commit failed: the answer may have been lost on its way.
    /// The write lock is free only when that transaction is over.
    async fn was_stored(&self, id: AppId) -> bool {
        let look = async {
            let mut transaction = self.begin_write().await?;
            let row = query("SELECT id FROM apps WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional_in(&mut transaction)
                .await?;
            Ok::<_, StoreError>(row.is_some())
        };
        look.await.unwrap_or(false)
    }

    /// What the request of this key made before. An error if the key came with another request.
    pub async fn app_of_request(
        &self,
        owner: AccountId,
        idempotency: &Idempotency,
    ) -> Result<Option<AppRecord>, CreateRefused> {
        let Some((key, query)) = of_request(owner, idempotency) else {
            return Ok(None);
        };
        let row = query.fetch_optional(&self.database).await?;
        row.map(|row| same_request(&row, key, idempotency))
            .transpose()
    }

    /// The app, whoever owns it.
    pub async fn app(&self, id: AppId) -> Result<Option<AppRecord>, StoreError> {
        let row = query("SELECT * FROM apps WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.database)
            .await?;
        row.as_ref().map(app).transpose()
    }

    /// The app, if it is the owner's.
    pub async fn app_of_owner(
        &self,
        owner: AccountId,
        id: AppId,
    ) -> Result<Option<AppRecord>, StoreError> {
        let found = self.app(id).await?;
        Ok(found.filter(|found| found.app.owner_id == owner))
    }

    /// The owner's apps, latest first; at most 1000.
    pub async fn apps_of_owner(
        &self,
        owner: AccountId,
        filter: &AppFilter,
    ) -> Result<Vec<AppRecord>, StoreError> {
        let statuses: Vec<_> = filter.statuses.iter().map(|one| one.as_str()).collect();
        let rows = query(
            "SELECT * FROM apps WHERE owner_id = $1
                AND ($2 IS NULL OR name = $2)
                AND ($3 IS NULL OR project_id = $3)
                AND ($4 = '' OR ',' || $4 || ',' LIKE '%,' || status || ',%')
                AND ($5 IS NULL OR idempotency_key = $5)
             ORDER BY created_at DESC, id LIMIT 1000",
        )
        .bind(owner.to_string())
        .bind(filter.name.as_deref())
        .bind(filter.project.map(|project| project.to_string()))
        .bind(statuses.join(","))
        .bind(filter.idempotency_key.as_deref())
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(app).collect()
    }

    /// Every app that has not ended.
    pub async fn live_apps(&self) -> Result<Vec<AppRecord>, StoreError> {
        let rows = query(
            "SELECT * FROM apps WHERE status IN ('spawning', 'initializing', 'running')
             ORDER BY created_at",
        )
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(app).collect()
    }

    /// Moves an app to another state and records it. `false`: it was in none of the states that
    /// the transition starts from, and nothing changed.
    ///
    /// After a failure that passes, the same may be asked again: a transition that this app made at
    /// this time is not refused because it was stored after all.
    pub async fn transition(
        &self,
        id: AppId,
        transition: &Transition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin_write().await?;
        let Some(row) = query("SELECT status FROM apps WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional_in(&mut tx)
            .await?
        else {
            return Ok(false);
        };
        let from = status(&row)?;
        let to = transition.to;
        if !transition.from.contains(&from) {
            return Ok(from == to && was_recorded(&mut tx, id, to, now).await?);
        }
        query(
            "UPDATE apps SET status = $2, status_reason = $3,
                ready_at = coalesce($4, ready_at), stopped_at = coalesce($5, stopped_at)
             WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(to.as_str())
        .bind(transition.reason.as_deref())
        .bind((to == AppStatus::Running).then(|| millis(now)))
        .bind(to.is_terminated().then(|| millis(now)))
        .execute(&mut tx)
        .await?;
        record(
            &mut tx,
            id,
            Some(from),
            to,
            transition.reason.as_deref(),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Says what a live app is doing, without a change of state.
    pub async fn set_status_reason(&self, id: AppId, reason: &str) -> Result<(), StoreError> {
        query(
            "UPDATE apps SET status_reason = $2
             WHERE id = $1 AND status IN ('spawning', 'initializing', 'running')",
        )
        .bind(id.to_string())
        .bind(reason)
        .change(self)
        .await?;
        Ok(())
    }

    /// Remembers that the app is to be stopped, so that even a crash stops it. The first reason
    /// stays.
    pub async fn ask_to_stop(&self, id: AppId, reason: &str) -> Result<(), StoreError> {
        query("UPDATE apps SET stop_reason = coalesce(stop_reason, $2) WHERE id = $1")
            .bind(id.to_string())
            .bind(reason)
            .change(self)
            .await?;
        Ok(())
    }

    /// Remembers the loopback port that the app has now.
    pub async fn set_port(&self, id: AppId, port: u16) -> Result<(), StoreError> {
        query("UPDATE apps SET port = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(i64::from(port))
            .change(self)
            .await?;
        Ok(())
    }

    /// Remembers what confines the app.
    pub async fn set_confinement(
        &self,
        id: AppId,
        confinement: &[Confinement],
    ) -> Result<(), StoreError> {
        let json = serde_json::to_string(confinement)
            .map_err(|error| StoreError::corrupt("confinement", error.to_string()))?;
        query("UPDATE apps SET confinement = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(json)
            .change(self)
            .await?;
        Ok(())
    }

    /// Removes the row of an app that has ended. `false`: it has not, or there is none.
    pub async fn forget_app(&self, id: AppId) -> Result<bool, StoreError> {
        let forgotten =
            query("DELETE FROM apps WHERE id = $1 AND status IN ('on_error', 'stopped')")
                .bind(id.to_string())
                .change(self)
                .await?;
        Ok(forgotten > 0)
    }

    /// The apps that ended before `time`.
    pub async fn ended_before(&self, time: Timestamp) -> Result<Vec<AppId>, StoreError> {
        let rows = query("SELECT id FROM apps WHERE stopped_at < $1")
            .bind(millis(time))
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(|row| Ok(AppId(uuid(row, "id")?))).collect()
    }

    /// The states that an app went through, as they were recorded.
    pub async fn history(&self, id: AppId) -> Result<Vec<(AppStatus, Option<String>)>, StoreError> {
        let rows = query("SELECT to_status, reason FROM events WHERE app_id = $1 ORDER BY id")
            .bind(id.to_string())
            .fetch_all(&self.database)
            .await?;
        rows.iter()
            .map(|row| {
                let text: String = row.get("to_status")?;
                let status = AppStatus::parse(&text)
                    .ok_or_else(|| StoreError::corrupt("to_status", text))?;
                Ok((status, row.get("reason")?))
            })
            .collect()
    }
}

/// The key of a request that has one, and the statement that finds what it made.
fn of_request(owner: AccountId, idempotency: &Idempotency) -> Option<(&str, Query)> {
    let key = idempotency.key.as_deref()?;
    let sql = "SELECT * FROM apps WHERE owner_id = $1 AND idempotency_key = $2";
    Some((key, query(sql).bind(owner.to_string()).bind(key)))
}

/// What a request made that had this key.
fn same_request(
    row: &Row,
    key: &str,
    idempotency: &Idempotency,
) -> Result<AppRecord, CreateRefused> {
    let request: String = row.get("request_digest")?;
    if request != idempotency.request.to_string() {
        return Err(CreateRefused::KeyReused(key.to_owned()));
    }
    Ok(app(row)?)
}

async fn refuse_taken(transaction: &mut Transaction, app: &NewApp) -> Result<(), CreateRefused> {
    let same_name = query(
        "SELECT status FROM apps WHERE project_id = $1 AND name = $2
            AND status IN ('spawning', 'initializing', 'running')",
    )
    .bind(app.project_id.to_string())
    .bind(app.name.as_str())
    .fetch_optional_in(transaction)
    .await?;
    if let Some(row) = same_name {
        return Err(CreateRefused::NameTaken {
            name: app.name.clone(),
            status: status(&row)?,
        });
    }
    let same_domain = query(
        "SELECT id FROM apps WHERE domain_name = $1
            AND status IN ('spawning', 'initializing', 'running')",
    )
    .bind(app.domain_name.as_str())
    .fetch_optional_in(transaction)
    .await?;
    if same_domain.is_some() {
        return Err(CreateRefused::DomainTaken(app.domain_name.clone()));
    }
    let taken = query(
        "SELECT coalesce((SELECT slots FROM hardware WHERE project_id = $1 AND name = $2), 0)
                    AS slots,
                (SELECT count(*) FROM apps WHERE project_id = $1 AND hardware_name = $2
                    AND status IN ('spawning', 'initializing', 'running')) AS used",
    )
    .bind(app.project_id.to_string())
    .bind(app.hardware_name.as_str())
    .fetch_optional_in(transaction)
    .await?;
    let (slots, used): (i64, i64) = match taken {
        Some(row) => (row.get("slots")?, row.get("used")?),
        None => (0, 0),
    };
    if used >= slots {
        return Err(CreateRefused::NoSlot {
            name: app.hardware_name.clone(),
            slots,
        });
    }
    Ok(())
}

async fn insert(
    transaction: &mut Transaction,
    app: &NewApp,
    idempotency: &Idempotency,
) -> Result<(), StoreError> {
    let workload = String::from_utf8_lossy(&app.workload.canonical()).into_owned();
    query(
        "INSERT INTO apps (id, project_id, owner_id, name, hardware_name, domain_name,
            config_domain_name, workload, certificate_chain, created_at, expires_at, status,
            status_reason, idempotency_key, request_digest)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'spawning', 'accepted', $12, $13)",
    )
    .bind(app.workload.app_id.to_string())
    .bind(app.project_id.to_string())
    .bind(app.owner_id.to_string())
    .bind(app.name.as_str())
    .bind(app.hardware_name.as_str())
    .bind(app.domain_name.as_str())
    .bind(app.config_domain_name.as_str())
    .bind(workload)
    .bind(app.certificate_chain.as_deref())
    .bind(millis(app.created_at))
    .bind(millis(app.expires_at))
    .bind(idempotency.key.as_deref())
    .bind(idempotency.request.to_string())
    .execute(transaction)
    .await?;
    Ok(())
}

async fn record(
    transaction: &mut Transaction,
    id: AppId,
    from: Option<AppStatus>,
    to: AppStatus,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO events (app_id, at, from_status, to_status, reason)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id.to_string())
    .bind(millis(now))
    .bind(from.map(AppStatus::as_str))
    .bind(to.as_str())
    .bind(reason)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Whether an app came to a state at exactly this time.
async fn was_recorded(
    transaction: &mut Transaction,
    id: AppId,
    to: AppStatus,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let row = query("SELECT id FROM events WHERE app_id = $1 AND to_status = $2 AND at = $3")
        .bind(id.to_string())
        .bind(to.as_str())
        .bind(millis(at))
        .fetch_optional_in(transaction)
        .await?;
    Ok(row.is_some())
}

fn app(row: &Row) -> Result<AppRecord, StoreError> {
    let workload: String = row.get("workload")?;
    let confinement: String = row.get("confinement")?;
    let port: Option<i64> = row.get("port")?;
    Ok(AppRecord {
        app: NewApp {
            project_id: ProjectId(uuid(row, "project_id")?),
            owner_id: AccountId(uuid(row, "owner_id")?),
            name: row.get("name")?,
            hardware_name: row.get("hardware_name")?,
            domain_name: row.get("domain_name")?,
            config_domain_name: row.get("config_domain_name")?,
            workload: Workload::from_json(workload.as_bytes())
                .map_err(|error| StoreError::corrupt("workload", error.to_string()))?,
            certificate_chain: row.get("certificate_chain")?,
            created_at: time(row, "created_at")?,
            expires_at: time(row, "expires_at")?,
        },
        port: port.map(|_| number(row, "port")).transpose()?,
        ready_at: optional_time(row, "ready_at")?,
        stopped_at: optional_time(row, "stopped_at")?,
        status: status(row)?,
        status_reason: row.get("status_reason")?,
        stop_reason: row.get("stop_reason")?,
        confinement: serde_json::from_str(&confinement)
            .map_err(|error| StoreError::corrupt("confinement", error.to_string()))?,
    })
}

fn status(row: &Row) -> Result<AppStatus, StoreError> {
    let text: String = row.get("status")?;
    AppStatus::parse(&text).ok_or_else(|| StoreError::corrupt("status", text))
}

#[cfg(test)]
pub(crate) mod tests;
