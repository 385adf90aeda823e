//! What owners ask for: higher limits. One is open for an account at a time, and is decided once.

use super::accounts::no_such_account;
use super::database::on;
use super::limits::{SET, WHOLE_ACCOUNT};
use super::row::Columns;
use super::{Store, StoreFault, column};
use farebox_domain::ids::{AccountId, KeyId};
use std::str::FromStr;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// Nothing yet.
    Open,
    /// It was granted, perhaps with another number.
    Approved,
    /// It was not.
    Declined,
}

impl RequestState {
    /// Its name in the store and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Declined => "declined",
        }
    }
}

impl FromStr for RequestState {
    type Err = StoreFault;

    fn from_str(text: &str) -> Result<Self, StoreFault> {
        let all = [Self::Open, Self::Approved, Self::Declined];
        all.into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(StoreFault::Unreadable("a request's state"))
    }
}

/// A request for a higher limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRequestRow {
    /// Its id.
    pub id: String,
    /// For which account.
    pub account: AccountId,
    /// The key that asked.
    pub key: KeyId,
    /// Requests in flight at once that are asked for.
    pub rate_limit: u32,
    /// Tokens a minute that are asked for.
    pub tpm_rate_limit: Option<u64>,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// What became of it.
    pub state: RequestState,
    /// When it was decided.
    pub decided_at_ms: Option<u64>,
    /// Who decided, by name.
    pub decided_by: Option<String>,
    /// What they say to it.
    pub note: Option<String>,
    /// Requests in flight at once that were given.
    pub granted: Option<u32>,
}

/// A decision.
#[derive(Debug, Clone)]
pub struct Decision {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// By whom.
    pub by: String,
    /// What they say to it.
    pub note: String,
    /// Requests in flight at once that are given; `None` declines.
    pub granted: Option<u32>,
}

impl LimitRequestRow {
    /// Where it stands in a list.
    pub fn age(&self) -> (u64, String) {
        (self.created_at_ms, self.id.clone())
    }
}

impl Store {
    /// Adds a request. False if one of the account's is open already. Errors: [`StoreFault::NoSuchAccount`].
    pub async fn create_limit_request(&self, row: &LimitRequestRow) -> Result<bool, StoreFault> {
        let sql = "INSERT INTO limit_requests (id, account, api_key, rate_limit, tpm_rate_limit, reason, created_at_ms, state)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, 'open') ON CONFLICT DO NOTHING";
        let tokens = row
            .tpm_rate_limit
            .map(|limit| column(limit, "tpm_rate_limit"))
            .transpose()?;
        let added = on!(self.database(), pool => {
            sqlx::query(sql)
                .bind(row.id.as_str())
                .bind(row.account.as_str())
                .bind(row.key.as_str())
                .bind(i64::from(row.rate_limit))
                .bind(tokens)
                .bind(row.reason.as_str())
                .bind(column(row.created_at_ms, "created_at_ms")?)
                .execute(pool)
                .await
                .map_err(no_such_account)?
                .rows_affected()
        });
        Ok(added > 0)
    }

    /// At most `most` requests of an account or of all, in one state or in any, that come behind `after`: the newest first.
    pub async fn limit_requests(
        &self,
        account: Option<&AccountId>,
        state: Option<RequestState>,
        after: Option<&(u64, String)>,
        most: usize,
    ) -> Result<Vec<LimitRequestRow>, StoreFault> {
        let sql =
            "SELECT * FROM limit_requests WHERE ($1 IS NULL OR account = $1) AND ($2 IS NULL OR state = $2)
                   AND ($3 IS NULL OR (created_at_ms, id) < ($3, $4))
                   ORDER BY created_at_ms DESC, id DESC LIMIT $5";
        let after_ms = after.map(|(at_ms, _)| column(*at_ms, "created_at_ms"));
        let after_ms = after_ms.transpose()?;
        let after_id = after.map_or("", |(_, id)| id);
        on!(self.database(), pool => {
            let rows = sqlx::query(sql)
                .bind(account.map(AccountId::as_str))
                .bind(state.map(RequestState::as_str))
                .bind(after_ms)
                .bind(after_id)
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .fetch_all(pool)
                .await?;
            rows.iter().map(read).collect()
        })
    }

    /// The request with this id.
    pub async fn limit_request(&self, id: &str) -> Result<Option<LimitRequestRow>, StoreFault> {
        on!(self.database(), pool => {
            let row = sqlx::query("SELECT * FROM limit_requests WHERE id = $1").bind(id).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// Decides a request that is open, and gives the account what is granted, both or neither. False if it is not open.
    pub async fn decide_limit_request(
        &self,
        id: &str,
        account: &AccountId,
        decision: &Decision,
    ) -> Result<bool, StoreFault> {
        let sql = "UPDATE limit_requests SET state = $1, decided_at_ms = $2, decided_by = $3, note = $4, granted = $5
                   WHERE id = $6 AND state = 'open'";
        let state = match decision.granted {
            Some(_) => RequestState::Approved,
            None => RequestState::Declined,
        };
        on!(self.database(), pool => {
            let mut transaction = pool.begin().await?;
            let decided = sqlx::query(sql)
                .bind(state.as_str())
                .bind(column(decision.at_ms, "decided_at_ms")?)
                .bind(decision.by.as_str())
                .bind(decision.note.as_str())
                .bind(decision.granted.map(i64::from))
                .bind(id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if let Some(granted) = decision.granted.filter(|_| decided > 0) {
                sqlx::query(SET)
                    .bind(account.as_str())
                    .bind(WHOLE_ACCOUNT)
                    .bind(i64::from(granted))
                    .execute(&mut *transaction)
                    .await
                    .map_err(no_such_account)?;
            }
            transaction.commit().await?;
            Ok(decided > 0)
        })
    }
}

fn read(row: &impl Columns) -> Result<LimitRequestRow, StoreFault> {
    let limit = |number: u64| u32::try_from(number).map_err(|_| StoreFault::Unreadable("a request's limit"));
    Ok(LimitRequestRow {
        id: row.text("id")?.to_owned(),
        account: row.text("account")?.into(),
        key: row.text("api_key")?.into(),
        rate_limit: limit(row.count("rate_limit")?)?,
        tpm_rate_limit: row.count_if_any("tpm_rate_limit")?,
        reason: row.text("reason")?.to_owned(),
        created_at_ms: row.count("created_at_ms")?,
        state: row.text("state")?.parse()?,
        decided_at_ms: row.count_if_any("decided_at_ms")?,
        decided_by: row.text_if_any("decided_by")?.map(str::to_owned),
        note: row.text_if_any("note")?.map(str::to_owned),
        granted: row.count_if_any("granted")?.map(limit).transpose()?,
    })
}
