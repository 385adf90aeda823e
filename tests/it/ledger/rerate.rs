//! Rerating: one correction an entry, whatever is killed and repeated, and a ledger that adds up after it.

use super::samples::{ADMITTED_AT_MS, balance, entries, model, price};
use farebox::ledger::rerate::{Booking, Rerate, Rerated, rerate};
use farebox::ledger::{
    AdjustmentPage, Balance, EntryPage, KeySpending, Ledger, LedgerFault, SqliteLedger, Turn, UsageQuery,
    UsageRow, Verification,
};
use farebox::secrets::Secrets;
use farebox::store::{PriceSource, Store};
use farebox_domain::ids::{AccountId, RequestId};
use farebox_domain::ledger::{Adjustment, AdjustmentKind, Entry};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use farebox_domain::price::{Price, PriceVersion, TokenPrice};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

const DAY_MS: u64 = 86_400_000;
const NOW_MS: u64 = ADMITTED_AT_MS + DAY_MS;

struct Bench {
    store: Store,
    ledger: Arc<SqliteLedger>,
    booked_at: PriceVersion,
    secrets: Secrets,
    announced: Mutex<Vec<Adjustment>>,
    _directory: TempDir,
}

impl Bench {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let booked_at = store
            .add_price(&model(), &price(), Some(1), PriceSource::Catalog, 1)
            .await
            .unwrap();
        Self {
            ledger: Arc::new(SqliteLedger::open(&store).await.unwrap()),
            store,
            booked_at,
            secrets: Secrets::seeded(3),
            announced: Mutex::default(),
            _directory: directory,
        }
    }

    async fn version(&self, price: &Price) -> PriceVersion {
        self.store
            .add_price(&model(), price, None, PriceSource::Rerate, NOW_MS)
            .await
            .unwrap()
    }

    async fn book(
        &self,
        ledger: &dyn Ledger,
        price: &Price,
        version: PriceVersion,
        now_ms: u64,
    ) -> Result<Rerated, LedgerFault> {
        let booking = Booking {
            version,
            note: "typed wrong",
            now_ms,
            new_id: &|ms| self.secrets.adjustment_id(ms),
            announce: &|booked| self.announced.lock().extend_from_slice(booked),
        };
        rerate(ledger, &whole(price), Some(&booking)).await
    }

    async fn adjustments(&self) -> Vec<Adjustment> {
        let page = AdjustmentPage {
            limit: 10_000,
            ..AdjustmentPage::default()
        };
        self.ledger.adjustments(&page).await.unwrap()
    }

    /// What an account's requests cost, less what was corrected.
    async fn owed(&self, account: &str) -> Picodollars {
        let balances = self.ledger.balances().await.unwrap();
        let of = balances
            .iter()
            .find(|balance| balance.account.as_str() == account)
            .unwrap();
        of.spent.checked_sub(of.adjusted).unwrap()
    }
}

/// Every sample, at this price.
fn whole(price: &Price) -> Rerate {
    Rerate {
        model: model(),
        since_ms: ADMITTED_AT_MS,
        until_ms: NOW_MS,
        price: price.clone(),
    }
}

fn at(input: u64) -> Price {
    let token = TokenPrice::from_picodollars;
    Price::of_tokens(token(input), Some(token(20_000)), token(320_000))
}

fn cost_at(entries: &[Entry], price: &Price) -> Picodollars {
    Picodollars::new(
        entries
            .iter()
            .map(|entry| entry.cost_at(price).unwrap().get())
            .sum(),
    )
}

