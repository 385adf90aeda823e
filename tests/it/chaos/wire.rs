//! What can happen between a replica and its PostgreSQL: cut anywhere, slow, silent, or with no connection left.

use super::proxy::{ChaosProxy, Mode};
use super::{HANG, ask, behind_proxies, is_away, leases, seed, standing, verified};
use crate::gateway::{ACCOUNT, Gateway, engine, eventually};
use crate::postgres::{Database, Durability, Server};
use crate::replicas::{TOKEN, all_know_of_the_ceiling, credit, priced, quick, stop_all, until};
use farebox::ledger::{LeaseAnswer, Lessor as _, PgLessor, Scope};
use farebox::store::{AccountRow, Store};
use farebox_domain::ids::RequestId;
use farebox_domain::money::Picodollars;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{ConnectOptions as _, Executor as _};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// At every moment that is looked at, nothing is spent or leased beyond what was paid in, and no lease is below nothing.
async fn watch(database: &Database, stop: &AtomicBool) -> usize {
    let mut raw = database.raw().await;
    let mut moments = 0;
    while !stop.load(Ordering::SeqCst) {
        let (beyond, below): (bool, bool) = sqlx::query_as(
            "SELECT coalesce((SELECT spent FROM spending WHERE kind = 'credit' AND owner = $1), 0)
                    + coalesce((SELECT sum(leased) FROM leases WHERE kind = 'credit' AND owner = $1), 0) > 0,
                    exists(SELECT FROM leases WHERE leased < 0)",
        )
        .bind(ACCOUNT)
        .fetch_one(&mut raw)
        .await
        .unwrap();
        assert!(!beyond, "spent and leased beyond what was paid in");
        assert!(!below, "a lease below nothing");
        moments += 1;
    }
    moments
}

/// Asks until what is left is less than one request may cost: nobody is refused for money that is stuck somewhere.
pub(super) async fn spend_the_rest(
    replicas: &[Arc<Gateway>],
    database: &Database,
    seen: &mut Vec<(RequestId, u64)>,
) {
    const MOST: u64 = 100;
    until(
        async || match ask(&replicas[seen.len() % replicas.len()], MOST).await {
            Ok(answer) => {
                seen.push(answer);
                false
            }
            Err((402, _)) => {
                let left = -standing(database, "credit", ACCOUNT).await.spent;
                left < i128::from(MOST) * TOKEN
            }
            Err(refused) if is_away(&refused) => false,
            Err(other) => panic!("{other:?}"),
        },
    )
    .await;
}

async fn booked_is_what_was_seen(database: &Database, seen: &[(RequestId, u64)]) {
    let (entries, _) = crate::replicas::booked(database).await;
    let ids: HashSet<RequestId> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), seen.len(), "no more was booked, and no less");
    assert!(seen.iter().all(|(id, _)| ids.contains(id)));
    let (booked, asked): (i128, u64) = (
        entries.iter().map(|entry| entry.cost.get()).sum(),
        seen.iter().map(|(_, tokens)| tokens).sum(),
    );
    assert_eq!(booked, i128::from(asked) * TOKEN);
    verified(database).await;
    assert_eq!(leases(database).await, 0);
}

