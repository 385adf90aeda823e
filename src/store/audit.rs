//! The audit log: who changed what, when, and what it was before and after. Rows are added, and by triggers never changed.

use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};

/// A change that is to be noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The id of whoever made it.
    pub who: String,
    /// What they are called.
    pub who_name: String,
    /// What was done, for example `limits.set`.
    pub action: &'static str,
    /// To what: an id.
    pub target: String,
    /// What it was before: JSON.
    pub before: Option<String>,
    /// What it is now: JSON.
    pub after: Option<String>,
    /// The admin request that did it.
    pub request_id: String,
}

/// A change that was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number: they rise.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The id of whoever made it.
    pub who: String,
    /// What they were called.
    pub who_name: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// What it was before: JSON.
    pub before: Option<String>,
    /// What it was then: JSON.
    pub after: Option<String>,
    /// The admin request that did it.
    pub request_id: String,
}

/// Which rows are asked for: the newest first.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// Those about this.
    pub target: Option<String>,
    /// Those by this id or name.
    pub who: Option<String>,
    /// Those from this time on, in milliseconds since 1970.
    pub since_ms: u64,
    /// Those before this number.
    pub below: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

impl Store {
    /// Notes a change, durably.
    pub async fn add_audit(&self, row: &NewAudit) -> Result<(), StoreFault> {
        let sql =
            "INSERT INTO audit (at_ms, who, who_name, action, target, state_before, state_after, request_id)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        on!(self.database(), pool => {
            sqlx::query(sql)
                .bind(column(row.at_ms, "at_ms")?)
                .bind(row.who.as_str())
                .bind(row.who_name.as_str())
                .bind(row.action)
                .bind(row.target.as_str())
                .bind(row.before.as_deref())
                .bind(row.after.as_deref())
                .bind(row.request_id.as_str())
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// The changes of a page, the newest first.
    pub async fn audit(&self, page: &AuditPage) -> Result<Vec<AuditRow>, StoreFault> {
        let sql = "SELECT * FROM audit
                   WHERE ($1 IS NULL OR target = $1) AND ($2 IS NULL OR who = $2 OR who_name = $2)
                     AND at_ms >= $3 AND number < $4
                   ORDER BY number DESC LIMIT $5";
        let below = page.below.and_then(|below| i64::try_from(below).ok());
        on!(self.database(), pool => {
            let rows = sqlx::query(sql)
                .bind(page.target.as_deref())
                .bind(page.who.as_deref())
                .bind(column(page.since_ms, "since")?)
                .bind(below.unwrap_or(i64::MAX))
                .bind(i64::from(page.limit))
                .fetch_all(pool)
                .await?;
            rows.iter().map(read).collect()
        })
    }
}

fn read(row: &impl Columns) -> Result<AuditRow, StoreFault> {
    Ok(AuditRow {
        number: row.count("number")?,
        at_ms: row.count("at_ms")?,
        who: row.text("who")?.to_owned(),
        who_name: row.text("who_name")?.to_owned(),
        action: row.text("action")?.to_owned(),
        target: row.text("target")?.to_owned(),
        before: row.text_if_any("state_before")?.map(str::to_owned),
        after: row.text_if_any("state_after")?.map(str::to_owned),
        request_id: row.text("request_id")?.to_owned(),
    })
}
