//! Leases in PostgreSQL. docs/LEDGER.md has the rule, `ledger/lease.rs` says it in short.
//!
//! Locks are taken in one order, as everywhere in this database: a ceiling's `spending` row, then rows of `leases`.
//! Whoever grants holds the `spending` row, which whoever books moves too: between the two, what is spent and what is
//! leased are seen together.

use super::super::{LeaseAnswer, LedgerFault, Lessor, Scope, Standing};
use crate::store::Store;
use crate::store::database::Database;
use farebox_domain::money::Picodollars;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnection, PgListener, PgPool, PgRow};
use sqlx::{Connection, Row};
use std::time::Duration;

/// The channel on which a replica is told that others are short.
const RECALLED: &str = "farebox_recall";
/// How long a listener that was lost is left alone.
const LISTEN_AGAIN: Duration = Duration::from_millis(200);
/// How long PostgreSQL may take over a question about leases.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Speaks for one replica.
pub struct PgLessor {
    pool: PgPool,
    replica: String,
    listener: tokio::sync::Mutex<Option<PgListener>>,
    /// Whether this replica has said that it is there.
    is_known: Mutex<bool>,
}

impl PgLessor {
    /// For the replica with this id. Errors: [`LedgerFault::OtherDatabase`].
    pub fn new(store: &Store, replica: &str) -> Result<Self, LedgerFault> {
        let Database::Postgres(opened) = store.database() else {
            return Err(LedgerFault::OtherDatabase("postgres"));
        };
        Ok(Self {
            pool: opened.pool.clone(),
            replica: replica.to_owned(),
            listener: tokio::sync::Mutex::new(None),
            is_known: Mutex::new(false),
        })
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, LedgerFault>>) -> Result<T, LedgerFault> {
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(LedgerFault::Database(Box::new(elapsed))),
        }
    }

    /// A replica must be there before it has leases.
    async fn be_known(&self) -> Result<(), LedgerFault> {
        if !*self.is_known.lock() {
            say_alive(&self.pool, &self.replica).await?;
            *self.is_known.lock() = true;
        }
        Ok(())
    }

    async fn grant(
        &self,
        connection: &mut PgConnection,
        scope: &Scope,
        need: Picodollars,
        recall: bool,
    ) -> Result<LeaseAnswer, LedgerFault> {
        let mut transaction = connection.begin().await?;
        let spent = lock_spent(&mut transaction, scope).await?;
        let Some(limit) = limit_of(&mut transaction, scope).await? else {
            // There is no ceiling any more; the replica will read that soon.
            add_lease(&mut transaction, scope, &self.replica, need).await?;
            transaction.commit().await?;
            return Ok(LeaseAnswer::Granted(need));
        };
        let (leased, others, outstanding) = leases_of(&mut transaction, scope, &self.replica).await?;
        let room = limit.saturating_sub(spent).saturating_sub(leased);
        if room >= need && room > Picodollars::ZERO {
            let granted = need.max(Picodollars::new(room.get() / 2));
            add_lease(&mut transaction, scope, &self.replica, granted).await?;
            transaction.commit().await?;
            return Ok(LeaseAnswer::Granted(granted));
        }
        let recalls = recall && others > Picodollars::ZERO;
        if recalls {
            recall_others(&mut transaction, scope, &self.replica).await?;
        }
        transaction.commit().await?;
        Ok(LeaseAnswer::Short {
            room: room.max(Picodollars::ZERO),
            allowed: limit,
            recalled: recalls || outstanding,
        })
    }
}

#[async_trait::async_trait]
impl Lessor for PgLessor {
    async fn ask(&self, scope: &Scope, need: Picodollars, recall: bool) -> Result<LeaseAnswer, LedgerFault> {
        self.within(async {
            self.be_known().await?;
            let mut connection = self.pool.acquire().await?;
            self.grant(&mut connection, scope, need, recall).await
        })
        .await
    }

