//! Booking what a replica settled: its entries, and out of its leases what they cost.

use super::super::outbox::Bookkeeper;
use super::super::{LedgerFault, Scope};
use super::{PgLedger, PgWriter};
use crate::store::StoreFault;
use farebox_domain::ids::{AdjustmentId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Entry, Settlement};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The first bytes of an id are its time.
const TIME_BYTES: usize = 6;

impl PgLedger {
    /// Books settlements of this replica in one transaction. A settlement that is booked already is left as it is, and
    /// moves no lease a second time.
    ///
    /// What was spent of a lease that is no longer there came in after the replica's deadline: somebody else may have
    /// had that money since. It is booked all the same, and what of it is beyond the account's balance is written off.
    pub async fn book(&self, replica: &str, settled: &[Settlement]) -> Result<(), LedgerFault> {
        self.writer.book(replica, settled).await
    }
}

/// What a replica's shipper books with.
pub struct ReplicaBooks {
    ledger: Arc<PgLedger>,
    replica: String,
}

impl ReplicaBooks {
    /// In this ledger, for the replica with this id.
    pub fn new(ledger: Arc<PgLedger>, replica: &str) -> Self {
        Self {
            ledger,
            replica: replica.to_owned(),
        }
    }
}

#[async_trait::async_trait]
impl Bookkeeper for ReplicaBooks {
    async fn book(&self, batch: &[Settlement]) -> Result<(), LedgerFault> {
        self.ledger.book(&self.replica, batch).await
    }
}

impl PgWriter {
    async fn book(&self, replica: &str, settled: &[Settlement]) -> Result<(), LedgerFault> {
        let number = self.write(async |writer| {
            let mut transaction = writer.begin().await?;
            let number = next_booking(&mut transaction, replica).await?;
            self.history
                .expect_next(replica, number)
                .map_err(StoreFault::from)?;
            let entries: Vec<Entry> = settled.iter().map(|settled| settled.entry.clone()).collect();
            let new = self.sql.new_entries(&mut transaction, &entries).await?;
            let spent = spent_of_leases(settled, &new)?;
            let late = take_from_leases(&mut transaction, replica, &spent).await?;
            let write_offs = write_offs(&mut transaction, settled, &new, &late).await?;
            if !write_offs.is_empty() {
                self.sql.adjustments(&mut transaction, &write_offs).await?;
                let count = write_offs.len();
                tracing::warn!(
                    count,
                    "entries of a replica whose leases had ended were written off"
                );
            }
            transaction.commit().await?;
            Ok(number)
        });
        self.history.confirmed(replica, number.await?);
        Ok(())
    }
}

/// The number of the booking that this transaction is. Its row is this replica's alone.
async fn next_booking(connection: &mut PgConnection, replica: &str) -> Result<u64, LedgerFault> {
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO bookings (replica, number) VALUES ($1, 1)
         ON CONFLICT (replica) DO UPDATE SET number = bookings.number + 1 RETURNING number",
    )
    .bind(replica)
    .fetch_one(connection)
    .await?;
    u64::try_from(number).map_err(|_| LedgerFault::Unreadable("a booking's number"))
}

/// What new entries spent of each lease.
fn spent_of_leases(
    settled: &[Settlement],
    new: &HashSet<RequestId>,
) -> Result<BTreeMap<Scope, Picodollars>, LedgerFault> {
    let mut spent: BTreeMap<Scope, Picodollars> = BTreeMap::new();
    let mut counted = HashSet::new();
    for settled in settled {
        let entry = &settled.entry;
        // The same entry twice in a batch was booked once.
        if !new.contains(&entry.id) || !counted.insert(entry.id) || entry.cost == Picodollars::ZERO {
            continue;
        }
        let month = Month::of_ms(entry.admitted_at_ms);
        let scopes = [
            (settled.leased.credit, Scope::Credit(entry.account.clone())),
            (
                settled.leased.account_month,
                Scope::AccountMonth(entry.account.clone(), month),
            ),
            (
                settled.leased.key_month,
                Scope::KeyMonth(entry.key.clone(), month),
            ),
        ];
        for (_, scope) in scopes.into_iter().filter(|(leased, _)| *leased) {
            let sum = spent.entry(scope).or_default();
            *sum = sum.checked_add(entry.cost).map_err(|_| LedgerFault::Overflow)?;
        }
    }
    Ok(spent)
}

