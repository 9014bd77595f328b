//! Projects, and the hardware they may use.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{AccountId, Row, Store, StoreError, millis, number, query, time, uuid};

/// Which project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProjectId(pub Uuid);

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What apps are grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRecord {
    /// Its id.
    pub id: ProjectId,
    /// Its name, unique for an owner.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whose it is.
    pub owner_id: AccountId,
    /// Whether it is the one used when none is named.
    pub is_default: bool,
    /// Since when.
    pub created_at: Timestamp,
}

/// A size of enclave that a project has slots of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareRecord {
    /// Such as `4g-eu-001`.
    pub name: String,
    /// How many apps of it at once.
    pub slots: u32,
    /// Memory in GiB, for people.
    pub memory_gib: u32,
    /// Thousandths of a core.
    pub millicores: u32,
    /// Enclave memory in MiB.
    pub enclave_size_mib: u32,
    /// An app on it lives at most this long.
    pub max_life: Option<SignedDuration>,
}

impl HardwareRecord {
    /// The free size that every project has one of.
    pub fn free() -> Self {
        Self {
            name: "4g-eu-001".into(),
            slots: 1,
            memory_gib: 4,
            millicores: 2000,
            enclave_size_mib: 4096,
            max_life: Some(SignedDuration::from_hours(4)),
        }
    }
}

/// Hardware that the operator gives to the default project: `NAME=COUNT:MEMORY_MIB:CORES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareGrant(pub HardwareRecord);

impl FromStr for HardwareGrant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidGrant(text.chars().take(80).collect());
        let (name, size) = text.split_once('=').ok_or_else(invalid)?;
        let mut parts = size.split(':');
        let (Some(slots), Some(memory), Some(cores), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let slots = slots.parse().map_err(|_| invalid())?;
        let enclave_size_mib: u32 = memory.parse().map_err(|_| invalid())?;
        let millicores = millicores(cores).ok_or_else(invalid)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) || slots == 0 || enclave_size_mib < 64 {
            return Err(invalid());
        }
        Ok(Self(HardwareRecord {
            name: name.to_owned(),
            slots,
            memory_gib: enclave_size_mib.div_ceil(1024),
            millicores,
            enclave_size_mib,
            max_life: None,
        }))
    }
}

/// `2`, `0.5` or `1.250` cores as thousandths, without a detour through floats.
fn millicores(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u32 = format!("{fraction:0<3}").parse().ok()?;
    let whole: u32 = whole.parse().ok()?;
    let all = whole.checked_mul(1000)?.checked_add(thousandths)?;
    (all > 0).then_some(all)
}

/// The text is no grant of hardware.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a hardware: write `NAME=COUNT:MEMORY_MIB:CORES`, such as `8g-local=2:8192:4`, with at least 64 MiB"
)]
pub struct InvalidGrant(String);

