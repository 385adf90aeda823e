//! Leases in PostgreSQL. docs/LEDGER.md has the rule, `ledger/lease.rs` says it in short.
//!
//! Locks are taken in one order, as everywhere in this database: a ceiling's `spending` row, then rows of `leases`.
//! Whoever grants holds the `spending` row, which whoever books moves too: between the two, what is spent and what is
//! leased are seen together.
//!
//! An answer may be lost on its way. So both sides count what was ever granted and given back ([`Totals`]): a grant that
//! this replica was not told of is told with the next answer, and what it gave back without an answer is given back by the
//! next question, once.

mod rows;
mod totals;

pub(super) use rows::{amount, scope_of};

use super::super::{Beat, LeaseAnswer, LedgerFault, Lessor, Scope, Standing};
use crate::store::Store;
use crate::store::database::Database;
use farebox_domain::money::Picodollars;
use parking_lot::Mutex;
use rows::{
    add_lease, answer_recall, leases_of, limit_of, lock_spent, recall_others, say_alive, scopes_of,
    set_returned,
};
use sqlx::Connection;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgListener, PgPool, Postgres};
use std::time::Duration;
use totals::Totals;

/// The channel on which a replica is told that others are short.
const RECALLED: &str = "farebox_recall";
/// How long a listener that was lost is left alone.
const LISTEN_AGAIN: Duration = Duration::from_millis(200);
/// How long PostgreSQL may take over a question about leases.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Speaks for one replica.
pub struct PgLessor {
    pool: PgPool,
    replica: String,
    listener: tokio::sync::Mutex<Option<PgListener>>,
    /// Whether this replica has said that it is there.
    is_known: Mutex<bool>,
    totals: Totals,
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
            totals: Totals::default(),
        })
    }

    /// Asks in time, or not at all. A connection that gave no answer is not used again.
    async fn within<T>(
        &self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerFault>,
    ) -> Result<T, LedgerFault> {
        let asked = async {
            let mut lent = Lent(Some(self.pool.acquire().await?));
            let Some(connection) = lent.0.as_mut() else {
                return Err(LedgerFault::Database("no connection".into()));
            };
            let answer = ask(connection).await;
            drop(lent.0.take());
            answer
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(answer) => answer,
            Err(elapsed) => {
                // What listens only would never notice that nobody is there.
                if let Ok(mut listener) = self.listener.try_lock() {
                    *listener = None;
                }
                Err(LedgerFault::Database(Box::new(elapsed)))
            }
        }
    }

    async fn ask_once(
        &self,
        scope: &Scope,
        need: Picodollars,
        recall: bool,
    ) -> Result<LeaseAnswer, LedgerFault> {
        self.within(async |connection| {
            self.be_known(connection).await?;
            self.grant(connection, scope, need, recall).await
        })
        .await
    }

    /// A replica must be there before it has leases.
    async fn be_known(&self, connection: &mut PgConnection) -> Result<(), LedgerFault> {
        if !*self.is_known.lock() {
            say_alive(connection, &self.replica).await?;
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
        let granted_before = self.settle_totals(&mut transaction, scope).await?;
        if self.totals.granted(scope) < granted_before {
            // Somebody else may be told of it first: then this is nothing, and is asked for again.
            transaction.commit().await?;
            return Ok(LeaseAnswer::Granted(self.totals.tell(scope, granted_before)));
        }
        let Some(limit) = limit_of(&mut transaction, scope).await? else {
            // There is no ceiling any more; the replica will read that soon.
            let total = add_lease(&mut transaction, scope, &self.replica, need).await?;
            transaction.commit().await?;
            return Ok(LeaseAnswer::Granted(self.totals.tell(scope, total)));
        };
        let (leased, others, outstanding) = leases_of(&mut transaction, scope, &self.replica).await?;
        let room = limit.saturating_sub(spent).saturating_sub(leased);
        if room >= need && room > Picodollars::ZERO {
            let granted = need.max(Picodollars::new(room.get() / 2));
            let total = add_lease(&mut transaction, scope, &self.replica, granted).await?;
            transaction.commit().await?;
            return Ok(LeaseAnswer::Granted(self.totals.tell(scope, total)));
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

    /// Gives back what the database does not know yet to be given back, and returns all that it ever granted of this lease.
    async fn settle_totals(
        &self,
        connection: &mut PgConnection,
        scope: &Scope,
    ) -> Result<Picodollars, LedgerFault> {
        let returned = self.totals.returned(scope);
        match set_returned(connection, scope, &self.replica, returned).await? {
            Some(granted) => Ok(granted),
            None => {
                self.totals.forget(scope);
                Ok(Picodollars::ZERO)
            }
        }
    }
}

#[async_trait::async_trait]
impl Lessor for PgLessor {
    async fn ask(&self, scope: &Scope, need: Picodollars, recall: bool) -> Result<LeaseAnswer, LedgerFault> {
        match self.ask_once(scope, need, recall).await {
            // Of an earlier time: the database may have been back for long. What it granted and did not say is found.
            Err(fault) if fault.is_lost_connection() => self.ask_once(scope, need, recall).await,
            answer => answer,
        }
    }

    async fn give_back(&self, scope: &Scope, amount: Picodollars) -> Result<(), LedgerFault> {
        // It is no longer this replica's from now on, whether the database hears of it now or with the next question.
        self.totals.give_back(scope, amount);
        self.within(async |connection| {
            let mut transaction = connection.begin().await?;
            let granted = self.settle_totals(&mut transaction, scope).await?;
            if self.totals.granted(scope) < granted {
                // Nobody here was told of it, so nobody spends it.
                let returned = self.totals.give_back_untold(scope, granted);
                set_returned(&mut transaction, scope, &self.replica, returned).await?;
            }
            answer_recall(&mut transaction, scope, &self.replica).await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    async fn recalled(&self) -> Result<Vec<Scope>, LedgerFault> {
        self.within(async |connection| {
            let rows = sqlx::query("SELECT kind, owner, period FROM leases WHERE replica = $1 AND recalled")
                .bind(&self.replica)
                .fetch_all(&mut *connection)
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

    async fn beat(&self, deadline: Duration) -> Result<Beat, LedgerFault> {
        self.within(async |connection| {
            let deadline = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
            let silent = say_alive(connection, &self.replica).await?;
            *self.is_known.lock() = true;
            let freed = sqlx::query(
                "DELETE FROM leases USING replicas
                 WHERE leases.replica = replicas.id AND replicas.seen_at_ms < farebox_now_ms() - $1",
            )
            .bind(deadline)
            .execute(&mut *connection)
            .await?;
            if freed.rows_affected() > 0 {
                let leases = freed.rows_affected();
                tracing::warn!(
                    leases,
                    "a replica has said nothing until its deadline; its leases are free"
                );
            }
            if silent <= deadline {
                return Ok(Beat::InTime);
            }
            let left = scopes_of(connection, &self.replica).await?;
            self.totals.keep_only(&left);
            Ok(Beat::Late)
        })
        .await
    }

    async fn give_all_back(&self) -> Result<(), LedgerFault> {
        self.within(async |connection| {
            sqlx::query("DELETE FROM leases WHERE replica = $1")
                .bind(&self.replica)
                .execute(&mut *connection)
                .await?;
            self.totals.keep_only(&[]);
            Ok(())
        })
        .await
    }

    async fn standing(&self, scope: &Scope) -> Result<Standing, LedgerFault> {
        self.within(async |connection| {
            let row = sqlx::query(
                "SELECT coalesce((SELECT spent FROM spending WHERE kind = $1 AND owner = $2 AND period = $3), 0)::text
                            AS spent,
                        coalesce((SELECT sum(leased) FROM leases WHERE kind = $1 AND owner = $2 AND period = $3), 0)::text
                            AS leased",
            )
            .bind(scope.kind())
            .bind(scope.owner())
            .bind(i64::from(scope.period()))
            .fetch_one(&mut *connection)
            .await?;
            Ok(Standing {
                spent: amount(&row, "spent")?,
                leased: amount(&row, "leased")?,
            })
        })
        .await
    }
}

/// A connection of the pool. Dropped while an answer is waited for it is closed, so that its place is free: given back, it
/// would wait for that answer.
struct Lent(Option<PoolConnection<Postgres>>);

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}
