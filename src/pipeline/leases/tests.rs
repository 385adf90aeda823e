//! The rule of leases, on a shared ledger in memory that keeps it as the real one does.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may stop on a fault, and owns its own tasks"
)]

use super::*;
use crate::ledger::Standing;
use crate::pipeline::hold::{Bounds, Terms, hold};
use crate::store::AccountRow;
use farebox_domain::month::Month;
use farebox_domain::price::{Price, TokenPrice};
use farebox_domain::units::{ServiceTier, Units};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

const REPLICAS: usize = 3;

/// One ceiling, and who has lease of it.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    is_away: AtomicBool,
    /// It answers nobody: each question ends after [`STALLED`].
    is_stalled: AtomicBool,
}

const STALLED: Duration = Duration::from_secs(3);

#[derive(Default)]
struct State {
    limit: i128,
    spent: i128,
    leased: [i128; REPLICAS],
    recalled: [bool; REPLICAS],
    /// Its leases ended at its deadline, and it does not know yet.
    was_freed: [bool; REPLICAS],
}

impl Shared {
    fn book(&self, replica: usize, cost: i128) {
        let mut state = self.state.lock();
        state.spent += cost;
        state.leased[replica] -= cost;
        assert!(state.leased[replica] >= 0, "what is booked was leased");
        state.check();
    }

    async fn answer(&self) -> Result<(), LedgerFault> {
        if self.is_stalled.load(Ordering::SeqCst) {
            tokio::time::sleep(STALLED).await;
            return Err(LedgerFault::Database("stalled".into()));
        }
        self.reach()
    }

    fn reach(&self) -> Result<(), LedgerFault> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(LedgerFault::Database("away".into()));
        }
        Ok(())
    }
}

impl State {
    fn check(&self) {
        assert!(self.spent + self.leased.iter().sum::<i128>() <= self.limit);
    }
}

struct Fake {
    replica: usize,
    shared: Arc<Shared>,
}

#[async_trait::async_trait]
impl Lessor for Fake {
    async fn ask(&self, _: &Scope, need: Picodollars, recall: bool) -> Result<LeaseAnswer, LedgerFault> {
        tokio::task::yield_now().await;
        self.shared.answer().await?;
        let mut state = self.shared.state.lock();
        let room = state.limit - state.spent - state.leased.iter().sum::<i128>();
        if room >= need.get() {
            let granted = need.get().max(room / 2);
            state.leased[self.replica] += granted;
            state.check();
            return Ok(LeaseAnswer::Granted(Picodollars::new(granted)));
        }
        let mut recalled = false;
        for other in (0..REPLICAS).filter(|&other| other != self.replica) {
            if recall && state.leased[other] > 0 {
                state.recalled[other] = true;
            }
            recalled |= state.recalled[other];
        }
        Ok(LeaseAnswer::Short {
            room: Picodollars::new(room),
            allowed: Picodollars::new(state.limit),
            recalled,
        })
    }

    async fn give_back(&self, _: &Scope, amount: Picodollars) -> Result<(), LedgerFault> {
        self.shared.reach()?;
        let mut state = self.shared.state.lock();
        state.leased[self.replica] = (state.leased[self.replica] - amount.get()).max(0);
        state.recalled[self.replica] = false;
        Ok(())
    }

    async fn recalled(&self) -> Result<Vec<Scope>, LedgerFault> {
        self.shared.reach()?;
        let recalled = self.shared.state.lock().recalled[self.replica];
        Ok(recalled
            .then(|| Scope::Credit("acct".into()))
            .into_iter()
            .collect())
    }

    async fn told(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn beat(&self, _: Duration) -> Result<Beat, LedgerFault> {
        self.shared.answer().await?;
        let was_freed = std::mem::take(&mut self.shared.state.lock().was_freed[self.replica]);
        Ok(if was_freed { Beat::Late } else { Beat::InTime })
    }

    async fn give_all_back(&self) -> Result<(), LedgerFault> {
        Ok(())
    }

    async fn standing(&self, _: &Scope) -> Result<Standing, LedgerFault> {
        unreachable!("nobody asks here")
    }
}

struct Replica {
    leases: Arc<Leases>,
    account: Arc<Account>,
    stop: CancellationToken,
}

fn replicas(shared: &Arc<Shared>, limit: i128) -> Vec<Replica> {
    shared.state.lock().limit = limit;
    let replica = |replica| {
        let directory = Arc::new(Directory::default());
        let account = directory.add_account(AccountRow::new("acct".into(), "acct".into(), 1));
        account.wallet.lease();
        account.wallet.set_credit_limit(Some(Picodollars::new(limit)));
        let lessor = Arc::new(Fake {
            replica,
            shared: Arc::clone(shared),
        });
        let deadline = Duration::from_secs(3600);
        let leases = Arc::new(Leases::new(lessor, directory, Clock::system(), deadline));
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&leases).run(stop.clone()));
        Replica {
            leases,
            account,
            stop,
        }
    };
    (0..REPLICAS).map(replica).collect()
}

