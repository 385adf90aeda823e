//! Who is signed in to the dashboard. Replicas share them; none is asked about a request for inference.

use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};

/// A session as it is stored: never its cookie, nor the secret that opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// SHA-256 of the cookie.
    pub hash: [u8; 32],
    /// SHA-256 of the key or token that opened it.
    pub credential: [u8; 32],
    /// When it was opened, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when it no longer holds.
    pub expires_at_ms: u64,
}

impl Store {
    /// Adds a session, and forgets those that are over at its beginning.
    pub async fn create_session(&self, row: &SessionRow) -> Result<(), StoreFault> {
        let sql =
            "INSERT INTO sessions (hash, credential, created_at_ms, expires_at_ms) VALUES ($1, $2, $3, $4)";
        let created_at_ms = column(row.created_at_ms, "created_at_ms")?;
        let expires_at_ms = column(row.expires_at_ms, "expires_at_ms")?;
        on!(self.database(), pool => {
            sqlx::query("DELETE FROM sessions WHERE expires_at_ms <= $1").bind(created_at_ms).execute(pool).await?;
            sqlx::query(sql)
                .bind(row.hash.as_slice())
                .bind(row.credential.as_slice())
                .bind(created_at_ms)
                .bind(expires_at_ms)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// The session with this cookie's hash, over or not.
    pub async fn session(&self, hash: &[u8; 32]) -> Result<Option<SessionRow>, StoreFault> {
        on!(self.database(), pool => {
            let row = sqlx::query("SELECT * FROM sessions WHERE hash = $1").bind(hash.as_slice()).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// Ends a session. One that is not there has ended.
    pub async fn end_session(&self, hash: &[u8; 32]) -> Result<(), StoreFault> {
        on!(self.database(), pool => {
            sqlx::query("DELETE FROM sessions WHERE hash = $1").bind(hash.as_slice()).execute(pool).await?;
        });
        Ok(())
    }
}

fn read(row: &impl Columns) -> Result<SessionRow, StoreFault> {
    let hash = |name| -> Result<[u8; 32], StoreFault> {
        let bytes = row.bytes(name)?.try_into();
        bytes.map_err(|_| StoreFault::Unreadable("a session's hash"))
    };
    Ok(SessionRow {
        hash: hash("hash")?,
        credential: hash("credential")?,
        created_at_ms: row.count("created_at_ms")?,
        expires_at_ms: row.count("expires_at_ms")?,
    })
}