#[tokio::test]
async fn what_a_corrected_price_changes_is_shown_and_booked_once() {
    let bench = Bench::open().await;
    let (a, b) = (
        entries(0..700, "acct_a", bench.booked_at),
        entries(1_000..1_600, "acct_b", bench.booked_at),
    );
    let mut other = entries(5_000..5_010, "acct_a", bench.booked_at);
    for entry in &mut other {
        entry.model = "test/other".into();
    }
    for batch in a.chunks(500).chain(b.chunks(500)).chain([&other[..]]) {
        bench.ledger.commit(batch).await.unwrap();
    }
    let corrected = at(50_000);
    let shown = rerate(&*bench.ledger, &whole(&corrected), None).await.unwrap();
    assert_eq!((shown.entries, shown.booked), (1_300, 0));
    assert!(bench.adjustments().await.is_empty(), "showing books nothing");
    for (account, of) in [("acct_a", &a), ("acct_b", &b)] {
        let difference = shown.accounts[&account.into()];
        assert_eq!(usize::try_from(difference.entries).unwrap(), of.len());
        assert_eq!(
            (difference.cost, difference.corrected),
            (cost_at(of, &price()), cost_at(of, &corrected))
        );
    }

    let version = bench.version(&corrected).await;
    let booked = bench
        .book(&*bench.ledger, &corrected, version, NOW_MS)
        .await
        .unwrap();
    assert_eq!((booked.booked, &booked.accounts), (1_300, &shown.accounts));
    assert_eq!(bench.announced.lock().len(), 1_300);
    assert_eq!(bench.owed("acct_b").await, cost_at(&b, &corrected));
    let again = bench
        .book(&*bench.ledger, &corrected, version, NOW_MS)
        .await
        .unwrap();
    assert_eq!((again.booked, again.corrected_before), (0, 1_300));
    assert!(again.accounts.is_empty());
    let verified = bench.ledger.verify().await.unwrap();
    // The other model's entries name a price that is not theirs, which is what they are there for.
    assert_eq!(verified.discrepancies_total, 10, "{:?}", verified.discrepancies);
    assert_eq!(
        balance(&*bench.ledger, "acct_b").await.0,
        cost_at(&b, &price()),
        "entries stay as they were"
    );
}

#[tokio::test]
async fn corrections_follow_one_another_also_by_a_clock_that_jumps_back() {
    let bench = Bench::open().await;
    let all = entries(0..20, "acct_a", bench.booked_at);
    bench.ledger.commit(&all).await.unwrap();
    let (low, high) = (at(10_000), at(400_000));
    let (first, second) = (bench.version(&low).await, bench.version(&high).await);
    bench.book(&*bench.ledger, &low, first, NOW_MS).await.unwrap();
    let back = NOW_MS - DAY_MS / 2;
    let booked = bench.book(&*bench.ledger, &high, second, back).await.unwrap();
    assert_eq!(
        booked.accounts[&"acct_a".into()].cost,
        cost_at(&all, &low),
        "it corrects what the first has left"
    );
    assert_eq!(bench.owed("acct_a").await, cost_at(&all, &high));
    // The first again, after the second: what it has corrected it does not correct again.
    let again = bench.book(&*bench.ledger, &low, first, NOW_MS).await.unwrap();
    assert_eq!((again.booked, again.corrected_before), (0, 20));
    let verified = bench.ledger.verify().await.unwrap();
    assert_eq!(verified.discrepancies, []);
}

#[tokio::test]
async fn what_was_given_back_is_left_alone() {
    let bench = Bench::open().await;
    let all = entries(0..3, "acct_a", bench.booked_at);
    bench.ledger.commit(&all).await.unwrap();
    let refund = |number: u64, amount: Picodollars| Adjustment {
        id: bench.secrets.adjustment_id(NOW_MS + number),
        account: "acct_a".into(),
        kind: AdjustmentKind::Refund,
        amount,
        request: Some(all[usize::try_from(number).unwrap()].id),
        price_version: None,
        reference: format!("refund-{number}"),
        note: String::new(),
        booked_at_ms: NOW_MS,
    };
    let refunds = [refund(0, all[0].cost), refund(1, Picodollars::new(1))];
    bench.ledger.adjust(&refunds).await.unwrap();
    let corrected = at(10_000);
    let version = bench.version(&corrected).await;
    let booked = bench
        .book(&*bench.ledger, &corrected, version, NOW_MS)
        .await
        .unwrap();
    assert_eq!((booked.booked, booked.left_refunded), (2, 1));
    assert_eq!(bench.ledger.verify().await.unwrap().discrepancies, []);
}