async fn cut_at_random(seed: u64) {
    const CLIENTS: usize = 12;
    let simulated = engine(quick()).await;
    let database = Arc::new(Server::shared().database().await);
    let (replicas, proxies) = behind_proxies(&priced(&[&simulated.url]), &database, 2, seed).await;
    // Less than they want, so that lease goes to and fro.
    credit(&replicas[0], "0.4").await;
    all_know_of_the_ceiling(&replicas).await;
    for proxy in &proxies {
        // A conversation that books a batch is some thousand bytes long, one that asks for lease some hundreds.
        proxy.set(Mode::Cut { most: 6_000 });
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watched = tokio::spawn({
        let (database, stop) = (Arc::clone(&database), Arc::clone(&stop));
        async move { watch(&database, &stop).await }
    });
    let refused = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (replica, refused) = (Arc::clone(&replicas[client % 2]), Arc::clone(&refused));
        clients.spawn(async move {
            let mut seen = Vec::new();
            for number in 0..25 {
                match ask(&replica, 1 + (number * 7 + client as u64) % 40).await {
                    Ok(answer) => seen.push(answer),
                    Err(at) => {
                        assert!(at.0 == 402 || is_away(&at), "{at:?}");
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            seen
        });
    }
    let mut seen: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    for proxy in &proxies {
        proxy.set(Mode::Pass);
    }
    let under_cuts = seen.len();
    spend_the_rest(&replicas, &database, &mut seen).await;
    stop.store(true, Ordering::SeqCst);
    let moments = watched.await.unwrap();
    stop_all(replicas).await;
    booked_is_what_was_seen(&database, &seen).await;
    eprintln!(
        "{under_cuts} answers and {} refusals under cuts, {moments} moments looked at",
        refused.load(Ordering::SeqCst)
    );
}

/// Cut after any byte, in either direction, again and again: what was asked may have been done or not, and nobody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_anywhere_books_once_and_loses_no_lease() {
    let runs = std::env::var("FAREBOX_CHAOS_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(2);
    let first = seed("cut");
    for seed in first..first + runs {
        cut_at_random(seed).await;
    }
}

/// Questions about one ceiling, by two replicas, over connections that end after some hundreds of bytes. However many
/// answers are lost, in the end each has exactly what the database says that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_whose_answer_is_lost_is_found_and_what_is_given_back_is_given_back_once() {
    const QUESTIONS: usize = 150;
    let database = Server::shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut account = AccountRow::new(ACCOUNT.into(), "test".into(), 1);
    account.credit_limit = Some(Picodollars::new(1_000_000));
    let direct = Store::connect(&folder.path().join("direct"), &database.parsed_url())
        .await
        .unwrap();
    direct.create_account(&account).await.unwrap();
    let seed = seed("lost answers");
    let scope = Scope::Credit(ACCOUNT.into());
    let mut replicas = JoinSet::new();
    for number in 0..2 {
        let proxy = ChaosProxy::before(database.url(), seed + number).await;
        let data = folder.path().join(format!("replica-{number}"));
        let store = Store::connect(&data, &proxy.url(database.url())).await.unwrap();
        let lessor = PgLessor::new(&store, &format!("replica-{number}")).unwrap();
        let scope = scope.clone();
        replicas.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed + number);
            let (mut has, mut failures) = (0, 0);
            proxy.set(Mode::Cut { most: 4_000 });
            for _ in 0..QUESTIONS {
                let outcome = if random.random_bool(0.6) {
                    let need = Picodollars::new(random.random_range(1..2_000));
                    let answer = lessor.ask(&scope, need, false).await;
                    answer.map(|answer| match answer {
                        LeaseAnswer::Granted(granted) => has += granted.get(),
                        LeaseAnswer::Short { .. } => {}
                    })
                } else {
                    let idle = random.random_range(0..=has);
                    has -= idle;
                    lessor.give_back(&scope, Picodollars::new(idle)).await
                };
                failures += usize::from(outcome.is_err());
            }
            proxy.set(Mode::Pass);
            // The first that are asked may still be about to be cut.
            loop {
                match lessor.ask(&scope, Picodollars::new(1), false).await {
                    Ok(LeaseAnswer::Granted(granted)) => has += granted.get(),
                    Ok(LeaseAnswer::Short { .. }) => {}
                    Err(_) => continue,
                }
                break;
            }
            (format!("replica-{number}"), has, failures)
        });
    }
    for (replica, has, failures) in replicas.join_all().await {
        let leased: String = sqlx::query_scalar("SELECT leased::text FROM leases WHERE replica = $1")
            .bind(&replica)
            .fetch_one(&mut database.raw().await)
            .await
            .unwrap();
        assert_eq!(leased.parse::<i128>().unwrap(), has, "{replica}");
        assert!(failures > 0, "nothing was lost");
        eprintln!("{replica}: {failures} of {QUESTIONS} without an answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_slows_nobody_who_has_lease() {
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let (replicas, proxies) = behind_proxies(&priced(&[&simulated.url]), &database, 2, 1).await;
    credit(&replicas[0], "1").await;
    all_know_of_the_ceiling(&replicas).await;
    let mut seen = Vec::new();
    for proxy in &proxies {
        proxy.set(Mode::Delay(Duration::from_millis(50)));
    }
    for number in 0..40 {
        seen.push(ask(&replicas[number % 2], 20).await.unwrap());
    }
    eventually("all is booked, slowly", || {
        replicas.iter().all(|replica| replica.app.in_outbox() == Some(0))
    })
    .await;
    for proxy in &proxies {
        proxy.set(Mode::Pass);
    }
    spend_the_rest(&replicas, &database, &mut seen).await;
    stop_all(replicas).await;
    booked_is_what_was_seen(&database, &seen).await;
}

/// The worst of outages: connections stay open, and nothing comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_hangs_nobody() {
    const CROWD: usize = 30;
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let (mut replicas, proxies) = behind_proxies(&priced(&[&simulated.url]), &database, 1, 1).await;
    credit(&replicas[0], "1").await;
    all_know_of_the_ceiling(&replicas).await;
    let replica = Arc::clone(&replicas[0]);
    let mut seen = vec![ask(&replica, 10).await.unwrap()];
    proxies[0].set(Mode::Stall);
    // What is leased, half of all, is spent without asking.
    for _ in 0..20 {
        seen.push(ask(&replica, 10).await.unwrap());
    }
    // All of it is more than what is leased. They are refused together, and not one after the other.
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let replica = Arc::clone(&replica);
        crowd.spawn(async move { ask(&replica, 4_000).await });
    }
    let (mut answered, mut refused) = (Vec::new(), 0);
    for outcome in tokio::time::timeout(HANG, crowd.join_all())
        .await
        .expect("no hang")
    {
        match outcome {
            Ok(answer) => answered.push(answer),
            Err(at) => {
                assert!(is_away(&at), "{at:?}");
                refused += 1;
            }
        }
    }
    assert!(
        refused >= CROWD - 1,
        "at most one fits into half of what there is"
    );
    seen.extend(answered);
    proxies[0].set(Mode::Pass);
    drop(replica);
    spend_the_rest(&replicas, &database, &mut seen).await;
    // It ends while nobody answers, and starts again when somebody does.
    proxies[0].set(Mode::Refuse);
    let replica =
        Arc::try_unwrap(replicas.pop().unwrap()).unwrap_or_else(|_| panic!("a client still has it"));
    let data = replica.die();
    // By a way of its own: the tasks of the one that died go on in this process, and must not reach the ledger again.
    let url = database.parsed_url();
    let again = Gateway::start_in(&priced(&[&simulated.url]), data, Some(url), 5).await;
    again.stop().await;
    booked_is_what_was_seen(&database, &seen).await;
}

