//! The statements about leases, each on a connection that whoever asks has.

use super::super::super::{LedgerFault, Scope};
use farebox_domain::money::Picodollars;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

/// Returns for how long it had said nothing, in milliseconds.
pub(super) async fn say_alive(connection: &mut PgConnection, replica: &str) -> Result<i64, LedgerFault> {
    let silent = sqlx::query_scalar(
        "WITH before AS (SELECT seen_at_ms FROM replicas WHERE id = $1)
         INSERT INTO replicas (id, seen_at_ms) VALUES ($1, farebox_now_ms())
         ON CONFLICT (id) DO UPDATE SET seen_at_ms = excluded.seen_at_ms
         RETURNING coalesce(seen_at_ms - (SELECT seen_at_ms FROM before), 0)",
    )
    .bind(replica)
    .fetch_one(connection)
    .await?;
    Ok(silent)
}

/// What is spent of a ceiling, with its row locked until the transaction ends.
pub(super) async fn lock_spent(
    connection: &mut PgConnection,
    scope: &Scope,
) -> Result<Picodollars, LedgerFault> {
    for sql in [
        "INSERT INTO spending (kind, owner, period, spent) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING",
        "SELECT spent::text AS spent FROM spending WHERE kind = $1 AND owner = $2 AND period = $3 FOR UPDATE",
    ] {
        let row = sqlx::query(sql)
            .bind(scope.kind())
            .bind(scope.owner())
            .bind(i64::from(scope.period()))
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = row {
            return amount(&row, "spent");
        }
    }
    Err(LedgerFault::Unreadable("what was spent"))
}

/// Where a ceiling is now; `None` where there is none.
pub(super) async fn limit_of(
    connection: &mut PgConnection,
    scope: &Scope,
) -> Result<Option<Picodollars>, LedgerFault> {
    let sql = match scope {
        Scope::Credit(_) => "SELECT credit_limit_picodollars FROM accounts WHERE id = $1",
        Scope::AccountMonth(..) => "SELECT monthly_limit_picodollars FROM accounts WHERE id = $1",
        Scope::KeyMonth(..) => "SELECT monthly_limit_picodollars FROM api_keys WHERE id = $1",
    };
    let limit: Option<Option<i64>> = sqlx::query_scalar(sql)
        .bind(scope.owner())
        .fetch_optional(connection)
        .await?;
    Ok(limit.flatten().map(|limit| Picodollars::new(limit.into())))
}

/// What is leased to all, what of it to others, and whether any of those was told to give back and has not answered.
/// One that has died is not waited for.
pub(super) async fn leases_of(
    connection: &mut PgConnection,
    scope: &Scope,
    replica: &str,
) -> Result<(Picodollars, Picodollars, bool), LedgerFault> {
    let row = sqlx::query(
        "SELECT coalesce(sum(leased), 0)::text AS leased,
                coalesce(sum(leased) FILTER (WHERE replica <> $4 AND seen_at_ms > farebox_now_ms() - 3000), 0)::text
                    AS others,
                coalesce(bool_or(recalled AND replica <> $4 AND seen_at_ms > farebox_now_ms() - 3000), false)
                    AS outstanding
         FROM leases JOIN replicas ON replicas.id = leases.replica
         WHERE kind = $1 AND owner = $2 AND period = $3",
    )
    .bind(scope.kind())
    .bind(scope.owner())
    .bind(i64::from(scope.period()))
    .bind(replica)
    .fetch_one(connection)
    .await?;
    Ok((
        amount(&row, "leased")?,
        amount(&row, "others")?,
        row.try_get("outstanding")?,
    ))
}