#[tokio::test]
async fn a_run_that_was_killed_is_run_again() {
    let bench = Bench::open().await;
    let all = entries(0..2_000, "acct_a", bench.booked_at);
    for batch in all.chunks(500) {
        bench.ledger.commit(batch).await.unwrap();
    }
    let corrected = at(50_000);
    let version = bench.version(&corrected).await;
    // The second batch is lost before it is booked, and the time after that, when it is booked already.
    for (fails_at, after) in [(1, false), (1, true)] {
        let broken = Broken {
            ledger: Arc::clone(&bench.ledger),
            calls: AtomicUsize::new(0),
            fails_at,
            after,
        };
        bench
            .book(&broken, &corrected, version, NOW_MS)
            .await
            .unwrap_err();
    }
    let rest = bench
        .book(&*bench.ledger, &corrected, version, NOW_MS)
        .await
        .unwrap();
    assert_eq!(rest.booked + rest.corrected_before, 2_000);
    assert!(rest.booked > 0 && rest.corrected_before > 512);
    let adjustments = bench.adjustments().await;
    assert_eq!(adjustments.len(), 2_000);
    assert!(adjustments.iter().all(|adjustment| {
        let request = adjustment.request.unwrap();
        adjustment.reference == format!("rerate:{}:{request}", version.0)
    }));
    assert_eq!(bench.owed("acct_a").await, cost_at(&all, &corrected));
    assert_eq!(bench.ledger.verify().await.unwrap().discrepancies, []);
}

/// A ledger whose adjusting fails once: before it is done, or after.
struct Broken {
    ledger: Arc<SqliteLedger>,
    calls: AtomicUsize,
    fails_at: usize,
    after: bool,
}

#[async_trait::async_trait]
impl Ledger for Broken {
    async fn commit(&self, entries: &[Entry]) -> Result<(), LedgerFault> {
        self.ledger.commit(entries).await
    }

    async fn adjust(&self, adjustments: &[Adjustment]) -> Result<Vec<Adjustment>, LedgerFault> {
        let fails = self.calls.fetch_add(1, Ordering::SeqCst) == self.fails_at;
        if fails && !self.after {
            return Err(LedgerFault::Unreadable("the answer"));
        }
        let booked = self.ledger.adjust(adjustments).await?;
        if fails {
            return Err(LedgerFault::Unreadable("the answer"));
        }
        Ok(booked)
    }

    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, LedgerFault> {
        self.ledger.usage(query).await
    }

    async fn balances(&self) -> Result<Vec<Balance>, LedgerFault> {
        self.ledger.balances().await
    }

    async fn balances_of(&self, accounts: &[AccountId]) -> Result<Vec<Balance>, LedgerFault> {
        self.ledger.balances_of(accounts).await
    }

    async fn spent_in(&self, month: Month) -> Result<Vec<KeySpending>, LedgerFault> {
        self.ledger.spent_in(month).await
    }

    async fn entry(&self, id: RequestId) -> Result<Option<Entry>, LedgerFault> {
        self.ledger.entry(id).await
    }

    async fn entries_of(&self, ids: &[RequestId]) -> Result<Vec<Entry>, LedgerFault> {
        self.ledger.entries_of(ids).await
    }

    async fn entries(&self, page: &EntryPage) -> Result<Vec<Entry>, LedgerFault> {
        self.ledger.entries(page).await
    }

    async fn adjustments(&self, page: &AdjustmentPage) -> Result<Vec<Adjustment>, LedgerFault> {
        self.ledger.adjustments(page).await
    }

    async fn turn_to_correct(&self) -> Result<Turn, LedgerFault> {
        self.ledger.turn_to_correct().await
    }

    async fn verify(&self) -> Result<Verification, LedgerFault> {
        self.ledger.verify().await
    }
}
