//! Limits that an administrator gave an account instead of models.yaml's.

use super::accounts::no_such_account;
use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault};
use farebox_domain::ids::{AccountId, ModelId};

/// In the `model` column: the account as a whole. No model's id is empty.
pub(super) const WHOLE_ACCOUNT: &str = "";

pub(super) const SET: &str = "INSERT INTO limits (account, model, concurrent_requests) VALUES ($1, $2, $3)
    ON CONFLICT (account, model) DO UPDATE SET concurrent_requests = excluded.concurrent_requests";
const UNSET: &str = "DELETE FROM limits WHERE account = $1 AND model = $2";

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
        on!(self.database(), pool => {
            let query = match concurrent_requests {
                Some(limit) => sqlx::query(SET).bind(account.as_str()).bind(model).bind(i64::from(limit)),
                None => sqlx::query(UNSET).bind(account.as_str()).bind(model),
            };
            query.execute(pool).await.map_err(no_such_account)?;
        });
        Ok(())
    }

    /// Every limit that differs from models.yaml's, by account and model.
    pub async fn limits(&self) -> Result<Vec<LimitRow>, StoreFault> {
        on!(self.database(), pool => {
            let rows = sqlx::query("SELECT * FROM limits ORDER BY account, model").fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }
}

fn read(row: &impl Columns) -> Result<LimitRow, StoreFault> {
    let model = row.text("model")?;
    let limit = row.integer("concurrent_requests")?;
    Ok(LimitRow {
        account: row.text("account")?.into(),
        model: (model != WHOLE_ACCOUNT).then(|| model.into()),
        concurrent_requests: limit.try_into().map_err(|_| StoreFault::Unreadable("a limit"))?,
    })
}
