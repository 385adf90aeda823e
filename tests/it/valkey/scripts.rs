//! The keeper and its scripts by themselves: what several replicas are granted together.

use super::server::Server;
use farebox::admission::shared::{Ask, Granted, Keeper, Place, RateAsk, Shared};
use farebox::clock::Clock;
use farebox::telemetry::metrics::Metrics;
use farebox_domain::limits::RateLimits;
use farebox_domain::refusal::{RateUnit, Refusal, Whose};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);

/// One replica's keeper.
struct Kept {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn keeper(server: &Server, name: &str) -> Kept {
    let metrics = Arc::new(Metrics::new().unwrap());
    let (shared, keeper) = Keeper::new(server.parsed_url(), name.to_owned(), Clock::system(), metrics);
    let stop = CancellationToken::new();
    tokio::spawn(keeper.run(stop.clone()));
    assert!(shared.until_up(PATIENCE).await);
    Kept { shared, stop }
}

fn ask(model: &str, key: &str, limits: [Option<u32>; 3]) -> Ask {
    let place = Place {
        account: "acct_1".into(),
        model: model.into(),
        key: key.into(),
    };
    Ask {
        place: Arc::new(place),
        limits,
        tokens: 0,
        rates: Vec::new(),
    }
}

fn rated(requests: Option<u64>, tokens: Option<u64>, asked: u64) -> Ask {
    let rate = RateAsk {
        bucket: RateAsk::bucket_of(&"acct_1".into(), &Whose::Account),
        limits: RateLimits { requests, tokens },
        whose: Whose::Account,
    };
    Ask {
        tokens: asked,
        rates: vec![rate],
        ..ask("m", "k", [Some(100), None, None])
    }
}

fn full(refused: Result<Granted, Refusal>) -> (u32, u32, String) {
    match refused {
        Err(Refusal::ConcurrencyLimit {
            in_flight,
            limit,
            scope,
        }) => (in_flight, limit, scope),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_holds_over_two_replicas_and_a_refusal_takes_nothing() {
    let server = Server::start();
    let (a, b) = (keeper(&server, "a").await, keeper(&server, "b").await);
    server.settle().await;
    let (a, b) = (&a.shared, &b.shared);
    let limits = [Some(3), Some(2), Some(1)];
    let first = a.acquire(ask("m", "k", limits)).await.unwrap();
    let refused = full(b.acquire(ask("m", "k", limits)).await);
    assert_eq!(refused, (1, 1, "this key".to_owned()));
    let second = b.acquire(ask("m", "l", limits)).await.unwrap();
    let refused = full(a.acquire(ask("m", "n", limits)).await);
    assert_eq!(refused, (2, 2, "this account on m".to_owned()));
    let third = b.acquire(ask("n", "n", limits)).await.unwrap();
    let refused = full(a.acquire(ask("o", "o", limits)).await);
    assert_eq!(refused, (3, 3, "this account".to_owned()));
    let read = a.read(vec!["acct_1".into(), "acct_2".into()]).await.unwrap();
    assert_eq!((read[0].all, read[1].all), (3, 0));
    assert_eq!(read[0].models[&"m".into()], 2);
    drop((first, second, third));
    for shared in [a, b] {
        // What is told later is done later.
        shared.read(Vec::new()).await.unwrap();
    }
    assert!(server.slots("acct_1").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_one_over_two_replicas_and_what_is_not_used_returns_to_both() {
    let server = Server::start();
    let (a, b) = (keeper(&server, "a").await, keeper(&server, "b").await);
    let (a, b) = (&a.shared, &b.shared);
    let tokens = |asked| rated(Some(100), Some(1_000), asked);
    let most = a.acquire(tokens(900)).await.unwrap();
    let refused = b.acquire(tokens(200)).await.unwrap_err();
    let Refusal::RateLimit(met) = &refused else {
        panic!("{refused}")
    };
    assert_eq!((met.unit, met.limit, met.asked), (RateUnit::Tokens, 1_000, 200));
    assert!((880..=900).contains(&met.used), "{}", met.used);
    assert!(met.retry_after > Duration::from_secs(1) && met.retry_after < Duration::from_secs(7));
    assert_eq!(b.read(vec!["acct_1".into()]).await.unwrap()[0].all, 1);
    most.rates.settle(100);
    a.read(Vec::new()).await.unwrap();
    // 100 were used, and 800 are asked for. One that is dropped unsettled gives all of it back.
    drop(b.acquire(tokens(800)).await.unwrap());
    b.read(Vec::new()).await.unwrap();
    let granted = a.acquire(tokens(800)).await.unwrap();
    let [requests, level] = granted.levels[0];
    // Two requests of 100 that are two seconds old at the most.
    assert!((1..=2 * 60_000).contains(&requests.unwrap()), "{requests:?}");
    assert!(level.unwrap() <= 900 * 60_000);
    assert!(matches!(b.acquire(tokens(800)).await, Err(Refusal::RateLimit(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_silent_for_too_long_counts_no_more_and_is_begun_again_with_all_that_it_has() {
    let server = Server::start();
    let (a, b) = (keeper(&server, "a").await, keeper(&server, "b").await);
    server.settle().await;
    let limits = [Some(2), None, None];
    let held = a.shared.acquire(ask("m", "k", limits)).await.unwrap();
    // As if it had not been heard of for a while; its late calls do nothing.
    let mut raw = server.raw().await;
    let mut silence = redis::cmd("HSET");
    silence.arg("farebox:sessions").arg("a:1").arg(0);
    silence.exec_async(&mut raw).await.unwrap();
    let both = [
        b.shared.acquire(ask("m", "k", limits)).await,
        b.shared.acquire(ask("m", "k", limits)).await,
    ];
    assert!(both.iter().all(Result::is_ok), "the dead one's place is free");
    // It finds out, and has one: with the two there are three, and none is free until two have ended.
    assert!(a.shared.acquire(ask("m", "k", limits)).await.is_err());
    assert!(a.shared.until_up(PATIENCE).await);
    crate::replicas::until(async || b.shared.read(vec!["acct_1".into()]).await.unwrap()[0].all == 3).await;
    assert_eq!(full(b.shared.acquire(ask("m", "k", limits)).await).0, 3);
    drop(both);
    let again = b.shared.acquire(ask("m", "k", limits)).await;
    assert!(again.is_ok());
    drop((held, again));
    crate::replicas::until(async || server.slots("acct_1").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_gives_back_at_once_what_it_still_has() {
    let server = Server::start();
    let (a, b) = (keeper(&server, "a").await, keeper(&server, "b").await);
    let _held = a
        .shared
        .acquire(ask("m", "k", [Some(1), None, None]))
        .await
        .unwrap();
    a.stop.cancel();
    crate::replicas::until(async || b.shared.read(vec!["acct_1".into()]).await.unwrap()[0].all == 0).await;
}

/// Whatever three replicas ask for and give back, what is granted is what a single count would have granted.
#[test]
fn three_replicas_are_granted_what_one_would_be() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = Server::start();
    let keepers = runtime.block_on(async {
        let keepers = [
            keeper(&server, "a").await,
            keeper(&server, "b").await,
            keeper(&server, "c").await,
        ];
        server.settle().await;
        keepers
    });
    let steps = prop::collection::vec((0..3usize, 0..2usize, 0..2usize, 0..3u8), 1..60);
    let mut runner = TestRunner::new(Config::with_cases(24));
    let checked = runner.run(&steps, |steps| {
        runtime.block_on(async {
            let mut held: Vec<(usize, usize, usize, Granted)> = Vec::new();
            for (replica, model, key, what) in steps {
                if what == 2 {
                    if !held.is_empty() {
                        let (of, .., granted) = held.swap_remove(model % held.len());
                        drop(granted);
                        keepers[of].shared.read(Vec::new()).await.unwrap();
                    }
                    continue;
                }
                let limits = [Some(7), Some(5), Some(4)];
                let (name, with) = (["m", "n"][model], ["k", "l"][key]);
                let granted = keepers[replica].shared.acquire(ask(name, with, limits)).await;
                let of_model = held.iter().filter(|(_, of, ..)| *of == model).count();
                let of_key = held.iter().filter(|(_, _, of, _)| *of == key).count();
                let fits = held.len() < 7 && of_model < 5 && of_key < 4;
                prop_assert_eq!(granted.is_ok(), fits, "{:?}", granted);
                if let Ok(granted) = granted {
                    held.push((replica, model, key, granted));
                }
            }
            drop(held);
            for keeper in &keepers {
                keeper.shared.read(Vec::new()).await.unwrap();
            }
            Ok(())
        })
    });
    checked.unwrap();
    runtime.block_on(async { assert!(server.slots("acct_1").await.is_empty()) });
}
