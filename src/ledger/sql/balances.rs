//! What accounts and keys come to, summed from roll-ups and adjustments.

use super::super::{Balance, KeySpending, LedgerFault};
use super::{Source, Sums};
use crate::store::database::{Database, on};
use crate::store::row::Columns;
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;

/// By the account's id.
type Balances = BTreeMap<String, Balance>;

pub(super) async fn balances(database: &Database) -> Result<Vec<Balance>, LedgerFault> {
    let sums = Sums::of(database);
    let spent = format!(
        "SELECT account, CAST(sum(requests) AS bigint) AS entries, {} FROM {} GROUP BY account",
        sums.of_rollups,
        Source::coarsest(database).table,
    );
    let adjusted = format!(
        "SELECT account, {} FROM adjustments GROUP BY account",
        sums.of_adjustments
    );
    let mut balances = Balances::new();
    on!(database, pool => {
        for row in &sqlx::query(AssertSqlSafe(spent)).fetch_all(pool).await? {
            let balance = of(&mut balances, row.text("account")?);
            (balance.spent, balance.entries) = (row.sum("cost")?, row.count("entries")?);
        }
        for row in &sqlx::query(AssertSqlSafe(adjusted)).fetch_all(pool).await? {
            of(&mut balances, row.text("account")?).adjusted = row.sum("amount")?;
        }
    });
    Ok(balances.into_values().collect())
}

fn of<'a>(balances: &'a mut Balances, account: &str) -> &'a mut Balance {
    balances.entry(account.to_owned()).or_insert_with(|| Balance {
        account: account.into(),
        spent: Picodollars::ZERO,
        adjusted: Picodollars::ZERO,
        entries: 0,
    })
}

pub(super) async fn spent_in(database: &Database, month: Month) -> Result<Vec<KeySpending>, LedgerFault> {
    let source = Source::coarsest(database);
    let (table, time, cost) = (source.table, source.time, Sums::of(database).of_rollups);
    let sql = format!(
        "SELECT account, api_key, {cost} FROM {table}
         WHERE {time} >= $1 AND {time} < $2 GROUP BY account, api_key ORDER BY account, api_key"
    );
    let first = source.unit_at(month.starts_at_ms());
    let end = source.unit_at(month.next().starts_at_ms());
    on!(database, pool => {
        let query = sqlx::query(AssertSqlSafe(sql)).bind(first).bind(end);
        query.fetch_all(pool).await?.iter().map(spending_of).collect()
    })
}

fn spending_of(row: &impl Columns) -> Result<KeySpending, LedgerFault> {
    Ok(KeySpending {
        account: row.text("account")?.into(),
        key: row.text("api_key")?.into(),
        spent: row.sum("cost")?,
    })
}