/// Somebody else has all of the server's connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_free_connection_is_one_that_is_away() {
    const CONNECTIONS: usize = 16;
    let server = Server::start(Durability::Fast);
    let database = server.database().await;
    database
        .raw()
        .await
        .execute(sqlx::AssertSqlSafe(format!(
            "ALTER SYSTEM SET max_connections = {CONNECTIONS}"
        )))
        .await
        .unwrap();
    server.stop_fast();
    server.start_again();
    let simulated = engine(quick()).await;
    let (replicas, _proxies) = behind_proxies(&priced(&[&simulated.url]), &database, 1, 1).await;
    credit(&replicas[0], "1").await;
    all_know_of_the_ceiling(&replicas).await;
    let mut seen = vec![ask(&replicas[0], 10).await.unwrap()];
    // Takes what is free, and then what farebox had, until all are taken: farebox connects again as soon as it may.
    let mut hogs = vec![database.raw().await];
    let options: sqlx::postgres::PgConnectOptions = database.url().parse().unwrap();
    while hogs.len() < CONNECTIONS {
        hogs.extend(options.connect().await);
        let ended =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'farebox'";
        hogs[0].execute(ended).await.unwrap();
    }
    for _ in 0..10 {
        seen.push(ask(&replicas[0], 10).await.unwrap());
    }
    let mut refusals = 0;
    until(async || {
        match ask(&replicas[0], 4_000).await {
            Ok(answer) => seen.push(answer),
            Err(at) => {
                assert!(is_away(&at), "{at:?}");
                refusals += 1;
            }
        }
        refusals > 3
    })
    .await;
    drop(hogs);
    spend_the_rest(&replicas, &database, &mut seen).await;
    stop_all(replicas).await;
    booked_is_what_was_seen(&database, &seen).await;
}

/// Behind the proxy's back nothing changes: this holds the proxy to what the tests take for granted of it.
#[tokio::test]
async fn the_proxy_does_what_it_is_told() {
    let database = Server::shared().database().await;
    let proxy = ChaosProxy::before(database.url(), 1).await;
    let through = database.url().replace(
        database
            .url()
            .split('@')
            .nth(1)
            .unwrap()
            .split('/')
            .next()
            .unwrap(),
        &format!("127.0.0.1:{}", proxy.port()),
    );
    let options: sqlx::postgres::PgConnectOptions = through.parse().unwrap();
    let mut raw = options.connect().await.unwrap();
    raw.execute("SELECT 1").await.unwrap();
    assert_eq!(proxy.open(), 1);
    proxy.set(Mode::Stall);
    let stalled = tokio::time::timeout(Duration::from_millis(100), raw.execute("SELECT 1"));
    assert!(stalled.await.is_err());
    proxy.set(Mode::Refuse);
    raw.execute("SELECT 1").await.unwrap_err();
    options.connect().await.unwrap_err();
    proxy.set(Mode::Cut { most: 200 });
    let mut cut = 0;
    for _ in 0..20 {
        cut += usize::from(options.connect().await.is_err());
    }
    assert!(cut > 0);
    proxy.set(Mode::Pass);
    options.connect().await.unwrap();
}
