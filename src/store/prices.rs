//! Price versions: each price that a model ever had, under a number that entries carry.

use super::{Store, StoreFault, column};
use farebox_domain::ids::ModelId;
use farebox_domain::price::{Price, PriceVersion, TokenPrice};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, SqliteTransaction};
use std::collections::HashMap;

impl Store {
    /// The version of this price of this model: the model's newest one if its price is the same, otherwise a new
    /// one. A price that returns after another gets a new version: versions are a history.
    /// Errors: [`StoreFault::OutOfRange`] for a price or time above 64 signed bits.
    pub async fn price_version(
        &self,
        model: &ModelId,
        price: &Price,
        now_ms: u64,
    ) -> Result<PriceVersion, StoreFault> {
        // Immediate: nobody may add a version between our look and our insert.
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let newest = newest(&mut transaction, model).await?;
        let version = match newest {
            Some((version, its_price)) if its_price == *price => version,
            _ => insert(&mut transaction, model, price, now_ms).await?,
        };
        transaction.commit().await?;
        Ok(version)
    }
}

async fn newest(
    transaction: &mut SqliteTransaction<'_>,
    model: &ModelId,
) -> Result<Option<(PriceVersion, Price)>, StoreFault> {
    sqlx::query("SELECT * FROM price_versions WHERE model = ? ORDER BY version DESC LIMIT 1")
        .bind(model.as_str())
        .fetch_optional(&mut **transaction)
        .await?
        .map(|row| read(&row))
        .transpose()
}

async fn insert(
    transaction: &mut SqliteTransaction<'_>,
    model: &ModelId,
    price: &Price,
    now_ms: u64,
) -> Result<PriceVersion, StoreFault> {
    let of = |price: TokenPrice| column(price.picodollars(), "a price");
    let inserted = sqlx::query(
        "INSERT INTO price_versions
         (model, input_picodollars, cached_input_picodollars, output_picodollars, created_at_ms)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(model.as_str())
    .bind(of(price.input)?)
    .bind(price.cached_input.map(of).transpose()?)
    .bind(of(price.output)?)
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
            let (version, price) = read(row)?;
            Ok((version, (row.try_get::<&str, _>("model")?.into(), price)))
        })
        .collect()
}

fn read(row: &SqliteRow) -> Result<(PriceVersion, Price), StoreFault> {
    let cached: Option<u64> = row.try_get("cached_input_picodollars")?;
    let price = Price {
        input: TokenPrice::from_picodollars(row.try_get("input_picodollars")?),
        cached_input: cached.map(TokenPrice::from_picodollars),
        output: TokenPrice::from_picodollars(row.try_get("output_picodollars")?),
    };
    Ok((PriceVersion(row.try_get("version")?), price))
}
