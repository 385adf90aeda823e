//! Price versions: each price that a model ever had, under a number that entries carry.

use super::database::on;
use super::row::Columns;
use super::{Store, StoreFault, column};
use farebox_domain::ids::ModelId;
use farebox_domain::price::{Price, PriceVersion, VersionedPrice};
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

const INSERT: &str = "INSERT INTO price_versions (model, price, effective_at_ms, source, created_at_ms)
    VALUES ($1, $2, $3, $4, $5) RETURNING version";
const LAST_OF_SOURCE: &str =
    "SELECT * FROM price_versions WHERE model = $1 AND source = $2 ORDER BY version DESC LIMIT 1";
const OF_MODEL: &str = "SELECT * FROM price_versions WHERE model = $1 ORDER BY version";
/// Every version, for [`by_version`].
pub(crate) const ALL_PRICES: &str = "SELECT * FROM price_versions";

/// A row that is to be.
struct New<'a> {
    model: &'a str,
    price: String,
    effective_at_ms: Option<i64>,
    source: &'static str,
    created_at_ms: i64,
}

impl<'a> New<'a> {
    fn of(
        model: &'a ModelId,
        price: &Price,
        effective_at_ms: Option<u64>,
        source: PriceSource,
        now_ms: u64,
    ) -> Result<Self, StoreFault> {
        let effective_at_ms = effective_at_ms.map(|at| column(at, "effective_at_ms"));
        Ok(Self {
            model: model.as_str(),
            price: serde_json::to_string(price).map_err(|_| StoreFault::OutOfRange("a price"))?,
            effective_at_ms: effective_at_ms.transpose()?,
            source: source.as_str(),
            created_at_ms: column(now_ms, "created_at_ms")?,
        })
    }
}

/// Inserts a row in a transaction of either database, and gives its version.
macro_rules! insert {
    ($transaction:expr, $new:expr) => {
        sqlx::query_scalar(INSERT)
            .bind($new.model)
            .bind(&$new.price)
            .bind($new.effective_at_ms)
            .bind($new.source)
            .bind($new.created_at_ms)
            .fetch_one(&mut *$transaction)
            .await
            .map(PriceVersion)
    };
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
        let source = PriceSource::Catalog;
        let new = New::of(model, price, Some(now_ms), source, now_ms)?;
        // Nobody may add a version between our look and our insert.
        let begin = self.database().begin_pricing();
        on!(self.database(), pool => {
            let mut transaction = pool.begin_with(begin).await?;
            let last = sqlx::query(LAST_OF_SOURCE)
                .bind(new.model)
                .bind(new.source)
                .fetch_optional(&mut *transaction)
                .await?;
            let unchanged = match last {
                Some(row) => read(&row)?.price == *price,
                None => false,
            };
            if !unchanged {
                insert!(transaction, new)?;
            }
            transaction.commit().await?;
        });
        Ok(())
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
        let new = New::of(model, price, effective_at_ms, source, now_ms)?;
        let begin = self.database().begin_pricing();
        on!(self.database(), pool => {
            let mut transaction = pool.begin_with(begin).await?;
            let version = insert!(transaction, new)?;
            transaction.commit().await?;
            Ok(version)
        })
    }

    /// Every version of a model's price, the oldest first.
    pub async fn prices(&self, model: &ModelId) -> Result<Vec<VersionedPrice>, StoreFault> {
        on!(self.database(), pool => {
            let rows = sqlx::query(OF_MODEL).bind(model.as_str()).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }
}

/// Every version with its model and price, as `verify` needs them, of the rows of [`ALL_PRICES`].
pub(crate) fn by_version(
    rows: &[impl Columns],
) -> Result<HashMap<PriceVersion, (ModelId, Price)>, StoreFault> {
    rows.iter()
        .map(|row| {
            let read = read(row)?;
            Ok((read.version, (row.text("model")?.into(), read.price)))
        })
        .collect()
}

fn read(row: &impl Columns) -> Result<VersionedPrice, StoreFault> {
    Ok(VersionedPrice {
        version: PriceVersion(row.integer("version")?),
        effective_at_ms: row.count_if_any("effective_at_ms")?,
        price: serde_json::from_str(row.text("price")?).map_err(|_| StoreFault::Unreadable("a price"))?,
    })
}
