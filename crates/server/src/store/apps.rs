//! Apps: their rows, and the transitions between their states.

use jiff::Timestamp;
use mse_api::AppStatus;
use mse_crypto::Digest;
use mse_workload::launch::Confinement;
use mse_workload::{AppId, Measured, Workload};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::{AccountId, ProjectId, Store, StoreError, millis, number, optional_time, time, uuid};

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
        if let Some(before) = same_request(&mut transaction, app.owner_id, idempotency).await? {
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
        transaction.commit().await?;
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

    /// What the request of this key made before. An error if the key came with another request.
    pub async fn app_of_request(
        &self,
        owner: AccountId,
        idempotency: &Idempotency,
    ) -> Result<Option<AppRecord>, CreateRefused> {
        let mut transaction = self.pool.begin().await?;
        same_request(&mut transaction, owner, idempotency).await
    }

    /// The app, whoever owns it.
    pub async fn app(&self, id: AppId) -> Result<Option<AppRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM apps WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
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
        let rows = sqlx::query(
            "SELECT * FROM apps WHERE owner_id = $1
                AND ($2 IS NULL OR name = $2)
                AND ($3 IS NULL OR project_id = $3)
                AND ($4 = '' OR instr(',' || $4 || ',', ',' || status || ',') > 0)
                AND ($5 IS NULL OR idempotency_key = $5)
             ORDER BY created_at DESC, id LIMIT 1000",
        )
        .bind(owner.to_string())
        .bind(filter.name.as_deref())
        .bind(filter.project.map(|project| project.to_string()))
        .bind(statuses.join(","))
        .bind(filter.idempotency_key.as_deref())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(app).collect()
    }

    /// Every app that has not ended.
    pub async fn live_apps(&self) -> Result<Vec<AppRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM apps WHERE status IN ('spawning', 'initializing', 'running')
             ORDER BY created_at",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(app).collect()
    }

    /// Moves an app to another state and records it. `false`: it was in none of the states that
    /// the transition starts from, and nothing changed.
    pub async fn transition(
        &self,
        id: AppId,
        transition: &Transition,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin_write().await?;
        let Some(row) = sqlx::query("SELECT status FROM apps WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await?
        else {
            return Ok(false);
        };
        let from = status(&row)?;
        if !transition.from.contains(&from) {
            return Ok(false);
        }
        let to = transition.to;
        sqlx::query(
            "UPDATE apps SET status = $2, status_reason = $3,
                ready_at = coalesce($4, ready_at), stopped_at = coalesce($5, stopped_at)
             WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(to.as_str())
        .bind(transition.reason.as_deref())
        .bind((to == AppStatus::Running).then(|| millis(now)))
        .bind(to.is_terminated().then(|| millis(now)))
        .execute(&mut *tx)
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
        sqlx::query(
            "UPDATE apps SET status_reason = $2
             WHERE id = $1 AND status IN ('spawning', 'initializing', 'running')",
        )
        .bind(id.to_string())
        .bind(reason)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Remembers that the app is to be stopped, so that even a crash stops it. The first reason
    /// stays.
    pub async fn ask_to_stop(&self, id: AppId, reason: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE apps SET stop_reason = coalesce(stop_reason, $2) WHERE id = $1")
            .bind(id.to_string())
            .bind(reason)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Remembers the loopback port that the app has now.
    pub async fn set_port(&self, id: AppId, port: u16) -> Result<(), StoreError> {
        sqlx::query("UPDATE apps SET port = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(i64::from(port))
            .execute(&self.pool)
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
        sqlx::query("UPDATE apps SET confinement = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(json)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes the row of an app that has ended. `false`: it has not, or there is none.
    pub async fn forget_app(&self, id: AppId) -> Result<bool, StoreError> {
        let done =
            sqlx::query("DELETE FROM apps WHERE id = $1 AND status IN ('on_error', 'stopped')")
                .bind(id.to_string())
                .execute(&self.pool)
                .await?;
        Ok(done.rows_affected() > 0)
    }

    /// The apps that ended before `time`.
    pub async fn ended_before(&self, time: Timestamp) -> Result<Vec<AppId>, StoreError> {
        let rows = sqlx::query("SELECT id FROM apps WHERE stopped_at < $1")
            .bind(millis(time))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok(AppId(uuid(row, "id")?))).collect()
    }

    /// The states that an app went through, as they were recorded.
    pub async fn history(&self, id: AppId) -> Result<Vec<(AppStatus, Option<String>)>, StoreError> {
        let rows =
            sqlx::query("SELECT to_status, reason FROM events WHERE app_id = $1 ORDER BY id")
                .bind(id.to_string())
                .fetch_all(&self.pool)
                .await?;
        rows.iter()
            .map(|row| {
                let text: String = row.try_get("to_status")?;
                let status = AppStatus::parse(&text)
                    .ok_or_else(|| StoreError::corrupt("to_status", text))?;
                Ok((status, row.try_get("reason")?))
            })
            .collect()
    }
}

async fn same_request(
    transaction: &mut Transaction<'_, Sqlite>,
    owner: AccountId,
    idempotency: &Idempotency,
) -> Result<Option<AppRecord>, CreateRefused> {
    let Some(key) = &idempotency.key else {
        return Ok(None);
    };
    let row = sqlx::query("SELECT * FROM apps WHERE owner_id = $1 AND idempotency_key = $2")
        .bind(owner.to_string())
        .bind(key)
        .fetch_optional(&mut **transaction)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let request: String = row.try_get("request_digest")?;
    if request != idempotency.request.to_string() {
        return Err(CreateRefused::KeyReused(key.clone()));
    }
    Ok(Some(app(&row)?))
}

async fn refuse_taken(
    transaction: &mut Transaction<'_, Sqlite>,
    app: &NewApp,
) -> Result<(), CreateRefused> {
    let same_name = sqlx::query(
        "SELECT status FROM apps WHERE project_id = $1 AND name = $2
            AND status IN ('spawning', 'initializing', 'running')",
    )
    .bind(app.project_id.to_string())
    .bind(&app.name)
    .fetch_optional(&mut **transaction)
    .await?;
    if let Some(row) = same_name {
        return Err(CreateRefused::NameTaken {
            name: app.name.clone(),
            status: status(&row)?,
        });
    }
    let same_domain = sqlx::query(
        "SELECT id FROM apps WHERE domain_name = $1
            AND status IN ('spawning', 'initializing', 'running')",
    )
    .bind(&app.domain_name)
    .fetch_optional(&mut **transaction)
    .await?;
    if same_domain.is_some() {
        return Err(CreateRefused::DomainTaken(app.domain_name.clone()));
    }
    let row = sqlx::query(
        "SELECT coalesce((SELECT slots FROM hardware WHERE project_id = $1 AND name = $2), 0)
                    AS slots,
                (SELECT count(*) FROM apps WHERE project_id = $1 AND hardware_name = $2
                    AND status IN ('spawning', 'initializing', 'running')) AS used",
    )
    .bind(app.project_id.to_string())
    .bind(&app.hardware_name)
    .fetch_one(&mut **transaction)
    .await?;
    let (slots, used): (i64, i64) = (row.try_get("slots")?, row.try_get("used")?);
    if used >= slots {
        return Err(CreateRefused::NoSlot {
            name: app.hardware_name.clone(),
            slots,
        });
    }
    Ok(())
}

async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    app: &NewApp,
    idempotency: &Idempotency,
) -> Result<(), StoreError> {
    let workload = String::from_utf8_lossy(&app.workload.canonical()).into_owned();
    sqlx::query(
        "INSERT INTO apps (id, project_id, owner_id, name, hardware_name, domain_name,
            config_domain_name, workload, certificate_chain, created_at, expires_at, status,
            status_reason, idempotency_key, request_digest)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'spawning', 'accepted', $12, $13)",
    )
    .bind(app.workload.app_id.to_string())
    .bind(app.project_id.to_string())
    .bind(app.owner_id.to_string())
    .bind(&app.name)
    .bind(&app.hardware_name)
    .bind(&app.domain_name)
    .bind(&app.config_domain_name)
    .bind(workload)
    .bind(app.certificate_chain.as_deref())
    .bind(millis(app.created_at))
    .bind(millis(app.expires_at))
    .bind(idempotency.key.as_deref())
    .bind(idempotency.request.to_string())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn record(
    transaction: &mut Transaction<'_, Sqlite>,
    id: AppId,
    from: Option<AppStatus>,
    to: AppStatus,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO events (app_id, at, from_status, to_status, reason)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id.to_string())
    .bind(millis(now))
    .bind(from.map(AppStatus::as_str))
    .bind(to.as_str())
    .bind(reason)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn app(row: &SqliteRow) -> Result<AppRecord, StoreError> {
    let workload: String = row.try_get("workload")?;
    let confinement: String = row.try_get("confinement")?;
    let port: Option<i64> = row.try_get("port")?;
    Ok(AppRecord {
        app: NewApp {
            project_id: ProjectId(uuid(row, "project_id")?),
            owner_id: AccountId(uuid(row, "owner_id")?),
            name: row.try_get("name")?,
            hardware_name: row.try_get("hardware_name")?,
            domain_name: row.try_get("domain_name")?,
            config_domain_name: row.try_get("config_domain_name")?,
            workload: Workload::from_json(workload.as_bytes())
                .map_err(|error| StoreError::corrupt("workload", error.to_string()))?,
            certificate_chain: row.try_get("certificate_chain")?,
            created_at: time(row, "created_at")?,
            expires_at: time(row, "expires_at")?,
        },
        port: port.map(|_| number(row, "port")).transpose()?,
        ready_at: optional_time(row, "ready_at")?,
        stopped_at: optional_time(row, "stopped_at")?,
        status: status(row)?,
        status_reason: row.try_get("status_reason")?,
        stop_reason: row.try_get("stop_reason")?,
        confinement: serde_json::from_str(&confinement)
            .map_err(|error| StoreError::corrupt("confinement", error.to_string()))?,
    })
}

fn status(row: &SqliteRow) -> Result<AppStatus, StoreError> {
    let text: String = row.try_get("status")?;
    AppStatus::parse(&text).ok_or_else(|| StoreError::corrupt("status", text))
}

#[cfg(test)]
pub(crate) mod tests;
