//! Reading the whole ledger in one snapshot, for [`Verifier`] to recompute.

use super::super::usage::{UsageGroup, UsageSum};
use super::super::verify::{SpendingRow, Verifier};
use super::super::{LedgerFault, UsageRow, Verification};
use super::columns::{ADJUSTMENT_COLUMNS, COLUMNS, adjustment_of, describe, entry_of};
use super::{DAYS, HOURS, Source, Sums};
use crate::store::database::{Database, on};
use crate::store::prices::{ALL_PRICES, by_version};
use crate::store::row::Columns;
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use sqlx::AssertSqlSafe;

/// Rows that are held at once.
const PAGE: i64 = 1_000;

/// What differs between the databases.
struct Snapshot {
    /// Begins it. In SQLite a read transaction is one; it begins with its first SELECT.
    begin: &'static str,
    /// The roll-ups that there are.
    rollups: &'static [&'static Source],
    /// Reads what counts against ceilings and is not what roll-ups and adjustments come to; nothing where ceilings are
    /// counted in memory.
    wrong_spending: Option<&'static str>,
}

impl Snapshot {
    const fn of(database: &Database) -> Self {
        match database {
            Database::Sqlite(_) => Self {
                begin: "BEGIN",
                rollups: &[&HOURS],
                wrong_spending: None,
            },
            Database::Postgres(_) => Self {
                begin: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                rollups: &[&HOURS, &DAYS],
                wrong_spending: Some(WRONG_SPENDING),
            },
        }
    }
}

/// A ceiling whose spending is not there is one of zero, and the other way round.
const WRONG_SPENDING: &str = "
    WITH moved AS (
        SELECT account, api_key, farebox_month(day * 86400000) AS month, sum(cost) AS cost
        FROM usage_days GROUP BY 1, 2, 3
    ), expected AS (
        SELECT 'account_month' AS kind, account AS owner, month AS period, sum(cost) AS spent FROM moved GROUP BY 2, 3
        UNION ALL SELECT 'key_month', api_key, month, sum(cost) FROM moved GROUP BY 2, 3
        UNION ALL SELECT 'credit', account, 0, sum(cost) FROM (
            SELECT account, cost FROM moved UNION ALL SELECT account, -amount_picodollars FROM adjustments
        ) AS owed GROUP BY 2
    )
    SELECT kind, owner, period, coalesce(spending.spent, 0)::text AS booked, coalesce(expected.spent, 0)::text AS expected
    FROM spending FULL JOIN expected USING (kind, owner, period)
    WHERE coalesce(spending.spent, 0) <> coalesce(expected.spent, 0) ORDER BY 1, 2, 3";

pub(super) async fn verify(database: &Database) -> Result<Verification, LedgerFault> {
    let Snapshot {
        begin,
        rollups,
        wrong_spending,
    } = Snapshot::of(database);
    let adjustments = format!(
        "SELECT {} FROM adjustments ORDER BY id",
        ADJUSTMENT_COLUMNS.join(", ")
    );
    let entries = format!(
        "SELECT {} FROM entries WHERE id > $1 ORDER BY id LIMIT {PAGE}",
        COLUMNS.join(", ")
    );
    on!(database, pool => {
        let mut snapshot = pool.begin_with(begin).await?;
        let prices = sqlx::query(ALL_PRICES).fetch_all(&mut *snapshot).await?;
        let units_ms = rollups.iter().map(|source| source.unit_ms);
        let mut verifier = Verifier::new(by_version(&prices)?, units_ms);
        for row in &sqlx::query(AssertSqlSafe(adjustments)).fetch_all(&mut *snapshot).await? {
            add_adjustment(&mut verifier, row)?;
        }
        // Below every id: none.
        let mut last: Vec<u8> = Vec::new();
        loop {
            let query = sqlx::query(AssertSqlSafe(entries.as_str())).bind(last);
            let page = query.fetch_all(&mut *snapshot).await?;
            let Some(end) = page.last() else { break };
            last = end.bytes("id")?.to_vec();
            for row in &page {
                add_entry(&mut verifier, row)?;
            }
        }
        for source in rollups {
            let sql = rollups_of(source, Sums::of(database));
            for row in &sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *snapshot).await? {
                verifier.rollup(source.unit_ms, rollup_of(row, source)?);
            }
        }
        if let Some(wrong_spending) = wrong_spending {
            for row in &sqlx::query(wrong_spending).fetch_all(&mut *snapshot).await? {
                verifier.wrong_spending(wrong_spending_of(row)?);
            }
        }
        snapshot.rollback().await?;
        Ok(verifier.finish())
    })
}

fn add_adjustment(verifier: &mut Verifier, row: &impl Columns) -> Result<(), LedgerFault> {
    match adjustment_of(row) {
        Ok(adjustment) => verifier.adjustment(adjustment),
        Err(fault) => verifier.unreadable(describe(row, fault), None),
    }
}

fn add_entry(verifier: &mut Verifier, row: &impl Columns) -> Result<(), LedgerFault> {
    match entry_of(row) {
        Ok(entry) => verifier.entry(&entry),
        Err(fault) => {
            // It is rolled up all the same.
            let admitted_at_ms = row.count("admitted_at_ms").map_err(LedgerFault::from);
            let group = admitted_at_ms.and_then(|at_ms| group_of(row, at_ms));
            let rolled_up = group.ok().zip(sum_of_entry(row).ok());
            verifier.unreadable(describe(row, fault), rolled_up)
        }
    }
}

fn rollups_of(source: &Source, sums: &Sums) -> String {
    format!(
        "SELECT account, {}, api_key, model, endpoint, price_version, requests, prompt_tokens, cached_tokens,
                completion_tokens, reasoning_tokens, {} FROM {}",
        source.time, sums.of_rollup, source.table
    )
}

fn rollup_of(row: &impl Columns, source: &Source) -> Result<UsageRow, LedgerFault> {
    Ok(UsageRow {
        group: group_of(row, row.count(source.time)?.saturating_mul(source.unit_ms))?,
        sum: UsageSum {
            requests: row.count("requests")?,
            cost: row.sum("cost")?,
            ..tokens_of(row)?
        },
    })
}

fn group_of(row: &impl Columns, at_ms: u64) -> Result<UsageGroup, LedgerFault> {
    Ok(UsageGroup {
        account: Some(row.text("account")?.into()),
        key: Some(row.text("api_key")?.into()),
        model: Some(row.text("model")?.into()),
        endpoint: Some(row.text("endpoint")?.to_owned()),
        price_version: Some(PriceVersion(row.integer("price_version")?)),
        bucket_ms: Some(at_ms),
    })
}

fn sum_of_entry(row: &impl Columns) -> Result<UsageSum, LedgerFault> {
    Ok(UsageSum {
        requests: 1,
        cost: Picodollars::new(row.integer("cost_picodollars")?.into()),
        ..tokens_of(row)?
    })
}

fn tokens_of(row: &impl Columns) -> Result<UsageSum, LedgerFault> {
    Ok(UsageSum {
        prompt_tokens: row.count("prompt_tokens")?,
        cached_tokens: row.count("cached_tokens")?,
        completion_tokens: row.count("completion_tokens")?,
        reasoning_tokens: row.count("reasoning_tokens")?,
        ..UsageSum::default()
    })
}

fn wrong_spending_of(row: &impl Columns) -> Result<SpendingRow, LedgerFault> {
    Ok(SpendingRow {
        ceiling: row.text("kind")?.to_owned(),
        owner: row.text("owner")?.to_owned(),
        period: row.integer("period")?,
        booked: row.sum("booked")?,
        expected: row.sum("expected")?,
    })
}
