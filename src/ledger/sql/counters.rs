//! Samples of the engines' counters.

use super::super::LedgerFault;
use super::super::counters::{CounterSample, EngineCounters, KEPT_MS};
use super::pages::bound;
use super::{SqlLedger, Write};
use crate::store::database::on;
use crate::store::row::Columns;

const KEEP: &str = "INSERT INTO engine_counters
    (engine, at_ms, replica, prompt_tokens, generation_tokens, cached_tokens, started_at_s, in_flight, failed_attempts)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";

#[async_trait::async_trait]
impl<W: Write> EngineCounters for SqlLedger<W> {
    async fn keep_counters(&self, samples: &[CounterSample]) -> Result<(), LedgerFault> {
        let Some(newest) = samples.iter().map(|sample| sample.at_ms).max() else {
            return Ok(());
        };
        on!(self.store.database(), pool => {
            let mut transaction = pool.begin().await?;
            for sample in samples {
                sqlx::query(KEEP)
                    .bind(sample.engine.as_str())
                    .bind(bound(Some(sample.at_ms)))
                    .bind(sample.replica.as_str())
                    .bind(bound(Some(sample.prompt_tokens)))
                    .bind(bound(Some(sample.generation_tokens)))
                    .bind(bound(sample.cached_tokens))
                    .bind(bound(sample.started_at_s))
                    .bind(bound(Some(sample.in_flight)))
                    .bind(bound(Some(sample.failed_attempts)))
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query("DELETE FROM engine_counters WHERE engine = $1 AND at_ms < $2")
                    .bind(sample.engine.as_str())
                    .bind(bound(Some(newest.saturating_sub(KEPT_MS))))
                    .execute(&mut *transaction)
                    .await?;
            }
            Ok(transaction.commit().await?)
        })
    }

    async fn counters(&self, since_ms: u64, until_ms: u64) -> Result<Vec<CounterSample>, LedgerFault> {
        let sql =
            "SELECT * FROM engine_counters WHERE at_ms BETWEEN $1 AND $2 ORDER BY engine, at_ms, replica";
        on!(self.store.database(), pool => {
            let query = sqlx::query(sql).bind(bound(Some(since_ms))).bind(bound(Some(until_ms)));
            query.fetch_all(pool).await?.iter().map(sample_of).collect()
        })
    }
}

fn sample_of(row: &impl Columns) -> Result<CounterSample, LedgerFault> {
    Ok(CounterSample {
        engine: row.text("engine")?.into(),
        at_ms: row.count("at_ms")?,
        replica: row.text("replica")?.to_owned(),
        prompt_tokens: row.count("prompt_tokens")?,
        generation_tokens: row.count("generation_tokens")?,
        cached_tokens: row.count_if_any("cached_tokens")?,
        started_at_s: row.count_if_any("started_at_s")?,
        in_flight: row.count("in_flight")?,
        failed_attempts: row.count("failed_attempts")?,
    })
}
