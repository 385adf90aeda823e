//! Price versions: each price that a model ever had, under a number that entries carry.

use super::{Store, StoreFault, column};
use farebox_domain::ids::ModelId;
use farebox_domain::price::{Price, PriceVersion, VersionedPrice};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqliteTransaction};
use std::collections::HashMap;

/// Who made a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// It stood in models.yaml at a start.
    Catalog,
    /// An administrator gave it.
    Admin,
    /// It never held: past requests are rerated by it.
    Rerate,
}

impl PriceSource {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "models.yaml",
            Self::Admin => "admin",
            Self::Rerate => "rerate",
        }
    }
}

impl Store {
    /// The price that stands in models.yaml. If it is not the one that stood there when it was last read, it becomes a
    /// new version, which holds from now on; otherwise nothing happens, so that a price which an administrator gave
    /// since then goes on holding.
    pub async fn note_catalog_price(
        &self,
        model: &ModelId,
        price: &Price,
        now_ms: u64,
    ) -> Result<(), StoreFault> {
        // Immediate: nobody may add a version between our look and our insert.
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let last = sqlx::query(
            "SELECT * FROM price_versions WHERE model = ? AND source = ? ORDER BY version DESC LIMIT 1",
        )
        .bind(model.as_str())
        .bind(PriceSource::Catalog.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let unchanged = match last {
            Some(row) => read(&row)?.price == *price,
            None => false,
        };
        if !unchanged {
            insert(
                &mut transaction,
                model,
                price,
                Some(now_ms),
                PriceSource::Catalog,
                now_ms,
            )
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Adds a version of a model's price, which holds from `effective_at_ms` on; `None`: never by itself.
    pub async fn add_price(
        &self,
        model: &ModelId,
        price: &Price,
        effective_at_ms: Option<u64>,
        source: PriceSource,
        now_ms: u64,
    ) -> Result<PriceVersion, StoreFault> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let version = insert(&mut transaction, model, price, effective_at_ms, source, now_ms).await?;
        transaction.commit().await?;
        Ok(version)
    }

    /// Every version of a model's price, the oldest first.
    pub async fn prices(&self, model: &ModelId) -> Result<Vec<VersionedPrice>, StoreFault> {
        let rows = sqlx::query("SELECT * FROM price_versions WHERE model = ? ORDER BY version")
            .bind(model.as_str())
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(read).collect()
    }
}

async fn insert(
    transaction: &mut SqliteTransaction<'_>,
    model: &ModelId,
    price: &Price,
    effective_at_ms: Option<u64>,
    source: PriceSource,
    now_ms: u64,
) -> Result<PriceVersion, StoreFault> {
    let price = serde_json::to_string(price).map_err(|_| StoreFault::OutOfRange("a price"))?;
    let inserted = sqlx::query(
        "INSERT INTO price_versions (model, price, effective_at_ms, source, created_at_ms) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(model.as_str())
    .bind(price)
    .bind(effective_at_ms.map(|at| column(at, "effective_at_ms")).transpose()?)
    .bind(source.as_str())
    .bind(column(now_ms, "created_at_ms")?)
    .execute(&mut **transaction)
    .await?;
    Ok(PriceVersion(inserted.last_insert_rowid()))
}

/// Every version with its model and price, as `verify` needs them, on a connection that is inside a snapshot.
pub(crate) async fn all_prices(
    connection: &mut SqliteConnection,
) -> Result<HashMap<PriceVersion, (ModelId, Price)>, StoreFault> {
    let rows = sqlx::query("SELECT * FROM price_versions")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let read = read(row)?;
            Ok((
                read.version,
                (row.try_get::<&str, _>("model")?.into(), read.price),
            ))
        })
        .collect()
}

fn read(row: &SqliteRow) -> Result<VersionedPrice, StoreFault> {
    let price: &str = row.try_get("price")?;
    Ok(VersionedPrice {
        version: PriceVersion(row.try_get("version")?),
        effective_at_ms: row.try_get("effective_at_ms")?,
        price: serde_json::from_str(price).map_err(|_| StoreFault::Unreadable("a price"))?,
    })
}
