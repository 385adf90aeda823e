//! A replica's outbox: what was recorded is there, in order, until the ledger has it, whatever happens in between.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop on a fault")]

mod targets;
mod records;
mod shipping;
mod damage;
mod children;
mod measure;

use crate::ledger::samples::entry;
use farebox::clock::Clock;
use farebox::ledger::{Outbox, OutboxFault};
use farebox::store::DataDirectory;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Leased, Settlement};
use farebox_domain::price::PriceVersion;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};
use std::path::Path;
use std::sync::Arc;

pub(crate) const VERSION: PriceVersion = PriceVersion(1);

/// A settlement that follows from its number.
pub(crate) fn settlement(number: u64) -> Settlement {
    Settlement {
        entry: entry(number, "acct_a", VERSION),
        leased: Leased {
            credit: true,
            account_month: number.is_multiple_of(2),
            key_month: number.is_multiple_of(3),
        },
    }
}

pub(crate) fn settlements(numbers: impl IntoIterator<Item = u64>) -> Vec<Settlement> {
    numbers.into_iter().map(settlement).collect()
}

pub(crate) fn ids(settlements: &[Settlement]) -> Vec<RequestId> {
    settlements.iter().map(|settled| settled.entry.id).collect()
}

async fn try_open(folder: &Path) -> Result<Arc<Outbox>, OutboxFault> {
    let directory = DataDirectory::claim(folder)?;
    Ok(Arc::new(Outbox::open(&directory, Clock::system()).await?))
}

async fn open(folder: &Path) -> Arc<Outbox> {
    try_open(folder).await.unwrap()
}

/// A connection that knows no rules.
async fn raw(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(folder.join("outbox.sqlite"))
        .connect()
        .await
        .unwrap()
}

/// What is in the file, in the order in which it would be shipped.
async fn kept(folder: &Path) -> Vec<Settlement> {
    let rows = sqlx::query("SELECT body FROM outbox ORDER BY seq")
        .fetch_all(&mut raw(folder).await)
        .await
        .unwrap();
    rows.iter()
        .map(|row| serde_json::from_str(row.get("body")).unwrap())
        .collect()
}

/// All that an error says, with its causes.
fn said(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
