//! API keys: who made them for whom, what they may do, and the hashes of their secrets.

use super::accounts::{amount, no_such_account, time};
use super::database::{Database, on};
use super::packed::Packed;
use super::row::Columns;
use super::{Store, StoreFault, column};
use farebox_domain::ids::{AccountId, KeyId};
use farebox_domain::key::{KeyRights, ModelGlob, Scopes, parse_net, show_net};
use farebox_domain::money::Picodollars;
use futures_util::TryStreamExt;

/// What tells whether an HMAC-SHA-256 was made with a secret: SHA-256's states after the secret's inner and outer block.
/// It makes such HMACs as well, and it is not the secret.
pub type JwtVerifier = [u8; 64];

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
    /// What it may do.
    pub rights: KeyRights,
    /// The secret that it had before, while that holds too.
    pub previous: Option<PreviousSecret>,
    /// By what tokens are told that are signed with the secret; `None`: it signs none.
    pub jwt_verifier: Option<JwtVerifier>,
}

/// A secret that was replaced and holds until the replacement is everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// SHA-256 of it.
    pub hash: [u8; 32],
    /// Until when it holds, in milliseconds since 1970.
    pub until_ms: u64,
    /// By what tokens are told that are signed with it.
    pub jwt_verifier: Option<JwtVerifier>,
}

impl KeyRow {
    /// A key that holds until it is revoked, with the rights of a key of which nothing else was said.
    pub fn new(id: KeyId, account: AccountId, name: String, hash: [u8; 32], created_at_ms: u64) -> Self {
        Self {
            id,
            account,
            name,
            hash,
            created_at_ms,
            expires_at_ms: None,
            revoked_at_ms: None,
            monthly_limit: None,
            rights: KeyRights::default(),
            previous: None,
            jwt_verifier: None,
        }
    }
}

/// All that can be changed of a key, but its revocation and its monthly limit, which are changed by themselves.
const CHANGE: &str = "UPDATE api_keys SET name = $1, hash = $2, expires_at_ms = $3, scopes = $4, allowed_models = $5,
           allowed_ips = $6, concurrent_requests = $7, previous_hash = $8, overlap_until_ms = $9, jwt_verifier = $10,
           previous_jwt_verifier = $11
     WHERE id = $12";
/// What is read of all of them.
const PACKED: Packed = Packed {
    table: "api_keys",
    columns: &[
        ("id", false),
        ("account", false),
        ("name", false),
        ("hash", true),
        ("created_at_ms", false),
        ("expires_at_ms", false),
        ("revoked_at_ms", false),
        ("monthly_limit_picodollars", false),
        ("scopes", false),
        ("allowed_models", false),
        ("allowed_ips", false),
        ("concurrent_requests", false),
        ("previous_hash", true),
        ("overlap_until_ms", false),
        ("jwt_verifier", true),
        ("previous_jwt_verifier", true),
    ],
};
/// No other change of the key comes between.
const BEGIN: &str = "UPDATE api_keys SET id = id WHERE id = $1";

/// Writes what can be changed of a key, on a connection to either database.
macro_rules! write_row {
    ($row:expr, $connection:expr) => {{
        let row = &$row;
        let previous = row.previous.as_ref();
        sqlx::query(CHANGE)
            .bind(row.name.as_str())
            .bind(row.hash.as_slice())
            .bind(time(row.expires_at_ms, "expires_at_ms")?)
            .bind(row.rights.scopes.to_string())
            .bind(lines(
                row.rights
                    .allowed_models
                    .iter()
                    .map(|glob| glob.as_str().to_owned()),
            ))
            .bind(lines(row.rights.allowed_ips.iter().map(show_net)))
            .bind(row.rights.concurrent_requests.map(i64::from))
            .bind(previous.map(|previous| previous.hash.as_slice()))
            .bind(time(
                previous.map(|previous| previous.until_ms),
                "overlap_until_ms",
            )?)
            .bind(row.jwt_verifier.as_ref().map(|verifier| verifier.as_slice()))
            .bind(previous.and_then(|previous| Some(previous.jwt_verifier.as_ref()?.as_slice())))
            .bind(row.id.as_str())
            .execute($connection)
            .await?;
    }};
}

