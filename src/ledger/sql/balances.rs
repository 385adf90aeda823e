//! What accounts and keys come to, summed from roll-ups and adjustments.

use super::super::{Balance, KeySpending, LedgerFault};
use super::{Source, Sums};
use crate::store::database::{Database, on};
use crate::store::row::Columns;
use farebox_domain::ids::AccountId;
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;

/// By the account's id.
type Balances = BTreeMap<String, Balance>;

/// Of these accounts, or of all.
pub(super) async fn balances(
    database: &Database,
    accounts: Option<&[AccountId]>,
) -> Result<Vec<Balance>, LedgerFault> {
    // PostgreSQL takes no empty list.
    if accounts.is_some_and(<[_]>::is_empty) {
        return Ok(Vec::new());
    }
    let sums = Sums::of(database);
    let marks = |accounts: &[AccountId]| {
        let marks = (1..=accounts.len()).map(|number| format!("${number}"));
        format!("WHERE account IN ({})", marks.collect::<Vec<_>>().join(", "))
    };
    let of = accounts.map(marks).unwrap_or_default();
    let ids = accounts.unwrap_or_default();
    let spent = format!(
        "SELECT account, CAST(sum(requests) AS bigint) AS entries, {} FROM {} {of} GROUP BY account",
        sums.of_rollups,
        Source::coarsest(database).table,
    );
    let adjusted = format!(
        "SELECT account, {} FROM adjustments {of} GROUP BY account",
        sums.of_adjustments
    );
    let mut balances = Balances::new();
    on!(database, pool => {
        let query = ids.iter().fold(sqlx::query(AssertSqlSafe(spent)), |query, id| query.bind(id.as_str()));
        for row in &query.fetch_all(pool).await? {
            let balance = balance_of(&mut balances, row.text("account")?);
            (balance.spent, balance.entries) = (row.sum("cost")?, row.count("entries")?);
        }
        let query = ids.iter().fold(sqlx::query(AssertSqlSafe(adjusted)), |query, id| query.bind(id.as_str()));
        for row in &query.fetch_all(pool).await? {
            balance_of(&mut balances, row.text("account")?).adjusted = row.sum("amount")?;
        }
    });
    Ok(balances.into_values().collect())
}

fn balance_of<'a>(balances: &'a mut Balances, account: &str) -> &'a mut Balance {
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
        query.fetch(pool).map(|row| spending_of(&row?)).try_collect().await
    })
}

fn spending_of(row: &impl Columns) -> Result<KeySpending, LedgerFault> {
    Ok(KeySpending {
        account: row.text("account")?.into(),
        key: row.text("api_key")?.into(),
        spent: row.sum("cost")?,
    })
}
