//! Accounts and their API keys.

use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};
use farebox_domain::ids::{AccountId, KeyId};
use farebox_domain::money::Picodollars;

/// SQLite's extended result code for a UNIQUE constraint other than the primary key's
/// (`SQLITE_CONSTRAINT_UNIQUE`).
const SQLITE_CONSTRAINT_UNIQUE: &str = "2067";
/// What PostgreSQL calls the constraint that it makes of `name text UNIQUE`.
const POSTGRES_UNIQUE_NAME: &str = "accounts_name_key";

/// An account as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Its id.
    pub id: AccountId,
    /// What people call it; no two accounts share one.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// What it may owe at most: zero is prepaid, `None` is without a ceiling.
    pub credit_limit: Option<Picodollars>,
    /// What it may spend in a calendar month (UTC); `None`: as much as it likes.
    pub monthly_limit: Option<Picodollars>,
    /// When it was closed, in milliseconds since 1970; `None`: it is not. A closed account keeps its name and its bill.
    pub closed_at_ms: Option<u64>,
}

impl AccountRow {
    /// An account that is open, without ceilings.
    pub const fn new(id: AccountId, name: String, created_at_ms: u64) -> Self {
        Self {
            id,
            name,
            created_at_ms,
            credit_limit: None,
            monthly_limit: None,
            closed_at_ms: None,
        }
    }
}

/// An API key as it is stored: never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its public name.
    pub id: KeyId,
    /// Who pays for what is done with it.
    pub account: AccountId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when it no longer holds, in milliseconds since 1970; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// When it was revoked, in milliseconds since 1970; `None`: it is not.
    pub revoked_at_ms: Option<u64>,
    /// What may be spent with it in a calendar month (UTC); `None`: as much as its account may.
    pub monthly_limit: Option<Picodollars>,
}

impl Store {
    /// Adds an account. Errors: [`StoreFault::NameTaken`].
    pub async fn create_account(&self, row: &AccountRow) -> Result<(), StoreFault> {
        let sql = "INSERT INTO accounts (id, name, created_at_ms, credit_limit_picodollars, monthly_limit_picodollars,
                                         closed_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        on!(self.database(), pool => {
            sqlx::query(sql)
                .bind(row.id.as_str())
                .bind(row.name.as_str())
                .bind(column(row.created_at_ms, "created_at_ms")?)
                .bind(amount(row.credit_limit, "credit_limit")?)
                .bind(amount(row.monthly_limit, "monthly_limit")?)
                .bind(time(row.closed_at_ms, "closed_at_ms")?)
                .execute(pool)
                .await
                .map_err(name_taken)?;
        });
        Ok(())
    }