    async fn give_back(&self, scope: &Scope, amount: Picodollars) -> Result<(), LedgerFault> {
        self.within(async {
            sqlx::query(
                "UPDATE leases SET leased = greatest(leased - $1::text::numeric, 0), recalled = false
                 WHERE kind = $2 AND owner = $3 AND period = $4 AND replica = $5",
            )
            .bind(amount.get().to_string())
            .bind(scope.kind())
            .bind(scope.owner())
            .bind(i64::from(scope.period()))
            .bind(&self.replica)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    async fn recalled(&self) -> Result<Vec<Scope>, LedgerFault> {
        self.within(async {
            let rows = sqlx::query("SELECT kind, owner, period FROM leases WHERE replica = $1 AND recalled")
                .bind(&self.replica)
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(scope_of).collect()
        })
        .await
    }

    async fn told(&self) {
        let mut slot = self.listener.lock().await;
        if slot.is_none() {
            let listening = async {
                let mut listener = PgListener::connect_with(&self.pool).await?;
                listener.listen(RECALLED).await?;
                Ok::<_, sqlx::Error>(listener)
            };
            match listening.await {
                // It may have been told something before it listened.
                Ok(listener) => *slot = Some(listener),
                Err(_) => tokio::time::sleep(LISTEN_AGAIN).await,
            }
            return;
        }
        let heard = match slot.as_mut() {
            Some(listener) => listener.try_recv().await,
            None => return,
        };
        match heard {
            Ok(_) => {
                while slot
                    .as_mut()
                    .is_some_and(|listener| listener.next_buffered().is_some())
                {}
            }
            Err(_) => {
                *slot = None;
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        }
    }

    async fn beat(&self, deadline: Duration) -> Result<(), LedgerFault> {
        self.within(async {
            say_alive(&self.pool, &self.replica).await?;
            *self.is_known.lock() = true;
            let deadline = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
            let freed = sqlx::query(
                "DELETE FROM leases USING replicas
                 WHERE leases.replica = replicas.id AND replicas.seen_at_ms < farebox_now_ms() - $1",
            )
            .bind(deadline)
            .execute(&self.pool)
            .await?;
            if freed.rows_affected() > 0 {
                let leases = freed.rows_affected();
                tracing::warn!(
                    leases,
                    "a replica has said nothing until its deadline; its leases are free"
                );
            }
            Ok(())
        })
        .await
    }

    async fn give_all_back(&self) -> Result<(), LedgerFault> {
        self.within(async {
            sqlx::query("DELETE FROM leases WHERE replica = $1")
                .bind(&self.replica)
                .execute(&self.pool)
                .await?;
            Ok(())
        })
        .await
    }

    async fn standing(&self, scope: &Scope) -> Result<Standing, LedgerFault> {
        self.within(async {
            let row = sqlx::query(
                "SELECT coalesce((SELECT spent FROM spending WHERE kind = $1 AND owner = $2 AND period = $3), 0)::text
                            AS spent,
                        coalesce((SELECT sum(leased) FROM leases WHERE kind = $1 AND owner = $2 AND period = $3), 0)::text
                            AS leased",
            )
            .bind(scope.kind())
            .bind(scope.owner())
            .bind(i64::from(scope.period()))
            .fetch_one(&self.pool)
            .await?;
            Ok(Standing {
                spent: amount(&row, "spent")?,
                leased: amount(&row, "leased")?,
            })
        })
        .await
    }
}

async fn say_alive(pool: &PgPool, replica: &str) -> Result<(), LedgerFault> {
    sqlx::query(
        "INSERT INTO replicas (id, seen_at_ms) VALUES ($1, farebox_now_ms())
         ON CONFLICT (id) DO UPDATE SET seen_at_ms = excluded.seen_at_ms",
    )
    .bind(replica)
    .execute(pool)
    .await?;
    Ok(())
}

/// What is spent of a ceiling, with its row locked until the transaction ends.
async fn lock_spent(connection: &mut PgConnection, scope: &Scope) -> Result<Picodollars, LedgerFault> {
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
async fn limit_of(connection: &mut PgConnection, scope: &Scope) -> Result<Option<Picodollars>, LedgerFault> {
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
async fn leases_of(
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

async fn add_lease(
    connection: &mut PgConnection,
    scope: &Scope,
    replica: &str,
    granted: Picodollars,
) -> Result<(), LedgerFault> {
    sqlx::query(
        "INSERT INTO leases (kind, owner, period, replica, leased) VALUES ($1, $2, $3, $4, $5::text::numeric)
         ON CONFLICT (kind, owner, period, replica) DO UPDATE SET leased = leases.leased + excluded.leased",
    )
    .bind(scope.kind())
    .bind(scope.owner())
    .bind(i64::from(scope.period()))
    .bind(replica)
    .bind(granted.get().to_string())
    .execute(connection)
    .await?;
    Ok(())
}

async fn recall_others(
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
        .bind(RECALLED)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn scope_of(row: &PgRow) -> Result<Scope, LedgerFault> {
    let period: i64 = row.try_get("period")?;
    let period = u32::try_from(period).map_err(|_| LedgerFault::Unreadable("a lease's period"))?;
    Scope::parse(row.try_get("kind")?, row.try_get("owner")?, period)
        .ok_or(LedgerFault::Unreadable("a lease's kind"))
}

/// A NUMERIC that was read as text.
pub(super) fn amount(row: &PgRow, column: &str) -> Result<Picodollars, LedgerFault> {
    let text: &str = row.try_get(column)?;
    Picodollars::parse(text).ok_or(LedgerFault::Unreadable("an amount"))
}
