//! Requests and tokens a minute that an administrator gave an account or a key.

use super::accounts::no_such_account;
use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};
use farebox_domain::ids::{AccountId, KeyId};

/// In the `api_key` column: the account as a whole. No key's id is empty.
const WHOLE_ACCOUNT: &str = "";

const SET: &str =
    "INSERT INTO rates (account, api_key, requests_per_minute, tokens_per_minute) VALUES ($1, $2, $3, $4)
    ON CONFLICT (account, api_key) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,
        tokens_per_minute = excluded.tokens_per_minute";
const UNSET: &str = "DELETE FROM rates WHERE account = $1 AND api_key = $2";

/// The rates of an account, or of one of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateRow {
    /// Whose.
    pub account: AccountId,
    /// Of this key; `None`: of the account as a whole.
    pub key: Option<KeyId>,
    /// Requests a minute; `None`: none of its own.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute; `None`: none of its own.
    pub tokens_per_minute: Option<u64>,
}

impl Store {
    /// Sets both rates of an account or a key; a row without a number is taken away.
    /// Errors: [`StoreFault::NoSuchAccount`].
    pub async fn set_rates(&self, row: &RateRow) -> Result<(), StoreFault> {
        let (account, key) = (
            row.account.as_str(),
            row.key.as_ref().map_or(WHOLE_ACCOUNT, KeyId::as_str),
        );
        let number = |rate: Option<u64>| rate.map(|rate| column(rate, "a rate")).transpose();
        let (requests, tokens) = (number(row.requests_per_minute)?, number(row.tokens_per_minute)?);
        on!(self.database(), pool => {
            let query = match (requests, tokens) {
                (None, None) => sqlx::query(UNSET).bind(account).bind(key),
                _ => sqlx::query(SET).bind(account).bind(key).bind(requests).bind(tokens),
            };
            query.execute(pool).await.map_err(no_such_account)?;
        });
        Ok(())
    }

    /// All of them, by account and key.
    pub async fn rates(&self) -> Result<Vec<RateRow>, StoreFault> {
        on!(self.database(), pool => {
            let rows = sqlx::query("SELECT * FROM rates ORDER BY account, api_key").fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }
}

fn read(row: &impl Columns) -> Result<RateRow, StoreFault> {
    let key = row.text("api_key")?;
    Ok(RateRow {
        account: row.text("account")?.into(),
        key: (key != WHOLE_ACCOUNT).then(|| key.into()),
        requests_per_minute: row.count_if_any("requests_per_minute")?,
        tokens_per_minute: row.count_if_any("tokens_per_minute")?,
    })
}