/// Returns all that was ever granted of it.
pub(super) async fn add_lease(
    connection: &mut PgConnection,
    scope: &Scope,
    replica: &str,
    granted: Picodollars,
) -> Result<Picodollars, LedgerFault> {
    let row = sqlx::query(
        "INSERT INTO leases (kind, owner, period, replica, leased, granted)
         VALUES ($1, $2, $3, $4, $5::text::numeric, $5::text::numeric)
         ON CONFLICT (kind, owner, period, replica) DO UPDATE
            SET leased = leases.leased + excluded.leased, granted = leases.granted + excluded.granted
         RETURNING granted::text AS granted",
    )
    .bind(scope.kind())
    .bind(scope.owner())
    .bind(i64::from(scope.period()))
    .bind(replica)
    .bind(granted.get().to_string())
    .fetch_one(connection)
    .await?;
    amount(&row, "granted")
}

/// Makes this all that was ever given back of a lease, if it was less, and returns all that was ever granted of it; `None` if
/// there is no lease.
pub(super) async fn set_returned(
    connection: &mut PgConnection,
    scope: &Scope,
    replica: &str,
    returned: Picodollars,
) -> Result<Option<Picodollars>, LedgerFault> {
    let row = sqlx::query(
        "UPDATE leases SET leased = greatest(leased - greatest($5::text::numeric - returned, 0), 0),
                           returned = greatest(returned, $5::text::numeric)
         WHERE kind = $1 AND owner = $2 AND period = $3 AND replica = $4
         RETURNING granted::text AS granted",
    )
    .bind(scope.kind())
    .bind(scope.owner())
    .bind(i64::from(scope.period()))
    .bind(replica)
    .bind(returned.get().to_string())
    .fetch_optional(connection)
    .await?;
    row.map(|row| amount(&row, "granted")).transpose()
}

pub(super) async fn answer_recall(
    connection: &mut PgConnection,
    scope: &Scope,
    replica: &str,
) -> Result<(), LedgerFault> {
    sqlx::query(
        "UPDATE leases SET recalled = false
         WHERE kind = $1 AND owner = $2 AND period = $3 AND replica = $4 AND recalled",
    )
    .bind(scope.kind())
    .bind(scope.owner())
    .bind(i64::from(scope.period()))
    .bind(replica)
    .execute(connection)
    .await?;
    Ok(())
}

/// The leases that a replica has.
pub(super) async fn scopes_of(
    connection: &mut PgConnection,
    replica: &str,
) -> Result<Vec<Scope>, LedgerFault> {
    let rows = sqlx::query("SELECT kind, owner, period FROM leases WHERE replica = $1")
        .bind(replica)
        .fetch_all(connection)
        .await?;
    rows.iter().map(scope_of).collect()
}

pub(super) async fn recall_others(
    connection: &mut PgConnection,
    scope: &Scope,
    replica: &str,
) -> Result<(), LedgerFault> {
    sqlx::query(
        "UPDATE leases SET recalled = true
         WHERE kind = $1 AND owner = $2 AND period = $3 AND replica <> $4 AND leased > 0",
    )
    .bind(scope.kind())
    .bind(scope.owner())
    .bind(i64::from(scope.period()))
    .bind(replica)
    .execute(&mut *connection)
    .await?;
    sqlx::query("SELECT pg_notify($1, '')")
        .bind(super::RECALLED)
        .execute(connection)
        .await?;
    Ok(())
}

pub(in crate::ledger::postgres) fn scope_of(row: &PgRow) -> Result<Scope, LedgerFault> {
    let period: i64 = row.try_get("period")?;
    let period = u32::try_from(period).map_err(|_| LedgerFault::Unreadable("a lease's period"))?;
    Scope::parse(row.try_get("kind")?, row.try_get("owner")?, period)
        .ok_or(LedgerFault::Unreadable("a lease's kind"))
}

/// A NUMERIC that was read as text.
pub(in crate::ledger::postgres) fn amount(row: &PgRow, column: &str) -> Result<Picodollars, LedgerFault> {
    let text: &str = row.try_get(column)?;
    Picodollars::parse(text).ok_or(LedgerFault::Unreadable("an amount"))
}
