//! Which loopback port an app had last.

use mse_workload::TlsOrigin;

use super::{ProjectId, Store, StoreError, number, query};

impl Store {
    /// The port that the app of this name and origin had last.
    pub async fn last_port(
        &self,
        project: ProjectId,
        name: &str,
        origin: TlsOrigin,
    ) -> Result<Option<u16>, StoreError> {
        let row =
            query("SELECT port FROM ports WHERE project_id = $1 AND name = $2 AND origin = $3")
                .bind(project.to_string())
                .bind(name)
                .bind(origin.to_string())
                .fetch_optional(&self.database)
                .await?;
        row.as_ref().map(|row| number(row, "port")).transpose()
    }

    /// Keeps the port for the next app of this name and origin.
    pub async fn keep_port(
        &self,
        project: ProjectId,
        name: &str,
        origin: TlsOrigin,
        port: u16,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO ports (project_id, name, origin, port) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project_id, name, origin) DO UPDATE SET port = excluded.port",
        )
        .bind(project.to_string())
        .bind(name)
        .bind(origin.to_string())
        .bind(i64::from(port))
        .change(self)
        .await?;
        Ok(())
    }

    /// Every port that is kept for some app.
    pub async fn kept_ports(&self) -> Result<Vec<u16>, StoreError> {
        let rows = query("SELECT DISTINCT port FROM ports")
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(|row| number(row, "port")).collect()
    }
}
