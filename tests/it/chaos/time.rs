//! A clock that jumps, months that end in the middle of a stream, and accounts that end with requests in flight.

use super::verified;
use crate::gateway::prices::{Scripted, TOKEN as FIRST_TOKEN, scripted};
use crate::gateway::{ACCOUNT, Gateway, SECRET, engine, eventually};
use crate::postgres::Server;
use crate::replicas::{TOKEN, admin, all_know_of_the_ceiling, booked, chat, credit, priced, quick, until};
use farebox::admission::directory::hash_secret;
use farebox::clock::Clock;
use farebox::store::KeyRow;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::task::JoinSet;

const DAY_MS: u64 = 86_400_000;
/// 2026-11-15T12:00:00Z
const NOW_MS: u64 = 1_794_744_000_000;

fn november() -> Month {
    Month::of_ms(NOW_MS)
}

fn stream() -> Value {
    chat(json!({ "stream": true, "max_tokens": 5 }))
}

/// A stream that has begun: its head has come, and its end waits for a permit.
async fn begin(gateway: &Gateway) -> reqwest::Response {
    let response = gateway.chat(&stream()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn end(engine: &Scripted, open: reqwest::Response) {
    engine.ends.add_permits(1);
    let text = open.text().await.unwrap();
    assert!(text.contains("[DONE]"), "{text}");
}

/// A key that ends at this time.
async fn add_key(gateway: &Gateway, secret: &str, expires_at_ms: u64) {
    let key = KeyRow {
        id: "key_short".into(),
        account: ACCOUNT.into(),
        name: "short".into(),
        hash: hash_secret(secret),
        created_at_ms: 1,
        expires_at_ms: Some(expires_at_ms),
        revoked_at_ms: None,
        monthly_limit: None,
    };
    gateway.app.store.create_key(&key).await.unwrap();
    gateway.app.directory.add_key(key);
}

/// Forwards, backwards and back, while clients ask and streams run, over a price that begins in the night and a month that
/// ends in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_a_day_both_ways_charges_by_the_moment_of_admission() {
    const SHORT: &str = "fb_short678901234567890123456789012345678901234";
    let last_evening = november().next().starts_at_ms() - DAY_MS / 4;
    let clock = Clock::standing_at(last_evening);
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let (data, url) = (tempfile::tempdir().unwrap(), Some(database.parsed_url()));
    let gateway = Gateway::start_by(clock.clone(), &priced(&[&simulated.url]), data, url, 7).await;
    let gateway = Arc::new(gateway);
    gateway.make_account().await;
    add_key(&gateway, SHORT, last_evening + DAY_MS / 2).await;
    credit(&gateway, "100").await;
    all_know_of_the_ceiling(std::slice::from_ref(&gateway)).await;
    // It costs twice as much from the first of December on.
    let dearer = json!({
        "model": "m", "price": { "input": "0", "output": "200" }, "from": "2026-12-01T00:00:00Z",
    });
    admin(&gateway, Method::POST, "prices", dearer).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (gateway, stop, answered) = (Arc::clone(&gateway), Arc::clone(&stop), Arc::clone(&answered));
        clients.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let response = gateway
                    .chat(&chat(json!({ "max_tokens": 3 })))
                    .send()
                    .await
                    .unwrap();
                assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
                response.text().await.unwrap();
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let holds = async || {
        let models = format!("{}/v1/models", gateway.url);
        let asked = gateway.client.get(models).bearer_auth(SHORT).send();
        asked.await.unwrap().status() == 200
    };
    for round in 0..6_usize {
        let jumped = [last_evening + DAY_MS, last_evening - DAY_MS, last_evening][round % 3];
        clock.set_unix_ms(jumped);
        assert_eq!(
            holds().await,
            jumped < last_evening + DAY_MS / 2,
            "a key ends by the wall's clock"
        );
        let before = answered.load(Ordering::SeqCst);
        eventually("requests go on", || {
            answered.load(Ordering::SeqCst) >= before + 30
        })
        .await;
        let leases = gateway.app.pipeline.leases.as_ref().unwrap();
        assert!(!leases.are_over(), "leases end by another clock");
    }
    stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    let gateway = Arc::try_unwrap(gateway).unwrap_or_else(|_| panic!("a client still has it"));
    gateway.stop().await;
    let (entries, _) = booked(&database).await;
    assert_eq!(entries.len(), answered.load(Ordering::SeqCst));
    for entry in &entries {
        let tokens = i128::from(entry.usage.completion_tokens);
        let dear = Month::of_ms(entry.admitted_at_ms) == november().next();
        assert_eq!(entry.cost.get(), tokens * TOKEN * if dear { 2 } else { 1 });
    }
    for month in [november(), november().next()] {
        let of_month = |entry: &&Entry| Month::of_ms(entry.admitted_at_ms) == month;
        let expected: i128 = entries
            .iter()
            .filter(of_month)
            .map(|entry| entry.cost.get())
            .sum();
        assert!(expected > 0, "requests were admitted in {month}");
        for (kind, owner) in [("account_month", ACCOUNT), ("key_month", "key_test")] {
            assert_eq!(
                spent_in(&database, kind, owner, month).await,
                expected,
                "{kind} {month}"
            );
        }
    }
    verified(&database).await;
}

async fn spent_in(database: &crate::postgres::Database, kind: &str, owner: &str, month: Month) -> i128 {
    let spent: Option<String> =
        sqlx::query_scalar("SELECT spent::text FROM spending WHERE kind = $1 AND owner = $2 AND period = $3")
            .bind(kind)
            .bind(owner)
            .bind(i64::from(month.index()))
            .fetch_optional(&mut database.raw().await)
            .await
            .unwrap();
    spent.map_or(0, |spent| spent.parse().unwrap())
}

/// What was let in in November is November's, whenever it ends; December begins with nothing spent.
async fn a_month_ends_in_the_middle_of_a_stream(shared: bool) {
    let engine = scripted(FIRST_TOKEN).await;
    let clock = Clock::standing_at(november().next().starts_at_ms() - 1);
    let database = Server::shared().database().await;
    let url = shared.then(|| database.parsed_url());
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_by(clock.clone(), &priced(&[&engine.url]), data, url, 7).await;
    gateway.make_account().await;
    // Five tokens fit in a month, of the account and of the key: one request.
    let limit = json!({ "monthly_usd": "0.0005" });
    for path in [
        format!("accounts/{ACCOUNT}/spending"),
        "keys/key_test/spending".to_owned(),
    ] {
        admin(&gateway, Method::PUT, &path, limit.clone()).await;
    }
    let in_november = begin(&gateway).await;
    let refused = gateway.chat(&stream()).send().await.unwrap();
    assert_eq!(refused.status(), 402, "November is held for the stream");
    clock.set_unix_ms(november().next().starts_at_ms());
    // December has all of its money, though the stream goes on.
    let in_december = begin(&gateway).await;
    assert_eq!(gateway.chat(&stream()).send().await.unwrap().status(), 402);
    end(&engine, in_november).await;
    let wallet = Arc::clone(&gateway.app.directory.account(&ACCOUNT.into()).unwrap().wallet);
    let cost = Picodollars::new(2 * TOKEN);
    let key = "key_test".into();
    eventually("the first has settled", || {
        wallet.read(november()).month.spent == cost
    })
    .await;
    assert_eq!(wallet.read_key(&key, november()).spent, cost);
    assert_eq!(wallet.read(november().next()).month.spent, Picodollars::ZERO);
    end(&engine, in_december).await;
    eventually("the second has settled", || {
        wallet.read_key(&key, november().next()).spent == cost
    })
    .await;
    assert_eq!(wallet.read(november().next()).month.spent, cost);
    assert_eq!(wallet.read(november()).month.spent, cost);
    let held = [november(), november().next()].map(|month| wallet.read(month).month.held);
    assert_eq!(held, [Picodollars::ZERO; 2]);
    let ledger = Arc::clone(&gateway.app.ledger);
    let (app, _data) = gateway.stop().await;
    for month in [november(), november().next()] {
        let spent = ledger.spent_in(month).await.unwrap();
        assert_eq!(spent[0].spent, cost, "{month}");
        if shared {
            for (kind, owner) in [("account_month", ACCOUNT), ("key_month", "key_test")] {
                assert_eq!(spent_in(&database, kind, owner, month).await, cost.get());
            }
        }
    }
    assert_eq!(ledger.verify().await.unwrap().discrepancies_total, 0);
    drop(app);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_ends_in_the_middle_of_a_stream_in_sqlite() {
    a_month_ends_in_the_middle_of_a_stream(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_ends_in_the_middle_of_a_stream_in_postgres() {
    a_month_ends_in_the_middle_of_a_stream(true).await;
}

/// It is over for whoever comes next; what runs is served to its end, and billed, and leaves nothing behind.
async fn an_account_is_closed_with_requests_in_flight(shared: bool) {
    const STREAMS: usize = 5;
    let engine = scripted(FIRST_TOKEN).await;
    let database = Server::shared().database().await;
    let url = shared.then(|| database.parsed_url());
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_by(Clock::system(), &priced(&[&engine.url]), data, url, 7).await;
    gateway.make_account().await;
    credit(&gateway, "1").await;
    let mut open = Vec::new();
    for _ in 0..STREAMS {
        open.push(begin(&gateway).await);
    }
    // One of them is left by its client.
    let left = open.pop().unwrap();
    admin(
        &gateway,
        Method::POST,
        &format!("accounts/{ACCOUNT}/close"),
        json!({}),
    )
    .await;
    let refused = gateway.chat(&stream()).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    drop(left);
    for open in open {
        end(&engine, open).await;
    }
    eventually("nothing is in flight", || gateway.in_flight() == (0, 0, 0)).await;
    let account = gateway.app.directory.account(&ACCOUNT.into()).unwrap();
    let reading = account.wallet.read(Month::of_ms(gateway.app.clock.unix_ms()));
    assert_eq!(reading.held, Picodollars::ZERO, "holds have returned");
    assert!(
        gateway
            .client
            .get(format!("{}/v1/models", gateway.url))
            .bearer_auth(SECRET)
            .send()
            .await
            .unwrap()
            .status()
            == 401
    );
    let ledger = Arc::clone(&gateway.app.ledger);
    let (_app, _data) = gateway.stop().await;
    let page = farebox::ledger::EntryPage {
        limit: 100,
        ..Default::default()
    };
    let entries = ledger.entries(&page).await.unwrap();
    let of = |state| entries.iter().filter(|entry| entry.state == state).count();
    assert_eq!(
        (of(EntryState::Completed), of(EntryState::Cancelled)),
        (STREAMS - 1, 1)
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.account.as_str() == ACCOUNT && entry.cost.get() > 0)
    );
    assert_eq!(ledger.verify().await.unwrap().discrepancies_total, 0);
    if shared {
        assert_eq!(super::leases(&database).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_closed_with_requests_in_flight_in_sqlite() {
    an_account_is_closed_with_requests_in_flight(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_closed_with_requests_in_flight_in_postgres() {
    an_account_is_closed_with_requests_in_flight(true).await;
}

/// It is closed on one replica while the other serves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_closed_elsewhere_finishes_what_runs_here() {
    let engine = scripted(FIRST_TOKEN).await;
    let database = Server::shared().database().await;
    let replicas = crate::replicas::replicas(&priced(&[&engine.url]), &database, 2).await;
    credit(&replicas[0], "1").await;
    all_know_of_the_ceiling(&replicas).await;
    let open = begin(&replicas[1]).await;
    admin(
        &replicas[0],
        Method::POST,
        &format!("accounts/{ACCOUNT}/close"),
        json!({}),
    )
    .await;
    // Nothing that is billed, in case it is let in still.
    until(async || {
        let balance = replicas[1]
            .client
            .get(format!("{}/v1/me/balance", replicas[1].url));
        balance.bearer_auth(SECRET).send().await.unwrap().status() == 401
    })
    .await;
    end(&engine, open).await;
    crate::replicas::stop_all(replicas).await;
    let (entries, discrepancies) = booked(&database).await;
    assert_eq!((entries.len(), discrepancies), (1, 0));
    assert_eq!(
        (entries[0].state, entries[0].cost.get()),
        (EntryState::Completed, 2 * TOKEN)
    );
    assert_eq!(super::leases(&database).await, 0);
}