/// Takes it from the leases, and returns the ceilings of which there is no lease any more. A lease that has less, because
/// a request cost more than could be known, ends empty.
async fn take_from_leases(
    connection: &mut PgConnection,
    replica: &str,
    spent: &BTreeMap<Scope, Picodollars>,
) -> Result<Vec<Scope>, LedgerFault> {
    if spent.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "UPDATE leases SET leased = greatest(leases.leased - spent.amount::numeric, 0)
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS spent (kind, owner, period, amount)
         WHERE leases.kind = spent.kind AND leases.owner = spent.owner AND leases.period = spent.period
         AND leases.replica = $5
         RETURNING leases.kind, leases.owner, leases.period",
    )
    .bind(spent.keys().map(Scope::kind).collect::<Vec<_>>())
    .bind(spent.keys().map(Scope::owner).collect::<Vec<_>>())
    .bind(
        spent
            .keys()
            .map(|scope| i64::from(scope.period()))
            .collect::<Vec<_>>(),
    )
    .bind(
        spent
            .values()
            .map(|amount| amount.get().to_string())
            .collect::<Vec<_>>(),
    )
    .bind(replica)
    .fetch_all(connection)
    .await?;
    let taken: HashSet<Scope> = rows
        .iter()
        .map(super::leases::scope_of)
        .collect::<Result<_, _>>()?;
    Ok(spent
        .keys()
        .filter(|scope| !taken.contains(scope))
        .cloned()
        .collect())
}

/// Made of the entry's id, so that it is the same if it is booked again; and not the same as the entry's, since the export
/// tells entries and adjustments apart by their ids.
fn write_off_id(entry: RequestId) -> AdjustmentId {
    let mut id = *entry.as_bytes();
    for byte in id.iter_mut().skip(TIME_BYTES) {
        *byte = !*byte;
    }
    AdjustmentId::from_bytes(id)
}

/// What came too late and is beyond the balance, entry by entry until the account is back at its ceiling.
async fn write_offs(
    connection: &mut PgConnection,
    settled: &[Settlement],
    new: &HashSet<RequestId>,
    late: &[Scope],
) -> Result<Vec<Adjustment>, LedgerFault> {
    let mut write_offs = Vec::new();
    for scope in late {
        let Scope::Credit(account) = scope else { continue };
        let row = sqlx::query(
            "SELECT (spent - credit_limit_picodollars
                     + coalesce((SELECT sum(leased) FROM leases WHERE kind = 'credit' AND owner = $1), 0))::text AS over,
                    farebox_now_ms() AS now_ms
             FROM spending JOIN accounts ON accounts.id = spending.owner
             WHERE kind = 'credit' AND owner = $1 AND credit_limit_picodollars IS NOT NULL",
        )
        .bind(account.as_str())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { continue };
        let mut over = super::leases::amount(&row, "over")?;
        let now_ms: i64 = row.try_get("now_ms")?;
        let of_account = settled.iter().map(|settled| &settled.entry).filter(|entry| {
            entry.account == *account && new.contains(&entry.id) && entry.cost > Picodollars::ZERO
        });
        for entry in of_account {
            if over <= Picodollars::ZERO {
                break;
            }
            let amount = over.min(entry.cost);
            over = over.saturating_sub(amount);
            write_offs.push(Adjustment {
                id: write_off_id(entry.id),
                account: account.clone(),
                kind: AdjustmentKind::WriteOff,
                amount,
                request: Some(entry.id),
                price_version: None,
                reference: format!("late:{}", entry.id),
                note: "booked after the deadline of the replica that served it".into(),
                booked_at_ms: u64::try_from(now_ms).unwrap_or(0),
            });
        }
    }
    Ok(write_offs)
}