    /// Every account, the oldest first.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, StoreFault> {
        on!(self.database(), pool => {
            let rows = sqlx::query("SELECT * FROM accounts ORDER BY created_at_ms, id").fetch_all(pool).await?;
            rows.iter().map(read_account).collect()
        })
    }

    /// Sets what an account may owe at most: zero is prepaid, `None` is without a ceiling. False if there is no such
    /// account.
    pub async fn set_credit_limit(
        &self,
        id: &AccountId,
        limit: Option<Picodollars>,
    ) -> Result<bool, StoreFault> {
        let sql = "UPDATE accounts SET credit_limit_picodollars = $1 WHERE id = $2";
        self.set(sql, amount(limit, "credit_limit")?, id.as_str()).await
    }

    /// Sets what an account may spend in a calendar month (UTC). False if there is no such account.
    pub async fn set_monthly_limit(
        &self,
        id: &AccountId,
        limit: Option<Picodollars>,
    ) -> Result<bool, StoreFault> {
        let sql = "UPDATE accounts SET monthly_limit_picodollars = $1 WHERE id = $2";
        self.set(sql, amount(limit, "monthly_limit")?, id.as_str()).await
    }

    /// Closes an account. False if there is none with this id, or if it was closed before (and keeps that time).
    pub async fn close_account(&self, id: &AccountId, at_ms: u64) -> Result<bool, StoreFault> {
        let sql = "UPDATE accounts SET closed_at_ms = $1 WHERE id = $2 AND closed_at_ms IS NULL";
        self.set(sql, Some(column(at_ms, "closed_at_ms")?), id.as_str())
            .await
    }

    /// Adds a key. Errors: [`StoreFault::NoSuchAccount`].
    pub async fn create_key(&self, row: &KeyRow) -> Result<(), StoreFault> {
        let sql =
            "INSERT INTO api_keys (id, account, name, hash, created_at_ms, expires_at_ms, revoked_at_ms,
                                         monthly_limit_picodollars)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        on!(self.database(), pool => {
            sqlx::query(sql)
                .bind(row.id.as_str())
                .bind(row.account.as_str())
                .bind(row.name.as_str())
                .bind(row.hash.as_slice())
                .bind(column(row.created_at_ms, "created_at_ms")?)
                .bind(time(row.expires_at_ms, "expires_at_ms")?)
                .bind(time(row.revoked_at_ms, "revoked_at_ms")?)
                .bind(amount(row.monthly_limit, "monthly_limit")?)
                .execute(pool)
                .await
                .map_err(no_such_account)?;
        });
        Ok(())
    }

    /// Every key, revoked and expired ones among them, the oldest first.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreFault> {
        on!(self.database(), pool => {
            let rows = sqlx::query("SELECT * FROM api_keys ORDER BY created_at_ms, id").fetch_all(pool).await?;
            rows.iter().map(read_key).collect()
        })
    }

    /// Sets what may be spent with a key in a calendar month (UTC). False if there is no such key.
    pub async fn set_key_monthly_limit(
        &self,
        id: &KeyId,
        limit: Option<Picodollars>,
    ) -> Result<bool, StoreFault> {
        let sql = "UPDATE api_keys SET monthly_limit_picodollars = $1 WHERE id = $2";
        self.set(sql, amount(limit, "monthly_limit")?, id.as_str()).await
    }

    /// Revokes a key. False if there is none with this id, or if it was revoked before (and keeps that time).
    pub async fn revoke_key(&self, id: &KeyId, at_ms: u64) -> Result<bool, StoreFault> {
        let sql = "UPDATE api_keys SET revoked_at_ms = $1 WHERE id = $2 AND revoked_at_ms IS NULL";
        self.set(sql, Some(column(at_ms, "revoked_at_ms")?), id.as_str())
            .await
    }

    /// Sets one column of the row with this id; false if there is none.
    async fn set(&self, sql: &'static str, to: Option<i64>, id: &str) -> Result<bool, StoreFault> {
        let rows = on!(self.database(), pool => {
            sqlx::query(sql).bind(to).bind(id).execute(pool).await?.rows_affected()
        });
        Ok(rows > 0)
    }
}

fn read_account(row: &impl Columns) -> Result<AccountRow, StoreFault> {
    Ok(AccountRow {
        id: row.text("id")?.into(),
        name: row.text("name")?.to_owned(),
        created_at_ms: row.count("created_at_ms")?,
        credit_limit: row.amount_if_any("credit_limit_picodollars")?,
        monthly_limit: row.amount_if_any("monthly_limit_picodollars")?,
        closed_at_ms: row.count_if_any("closed_at_ms")?,
    })
}

fn read_key(row: &impl Columns) -> Result<KeyRow, StoreFault> {
    let hash = row.bytes("hash")?;
    Ok(KeyRow {
        id: row.text("id")?.into(),
        account: row.text("account")?.into(),
        name: row.text("name")?.to_owned(),
        hash: hash
            .try_into()
            .map_err(|_| StoreFault::Unreadable("a key's hash"))?,
        created_at_ms: row.count("created_at_ms")?,
        expires_at_ms: row.count_if_any("expires_at_ms")?,
        revoked_at_ms: row.count_if_any("revoked_at_ms")?,
        monthly_limit: row.amount_if_any("monthly_limit_picodollars")?,
    })
}

pub(super) fn time(ms: Option<u64>, what: &'static str) -> Result<Option<i64>, StoreFault> {
    ms.map(|ms| column(ms, what)).transpose()
}

fn amount(limit: Option<Picodollars>, what: &'static str) -> Result<Option<i64>, StoreFault> {
    limit
        .map(|limit| limit.to_i64().map_err(|_| StoreFault::OutOfRange(what)))
        .transpose()
}

/// An account's name is its only UNIQUE column besides its id.
fn name_taken(fault: sqlx::Error) -> StoreFault {
    let is_name = fault.as_database_error().is_some_and(|refused| {
        refused.constraint() == Some(POSTGRES_UNIQUE_NAME)
            || refused.code().as_deref() == Some(SQLITE_CONSTRAINT_UNIQUE)
    });
    if is_name {
        StoreFault::NameTaken
    } else {
        fault.into()
    }
}

/// The only foreign key that a key or a limit has is its account.
pub(super) fn no_such_account(fault: sqlx::Error) -> StoreFault {
    match fault.as_database_error() {
        Some(refused) if refused.is_foreign_key_violation() => StoreFault::NoSuchAccount,
        _ => fault.into(),
    }
}