/// A token of answer costs a picodollar, the prompt nothing.
async fn ask(
    replica: &Replica,
    output_tokens: u64,
    asked: bool,
) -> Result<crate::pipeline::hold::Held, Refusal> {
    let price = Price::of_tokens(
        TokenPrice::from_picodollars(0),
        None,
        TokenPrice::from_picodollars(1),
    );
    let bounds = Bounds {
        prompt_tokens: 10,
        output_tokens,
        tell: false,
        choices: 1,
        asked,
        units: Units::default(),
    };
    let terms = Terms {
        payer: Payer {
            key: &"key".into(),
            month: Month::from_index(1),
        },
        bounds,
        price: &price,
        tier: ServiceTier::Default,
    };
    hold(Some(&replica.leases), &replica.account, terms).await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_on_three_replicas_spend_all_but_less_than_one_of_them_could_cost() {
    const LIMIT: i128 = 10_000;
    let shared = Arc::new(Shared::default());
    let replicas = Arc::new(replicas(&shared, LIMIT));
    let mut clients = JoinSet::new();
    for number in 0..500usize {
        let (replicas, shared) = (Arc::clone(&replicas), Arc::clone(&shared));
        clients.spawn(async move {
            let replica = number % REPLICAS;
            // It wants on while there is as much as it could cost that is not spent.
            while shared.state.lock().spent <= LIMIT - 100 {
                match ask(&replicas[replica], 100, true).await {
                    Ok(held) => {
                        tokio::task::yield_now().await;
                        let cost = i128::try_from(1 + number * 37 % 100).unwrap();
                        held.hold.settle(Picodollars::new(cost));
                        shared.book(replica, cost);
                    }
                    Err(Refusal::CeilingReached { .. }) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    clients.join_all().await;
    let spent = shared.state.lock().spent;
    assert!((LIMIT - 99..=LIMIT).contains(&spent), "{spent}");
    for replica in replicas.iter() {
        replica.stop.cancel();
        assert_eq!(
            replica.account.wallet.read(Month::from_index(1)).held,
            Picodollars::ZERO
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_for_what_another_replica_has_and_does_not_use() {
    let shared = Arc::new(Shared::default());
    let replicas = replicas(&shared, 1_000);
    // The first takes half, the second half of the rest; none of it is in use.
    drop(ask(&replicas[0], 1, true).await.unwrap());
    drop(ask(&replicas[1], 1, true).await.unwrap());
    let all = ask(&replicas[2], 1_000, true).await.unwrap();
    assert_eq!(all.hold.amount().get(), 1_000);
    let refused = ask(&replicas[0], 1, true).await.unwrap_err();
    assert!(matches!(refused, Refusal::CeilingReached { .. }), "{refused}");
    drop(all);
    // Without a number it runs up to what there is, wherever it is.
    let capped = ask(&replicas[1], 5_000, false).await.unwrap();
    assert_eq!((capped.hold.amount().get(), capped.capped), (1_000, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_ledger_is_away_what_is_leased_is_spent_and_no_more() {
    let shared = Arc::new(Shared::default());
    let replicas = replicas(&shared, 1_000);
    drop(ask(&replicas[0], 1, true).await.unwrap());
    let leased = shared.state.lock().leased[0];
    shared.is_away.store(true, Ordering::SeqCst);
    let mut spent = 0;
    while let Ok(held) = ask(&replicas[0], 7, true).await {
        held.hold.settle(Picodollars::new(7));
        spent += 7;
    }
    assert!(spent <= leased && spent > leased - 7, "{spent} of {leased}");
    let refused = ask(&replicas[0], 7, true).await.unwrap_err();
    assert!(matches!(refused, Refusal::LedgerUnavailable { .. }), "{refused}");
}

/// Whoever asks first waits for the answer that does not come. Those behind it, and those who come later, do not wait for
/// theirs in turn.
#[tokio::test(start_paused = true)]
async fn a_ledger_that_does_not_answer_is_waited_for_once() {
    let shared = Arc::new(Shared::default());
    let replicas = Arc::new(replicas(&shared, 1_000));
    drop(ask(&replicas[0], 1, true).await.unwrap());
    shared.is_stalled.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let replicas = Arc::clone(&replicas);
        clients.spawn(async move { ask(&replicas[0], 900, true).await.map(drop) });
    }
    for refused in clients.join_all().await {
        assert!(
            matches!(refused, Err(Refusal::LedgerUnavailable { .. })),
            "{refused:?}"
        );
    }
    assert!(began.elapsed() <= STALLED * 2, "{:?}", began.elapsed());
    // What it has is spent all the same.
    assert!(ask(&replicas[0], 7, true).await.is_ok());
    shared.is_stalled.store(false, Ordering::SeqCst);
    tokio::time::sleep(STALLED * 3).await;
    assert!(ask(&replicas[0], 900, true).await.is_ok());
}

/// Its leases were given to others while it could not be reached: it must not spend them when it is there again.
#[tokio::test(start_paused = true)]
async fn a_replica_that_was_silent_for_too_long_begins_without_leases() {
    let shared = Arc::new(Shared::default());
    let replicas = replicas(&shared, 1_000);
    let in_flight = ask(&replicas[0], 100, true).await.unwrap();
    {
        let mut state = shared.state.lock();
        state.leased = [0, 1_000, 0];
        state.was_freed[0] = true;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let refused = ask(&replicas[0], 1, true).await.unwrap_err();
    assert!(matches!(refused, Refusal::CeilingReached { .. }), "{refused}");
    in_flight.hold.settle(Picodollars::new(100));
    let wallet = &replicas[0].account.wallet;
    assert_eq!(wallet.read(Month::from_index(1)).held, Picodollars::ZERO);
    assert!(
        ask(&replicas[0], 1, true).await.is_err(),
        "it was held, and is spent"
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_say_that_it_lives_stops_before_its_leases_are_another_s() {
    let shared = Arc::new(Shared::default());
    let replicas = replicas(&shared, 1_000);
    drop(ask(&replicas[0], 1, true).await.unwrap());
    shared.is_away.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3600 / 2)).await;
    assert!(ask(&replicas[0], 1, true).await.is_ok());
    tokio::time::sleep(Duration::from_secs(3600 * 2 / 5 + 1)).await;
    let refused = ask(&replicas[0], 1, true).await.unwrap_err();
    assert!(matches!(refused, Refusal::LedgerUnavailable { .. }), "{refused}");
}
