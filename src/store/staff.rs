//! Tokens of those who administer.

use super::accounts::time;
use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};
use farebox_domain::role::Role;

/// An admin token as it is stored: never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTokenRow {
    /// Its public name.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What may be done with it.
    pub role: Role,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when it no longer holds, in milliseconds since 1970; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// When it was revoked, in milliseconds since 1970; `None`: it is not.
    pub revoked_at_ms: Option<u64>,
}

impl Store {
    /// Adds a token.
    pub async fn create_admin_token(&self, row: &AdminTokenRow) -> Result<(), StoreFault> {
        let sql =
            "INSERT INTO admin_tokens (id, name, role, hash, created_at_ms, expires_at_ms, revoked_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        on!(self.database(), pool => {
            sqlx::query(sql)
                .bind(row.id.as_str())
                .bind(row.name.as_str())
                .bind(row.role.as_str())
                .bind(row.hash.as_slice())
                .bind(column(row.created_at_ms, "created_at_ms")?)
                .bind(time(row.expires_at_ms, "expires_at_ms")?)
                .bind(time(row.revoked_at_ms, "revoked_at_ms")?)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Every token, revoked and expired ones among them, the oldest first.
    pub async fn admin_tokens(&self) -> Result<Vec<AdminTokenRow>, StoreFault> {
        on!(self.database(), pool => {
            let rows = sqlx::query("SELECT * FROM admin_tokens ORDER BY created_at_ms, id").fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// Revokes a token. False if there is none with this id, or if it was revoked before (and keeps that time).
    pub async fn revoke_admin_token(&self, id: &str, at_ms: u64) -> Result<bool, StoreFault> {
        let sql = "UPDATE admin_tokens SET revoked_at_ms = $1 WHERE id = $2 AND revoked_at_ms IS NULL";
        let at_ms = column(at_ms, "revoked_at_ms")?;
        let rows = on!(self.database(), pool => {
            sqlx::query(sql).bind(at_ms).bind(id).execute(pool).await?.rows_affected()
        });
        Ok(rows > 0)
    }
}

fn read(row: &impl Columns) -> Result<AdminTokenRow, StoreFault> {
    let role = row.text("role")?.parse();
    let hash = row.bytes("hash")?.try_into();
    Ok(AdminTokenRow {
        id: row.text("id")?.to_owned(),
        name: row.text("name")?.to_owned(),
        role: role.map_err(|_| StoreFault::Unreadable("a token's role"))?,
        hash: hash.map_err(|_| StoreFault::Unreadable("a token's hash"))?,
        created_at_ms: row.count("created_at_ms")?,
        expires_at_ms: row.count_if_any("expires_at_ms")?,
        revoked_at_ms: row.count_if_any("revoked_at_ms")?,
    })
}
