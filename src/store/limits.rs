//! Limits that an administrator gave an account instead of models.yaml's.

use super::accounts::no_such_account;
use super::{Store, StoreFault};
use farebox_domain::ids::{AccountId, ModelId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// In the `model` column: the account as a whole. No model's id is empty.
const WHOLE_ACCOUNT: &str = "";

/// A limit of an account, or of one of its models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRow {
    /// Whose.
    pub account: AccountId,
    /// For requests to this model; `None`: for all of the account's together.
    pub model: Option<ModelId>,
    /// Requests in flight at once.
    pub concurrent_requests: u32,
}

impl Store {
    /// Gives an account, or one of its models, a limit of its own; `None` takes it away again.
    /// Errors: [`StoreFault::NoSuchAccount`].
    pub async fn set_concurrency(
        &self,
        account: &AccountId,
        model: Option<&ModelId>,
        concurrent_requests: Option<u32>,
    ) -> Result<(), StoreFault> {
        let model = model.map_or(WHOLE_ACCOUNT, ModelId::as_str);
        let query = match concurrent_requests {
            Some(limit) => sqlx::query(
                "INSERT INTO limits (account, model, concurrent_requests) VALUES (?, ?, ?)
                 ON CONFLICT (account, model) DO UPDATE SET concurrent_requests = excluded.concurrent_requests",
            )
            .bind(account.as_str())
            .bind(model)
            .bind(limit),
            None => sqlx::query("DELETE FROM limits WHERE account = ? AND model = ?")
                .bind(account.as_str())
                .bind(model),
        };
        query.execute(self.pool()).await.map_err(no_such_account)?;
        Ok(())
    }

    /// Every limit that differs from models.yaml's, by account and model.
    pub async fn limits(&self) -> Result<Vec<LimitRow>, StoreFault> {
        let rows =
            sqlx::query("SELECT account, model, concurrent_requests FROM limits ORDER BY account, model")
                .fetch_all(self.pool())
                .await?;
        let read = |row: &SqliteRow| {
            let model: &str = row.try_get("model")?;
            Ok(LimitRow {
                account: row.try_get::<&str, _>("account")?.into(),
                model: (model != WHOLE_ACCOUNT).then(|| model.into()),
                concurrent_requests: row.try_get("concurrent_requests")?,
            })
        };
        rows.iter().map(read).collect()
    }
}