impl Store {
    /// The project of this name and owner, which is made if there is none.
    pub async fn ensure_project(
        &self,
        owner: AccountId,
        name: &str,
        is_default: DefaultProject,
        now: Timestamp,
    ) -> Result<ProjectRecord, StoreError> {
        query(
            "INSERT INTO projects (id, name, owner_id, is_default, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (owner_id, name) DO NOTHING",
        )
        .bind(Uuid::new_v4().to_string())
        .bind(name)
        .bind(owner.to_string())
        .bind(i64::from(is_default == DefaultProject::Yes))
        .bind(millis(now))
        .change(self)
        .await?;
        let projects = self.projects(owner, Some(name)).await?;
        projects
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::corrupt("project", name))
    }

    /// The owner's projects, or the one of this name.
    pub async fn projects(
        &self,
        owner: AccountId,
        name: Option<&str>,
    ) -> Result<Vec<ProjectRecord>, StoreError> {
        let rows = query(
            "SELECT * FROM projects WHERE owner_id = $1 AND ($2 IS NULL OR name = $2)
             ORDER BY created_at, id",
        )
        .bind(owner.to_string())
        .bind(name)
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(project).collect()
    }

    /// Gives a project hardware, or changes what it has of that name.
    pub async fn grant_hardware(
        &self,
        project: ProjectId,
        hardware: &HardwareRecord,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO hardware (project_id, name, slots, memory_gib, millicores,
                                   enclave_size_mib, max_life_seconds)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (project_id, name) DO UPDATE SET
                slots = excluded.slots, memory_gib = excluded.memory_gib,
                millicores = excluded.millicores, enclave_size_mib = excluded.enclave_size_mib,
                max_life_seconds = excluded.max_life_seconds",
        )
        .bind(project.to_string())
        .bind(hardware.name.as_str())
        .bind(i64::from(hardware.slots))
        .bind(i64::from(hardware.memory_gib))
        .bind(i64::from(hardware.millicores))
        .bind(i64::from(hardware.enclave_size_mib))
        .bind(hardware.max_life.map(|life| life.as_secs()))
        .change(self)
        .await?;
        Ok(())
    }

    /// A project's hardware, by name.
    pub async fn hardware(&self, project: ProjectId) -> Result<Vec<HardwareRecord>, StoreError> {
        let rows = query("SELECT * FROM hardware WHERE project_id = $1")
            .bind(project.to_string())
            .fetch_all(&self.database)
            .await?;
        let mut all: Vec<_> = rows.iter().map(hardware).collect::<Result<_, _>>()?;
        // Not by the database, which may sort as its language does.
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The hardware of this name in any project of the owner.
    pub async fn hardware_of_owner(
        &self,
        owner: AccountId,
        name: &str,
    ) -> Result<Option<HardwareRecord>, StoreError> {
        let row = query(
            "SELECT hardware.* FROM hardware JOIN projects ON projects.id = hardware.project_id
             WHERE projects.owner_id = $1 AND hardware.name = $2
             ORDER BY projects.is_default DESC, projects.created_at LIMIT 1",
        )
        .bind(owner.to_string())
        .bind(name)
        .fetch_optional(&self.database)
        .await?;
        row.as_ref().map(hardware).transpose()
    }
}

/// Whether a project is the one used when none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultProject {
    /// It is.
    Yes,
    /// It must be named.
    No,
}

fn project(row: &Row) -> Result<ProjectRecord, StoreError> {
    Ok(ProjectRecord {
        id: ProjectId(uuid(row, "id")?),
        name: row.get("name")?,
        description: row.get("description")?,
        owner_id: AccountId(uuid(row, "owner_id")?),
        is_default: number::<i64>(row, "is_default")? != 0,
        created_at: time(row, "created_at")?,
    })
}

fn hardware(row: &Row) -> Result<HardwareRecord, StoreError> {
    let max_life: Option<i64> = row.get("max_life_seconds")?;
    Ok(HardwareRecord {
        name: row.get("name")?,
        slots: number(row, "slots")?,
        memory_gib: number(row, "memory_gib")?,
        millicores: number(row, "millicores")?,
        enclave_size_mib: number(row, "enclave_size_mib")?,
        max_life: max_life.map(SignedDuration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_strictly() {
        let HardwareGrant(granted) = "8g-local=2:8192:1.5".parse().unwrap();
        assert_eq!(granted.name, "8g-local");
        assert_eq!(granted.slots, 2);
        assert_eq!(granted.memory_gib, 8);
        assert_eq!(granted.enclave_size_mib, 8192);
        assert_eq!(granted.millicores, 1500);
        assert_eq!(granted.max_life, None);
        for bad in [
            "8g",
            "8g=",
            "8g=1",
            "8g=1:2",
            "8g=1:8192:1:1",
            "=1:8192:1",
            "8g=0:8192:1",
            "8g=1:8192:0",
            "8g=1:8192:-1",
            "8g=1:8192:1.0005",
            "8g=1:63:1",
            "8 g=1:8192:1",
        ] {
            let error = bad.parse::<HardwareGrant>().unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}
