//! Samples of the engines' counters in SQLite.

use super::super::LedgerFault;
use super::super::counters::{CounterSample, EngineCounters, KEPT_MS};
use super::SqliteLedger;
use super::query::bound;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row};

#[async_trait::async_trait]
impl EngineCounters for SqliteLedger {
    async fn keep_counters(&self, samples: &[CounterSample]) -> Result<(), LedgerFault> {
        let Some(newest) = samples.iter().map(|sample| sample.at_ms).max() else {
            return Ok(());
        };
        self.write(async |writer| {
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            for sample in samples {
                sqlx::query(
                    "INSERT INTO engine_counters VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                )
                .bind(sample.engine.as_str())
                .bind(bound(Some(sample.at_ms)))
                .bind(bound(Some(sample.prompt_tokens)))
                .bind(bound(Some(sample.generation_tokens)))
                .bind(bound(sample.cached_tokens))
                .bind(bound(sample.started_at_s))
                .bind(bound(Some(sample.in_flight)))
                .bind(bound(Some(sample.failed_attempts)))
                .execute(&mut *transaction)
                .await?;
                sqlx::query("DELETE FROM engine_counters WHERE engine = ? AND at_ms < ?")
                    .bind(sample.engine.as_str())
                    .bind(bound(Some(newest.saturating_sub(KEPT_MS))))
                    .execute(&mut *transaction)
                    .await?;
            }
            Ok(transaction.commit().await?)
        })
        .await
    }

    async fn counters(&self, since_ms: u64, until_ms: u64) -> Result<Vec<CounterSample>, LedgerFault> {
        let rows =
            sqlx::query("SELECT * FROM engine_counters WHERE at_ms BETWEEN ? AND ? ORDER BY engine, at_ms")
                .bind(bound(Some(since_ms)))
                .bind(bound(Some(until_ms)))
                .fetch_all(self.store.pool())
                .await?;
        rows.iter().map(sample_of).collect()
    }
}

fn sample_of(row: &SqliteRow) -> Result<CounterSample, LedgerFault> {
    Ok(CounterSample {
        engine: row.try_get::<&str, _>("engine")?.into(),
        at_ms: row.try_get("at_ms")?,
        prompt_tokens: row.try_get("prompt_tokens")?,
        generation_tokens: row.try_get("generation_tokens")?,
        cached_tokens: row.try_get("cached_tokens")?,
        started_at_s: row.try_get("started_at_s")?,
        in_flight: row.try_get("in_flight")?,
        failed_attempts: row.try_get("failed_attempts")?,
    })
}