impl Store {
    /// Adds a key. Errors: [`StoreFault::NoSuchAccount`].
    pub async fn create_key(&self, row: &KeyRow) -> Result<(), StoreFault> {
        let sql = "INSERT INTO api_keys (id, account, created_at_ms, revoked_at_ms, monthly_limit_picodollars, name, hash)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        on!(self.database(), pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(sql)
                .bind(row.id.as_str())
                .bind(row.account.as_str())
                .bind(column(row.created_at_ms, "created_at_ms")?)
                .bind(time(row.revoked_at_ms, "revoked_at_ms")?)
                .bind(amount(row.monthly_limit, "monthly_limit")?)
                .bind(row.name.as_str())
                .bind(row.hash.as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(no_such_account)?;
            write_row!(row, &mut *transaction);
            transaction.commit().await?;
        });
        Ok(())
    }

    /// Hands over every key, revoked and expired ones among them, in the order of their ids.
    ///
    /// One after the other: a million rows at once are a gigabyte.
    pub async fn each_key(&self, mut take: impl FnMut(KeyRow) + Send) -> Result<(), StoreFault> {
        match self.database() {
            Database::Sqlite(opened) => {
                let each = PACKED.each(&opened.pool, |row| {
                    take(read(row)?);
                    Ok(())
                });
                each.await
            }
            Database::Postgres(opened) => {
                let mut rows = sqlx::query("SELECT * FROM api_keys ORDER BY id").fetch(&opened.pool);
                while let Some(row) = rows.try_next().await? {
                    take(read(&row)?);
                }
                Ok(())
            }
        }
    }

    /// The same, for who wants them all at once, the oldest first.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreFault> {
        let mut keys = Vec::new();
        self.each_key(|row| keys.push(row)).await?;
        keys.sort_by(|a, b| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
        Ok(keys)
    }

    /// Changes a key as `change` says, of what the store has of it and of nothing older, and returns what it is then.
    /// `None` where there is no such key; `Err` inside where `change` refuses, and then nothing is changed. Its monthly
    /// limit and its revocation are not changed by this.
    pub async fn change_key<E>(
        &self,
        id: &KeyId,
        change: impl FnOnce(&mut KeyRow) -> Result<(), E>,
    ) -> Result<Option<Result<KeyRow, E>>, StoreFault> {
        on!(self.database(), pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(BEGIN).bind(id.as_str()).execute(&mut *transaction).await?;
            let found = sqlx::query("SELECT * FROM api_keys WHERE id = $1")
                .bind(id.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(found) = found else {
                return Ok(None);
            };
            let mut row = read(&found)?;
            if let Err(refusal) = change(&mut row) {
                return Ok(Some(Err(refusal)));
            }
            write_row!(row, &mut *transaction);
            transaction.commit().await?;
            Ok(Some(Ok(row)))
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
}

fn lines(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.collect();
    (!items.is_empty()).then(|| items.join("\n"))
}

fn read(row: &impl Columns) -> Result<KeyRow, StoreFault> {
    Ok(KeyRow {
        id: row.text("id")?.into(),
        account: row.text("account")?.into(),
        name: row.text("name")?.to_owned(),
        hash: exactly(row.bytes("hash")?, "a key's hash")?,
        created_at_ms: row.count("created_at_ms")?,
        expires_at_ms: row.count_if_any("expires_at_ms")?,
        revoked_at_ms: row.count_if_any("revoked_at_ms")?,
        monthly_limit: row.amount_if_any("monthly_limit_picodollars")?,
        rights: read_rights(row)?,
        previous: read_previous(row)?,
        jwt_verifier: verifier(row, "jwt_verifier")?,
    })
}

/// What cannot be read is an error: a key whose limits are not known must not be without limits.
fn read_rights(row: &impl Columns) -> Result<KeyRights, StoreFault> {
    let of_lines = |name| Ok::<_, StoreFault>(row.text_if_any(name)?.unwrap_or_default().lines());
    let models = of_lines("allowed_models")?.map(|line| ModelGlob::try_from(line.to_owned()).ok());
    let ips = of_lines("allowed_ips")?.map(parse_net);
    let concurrent = row.integer_if_any("concurrent_requests")?;
    let unreadable = StoreFault::Unreadable;
    Ok(KeyRights {
        scopes: Scopes::parse(row.text("scopes")?).ok_or(unreadable("a key's scopes"))?,
        allowed_models: models
            .collect::<Option<_>>()
            .ok_or(unreadable("a key's models"))?,
        allowed_ips: ips
            .collect::<Option<_>>()
            .ok_or(unreadable("a key's addresses"))?,
        concurrent_requests: concurrent
            .map(|limit| limit.try_into().map_err(|_| unreadable("a key's limit")))
            .transpose()?,
    })
}

fn read_previous(row: &impl Columns) -> Result<Option<PreviousSecret>, StoreFault> {
    let until_ms = row.count_if_any("overlap_until_ms")?;
    let Some((hash, until_ms)) = row.bytes_if_any("previous_hash")?.zip(until_ms) else {
        return Ok(None);
    };
    Ok(Some(PreviousSecret {
        hash: exactly(hash, "a key's previous hash")?,
        until_ms,
        jwt_verifier: verifier(row, "previous_jwt_verifier")?,
    }))
}

fn verifier(row: &impl Columns, name: &'static str) -> Result<Option<JwtVerifier>, StoreFault> {
    row.bytes_if_any(name)?
        .map(|bytes| exactly(bytes, "a key's verifier"))
        .transpose()
}

fn exactly<const LENGTH: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; LENGTH], StoreFault> {
    bytes.try_into().map_err(|_| StoreFault::Unreadable(what))
}
