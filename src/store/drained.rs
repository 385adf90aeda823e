//! Engines that get no new request until they are restored, whichever replica is asked and however often it starts.

use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};
use farebox_domain::ids::EngineName;

impl Store {
    /// Notes that an engine is drained. Again is no fault: it stays drained since the first time.
    pub async fn drain_engine(&self, engine: &EngineName, at_ms: u64, by: &str) -> Result<(), StoreFault> {
        let sql = "INSERT INTO drained_engines (engine, since_ms, drained_by) VALUES ($1, $2, $3)
                   ON CONFLICT (engine) DO NOTHING";
        let at_ms = column(at_ms, "since_ms")?;
        on!(self.database(), pool => {
            sqlx::query(sql).bind(engine.as_str()).bind(at_ms).bind(by).execute(pool).await?;
        });
        Ok(())
    }

    /// Notes that an engine is drained no more.
    pub async fn restore_engine(&self, engine: &EngineName) -> Result<(), StoreFault> {
        on!(self.database(), pool => {
            sqlx::query("DELETE FROM drained_engines WHERE engine = $1").bind(engine.as_str()).execute(pool).await?;
        });
        Ok(())
    }

    /// Every engine that is drained.
    pub async fn drained_engines(&self) -> Result<Vec<EngineName>, StoreFault> {
        on!(self.database(), pool => {
            let rows = sqlx::query("SELECT engine FROM drained_engines ORDER BY engine").fetch_all(pool).await?;
            rows.iter().map(|row| Ok(row.text("engine")?.into())).collect()
        })
    }
}
