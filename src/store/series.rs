//! What processes counted, for charts, and what each is doing, for whoever looks at all of them.

use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};

/// What a process counted from `at_ms` on for `step_seconds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRow {
    /// 60 or 3600.
    pub step_seconds: u64,
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which process.
    pub process: String,
    /// JSON.
    pub counted: String,
}

/// A process that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRow {
    /// Which: as long as its data directory lives where there are several, else of one start.
    pub process: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// When it last said so.
    pub seen_at_ms: u64,
    /// What it is doing: JSON.
    pub live: String,
}

impl Store {
    /// Notes what was counted; what the process noted before of the same time is replaced.
    pub async fn note_series(&self, row: &SeriesRow) -> Result<(), StoreFault> {
        let sql = "INSERT INTO series (step_seconds, at_ms, process, counted) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (step_seconds, at_ms, process) DO UPDATE SET counted = excluded.counted";
        let (step, at_ms) = (
            column(row.step_seconds, "step_seconds")?,
            column(row.at_ms, "at_ms")?,
        );
        on!(self.database(), pool => {
            sqlx::query(sql)
                .bind(step)
                .bind(at_ms)
                .bind(row.process.as_str())
                .bind(row.counted.as_str())
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// What was counted in steps of this length from then on, by time.
    pub async fn series(&self, step_seconds: u64, from_ms: u64) -> Result<Vec<SeriesRow>, StoreFault> {
        let sql = "SELECT * FROM series WHERE step_seconds = $1 AND at_ms >= $2 ORDER BY at_ms, process";
        let (step, from_ms) = (column(step_seconds, "step_seconds")?, column(from_ms, "from_ms")?);
        on!(self.database(), pool => {
            let rows = sqlx::query(sql).bind(step).bind(from_ms).fetch_all(pool).await?;
            rows.iter().map(read_series).collect()
        })
    }

    /// Forgets what was counted in steps of this length before then.
    pub async fn forget_series(&self, step_seconds: u64, before_ms: u64) -> Result<(), StoreFault> {
        let (step, before_ms) = (
            column(step_seconds, "step_seconds")?,
            column(before_ms, "before_ms")?,
        );
        on!(self.database(), pool => {
            sqlx::query("DELETE FROM series WHERE step_seconds = $1 AND at_ms < $2").bind(step).bind(before_ms).execute(pool).await?;
        });
        Ok(())
    }

    /// Notes that a process lives, and what it is doing; those that have said nothing since `forget_before_ms` are forgotten.
    pub async fn note_process(&self, row: &ProcessRow, forget_before_ms: u64) -> Result<(), StoreFault> {
        let sql =
            "INSERT INTO live_processes (process, started_at_ms, seen_at_ms, live) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (process) DO UPDATE SET started_at_ms = excluded.started_at_ms,
                       seen_at_ms = excluded.seen_at_ms, live = excluded.live";
        let times = (
            column(row.started_at_ms, "started_at_ms")?,
            column(row.seen_at_ms, "seen_at_ms")?,
        );
        let forget_before_ms = column(forget_before_ms, "forget_before_ms")?;
        on!(self.database(), pool => {
            sqlx::query(sql)
                .bind(row.process.as_str())
                .bind(times.0)
                .bind(times.1)
                .bind(row.live.as_str())
                .execute(pool)
                .await?;
            sqlx::query("DELETE FROM live_processes WHERE seen_at_ms < $1").bind(forget_before_ms).execute(pool).await?;
        });
        Ok(())
    }

    /// Notes that a process is over.
    pub async fn forget_process(&self, process: &str) -> Result<(), StoreFault> {
        on!(self.database(), pool => {
            sqlx::query("DELETE FROM live_processes WHERE process = $1").bind(process).execute(pool).await?;
        });
        Ok(())
    }

    /// The processes that said since then that they live.
    pub async fn processes(&self, seen_since_ms: u64) -> Result<Vec<ProcessRow>, StoreFault> {
        let since_ms = column(seen_since_ms, "seen_since_ms")?;
        on!(self.database(), pool => {
            let sql = "SELECT * FROM live_processes WHERE seen_at_ms >= $1 ORDER BY started_at_ms, process";
            let rows = sqlx::query(sql).bind(since_ms).fetch_all(pool).await?;
            rows.iter().map(read_process).collect()
        })
    }
}

fn read_series(row: &impl Columns) -> Result<SeriesRow, StoreFault> {
    Ok(SeriesRow {
        step_seconds: row.count("step_seconds")?,
        at_ms: row.count("at_ms")?,
        process: row.text("process")?.to_owned(),
        counted: row.text("counted")?.to_owned(),
    })
}

fn read_process(row: &impl Columns) -> Result<ProcessRow, StoreFault> {
    Ok(ProcessRow {
        process: row.text("process")?.to_owned(),
        started_at_ms: row.count("started_at_ms")?,
        seen_at_ms: row.count("seen_at_ms")?,
        live: row.text("live")?.to_owned(),
    })
}
