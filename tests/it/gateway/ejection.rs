//! Engines that fail or are slow are left out, and come back one request at a time.

use super::{Gateway, Listening, engine, eventually, models};
use farebox::engines::client::Engine;
use farebox::engines::health::Standing;
use farebox::simulate::Settings;
use farebox_domain::ejection::Why;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;

const ONE_TRY: &str = "retries: { attempts: 1 }";

fn ask(stream: bool, tokens: u32) -> Value {
    json!({
        "model": "m", "stream": stream, "max_tokens": tokens,
        "messages": [{ "role": "user", "content": "Tell me of the sea." }],
    })
}

async fn at_rates(prefill_rate: u64, decode_rate: u64) -> Listening {
    let settings = Settings {
        prefill_rate,
        decode_rate,
        cache_blocks: 0,
        ..Settings::default()
    };
    engine(settings).await
}

fn known(gateway: &Gateway, name: &str) -> Arc<Engine> {
    Arc::clone(gateway.app.registry().engine(name).unwrap())
}

/// Has five requests fail there, which ejects it.
async fn eject(gateway: &Gateway, listening: &Listening, name: &str) {
    listening.engine.set_trouble(Some("status:502")).unwrap();
    let engine = known(gateway, name);
    while engine.health.standing() != Standing::Ejected {
        gateway.chat(&ask(false, 1)).send().await.unwrap();
    }
    listening.engine.set_trouble(None).unwrap();
}

/// Has its probe see it down and up again: a process that has begun anew is half open at once.
async fn begin_anew(gateway: &Gateway, listening: &Listening, name: &str) {
    let engine = known(gateway, name);
    // A probe of the gateway's own may come between.
    while engine.health.standing() != Standing::HalfOpen {
        for healthy in [false, true] {
            listening.engine.set_healthy(healthy);
            engine.probe().await;
        }
    }
}

/// Has its probe see it so.
async fn probed(engine: &Arc<Engine>, listening: &Listening, standing: Standing) {
    listening.engine.set_healthy(standing == Standing::Up);
    while engine.health.standing() != standing {
        engine.probe().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_every_other_request_is_left_out() {
    let only = engine(Settings::default()).await;
    let gateway = Gateway::start(&models(&[&only.url], ONE_TRY)).await;
    for turn in 0..10 {
        let trouble = (turn % 2 == 1).then_some("status:502");
        only.engine.set_trouble(trouble).unwrap();
        let status = gateway.chat(&ask(false, 1)).send().await.unwrap().status();
        assert_eq!(status.is_success(), trouble.is_none());
    }
    let ejected = known(&gateway, "e0").health.ejected().unwrap();
    assert_eq!(ejected.why, Why::Rate);
    let shown = gateway.app.render_metrics();
    assert!(
        shown.contains("farebox_engine_ejections_total{engine=\"e0\",why=\"failure_rate\"} 1"),
        "{shown}"
    );
}

/// One engine that prefills at once, and one that takes a second or so: far more than tenfold.
async fn fast_and_slow() -> (Gateway, [Listening; 2]) {
    let both = [at_rates(0, 0).await, at_rates(20, 0).await];
    let text = models(&[&both[0].url, &both[1].url], "");
    let in_turn = text.replace("task: chat\n", "task: chat\n    routing: round_robin\n");
    (Gateway::start(&in_turn).await, both)
}

/// How long each answer took to its first token.
async fn times(gateway: Gateway) -> String {
    let (app, _data) = gateway.stop().await;
    let entries = super::money::entries(&*app.ledger).await;
    let each = entries.iter().map(|entry| {
        let engine = entry.engine.as_ref().map(ToString::to_string);
        format!("{} {:?}\n", engine.unwrap_or_default(), entry.timings)
    });
    each.collect()
}

async fn stream(gateway: &Gateway) {
    let response = gateway.chat(&ask(true, 1)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.text().await.unwrap().contains("[DONE]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_tenfold_slow_is_left_out_and_fails_nobody() {
    let (gateway, _both) = fast_and_slow().await;
    join_all((0..24).map(|_| stream(&gateway))).await;
    let (fast, slow) = (known(&gateway, "e0"), known(&gateway, "e1"));
    let ejected = slow.health.ejected().map(|ejected| ejected.why);
    assert_eq!(ejected, Some(Why::Slow), "{}", times(gateway).await);
    assert_eq!(fast.health.ejected(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_engine_that_serves_is_not_left_out_for_being_slow() {
    let (gateway, _both) = fast_and_slow().await;
    let (fast, slow) = (known(&gateway, "e0"), known(&gateway, "e1"));
    slow.set_drained(true);
    join_all((0..9).map(|_| stream(&gateway))).await;
    slow.set_drained(false);
    fast.set_drained(true);
    join_all((0..10).map(|_| stream(&gateway))).await;
    assert_eq!(slow.health.ejected(), None);
    fast.set_drained(false);
    join_all((0..2).map(|_| stream(&gateway))).await;
    assert!(slow.health.ejected().is_some(), "there is another again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_engine_is_given_one_request_at_a_time() {
    let both = [at_rates(0, 0).await, at_rates(0, 0).await];
    let gateway = Gateway::start(&models(&[&both[0].url, &both[1].url], "")).await;
    eject(&gateway, &both[1], "e1").await;
    begin_anew(&gateway, &both[1], "e1").await;
    let tried = known(&gateway, "e1");
    assert_eq!(tried.health.standing(), Standing::HalfOpen);
    both[1].engine.set_trouble(Some("hang")).unwrap();
    let trials: Vec<_> = (0..2)
        .map(|_| tokio::spawn(gateway.chat(&ask(false, 1)).send()))
        .collect();
    eventually("it is tried", || both[1].engine.in_flight() == 1).await;
    for _ in 0..6 {
        let response = gateway.chat(&ask(false, 1)).send().await.unwrap();
        assert_eq!(response.status(), 200, "the other one serves");
    }
    assert_eq!(both[1].engine.in_flight(), 1);
    // The client that was the trial leaves: the next one is, and finds it well.
    both[1].engine.set_trouble(None).unwrap();
    for trial in trials {
        trial.abort();
    }
    eventually("the trial is over", || !tried.health.fitness().has_trial).await;
    while tried.health.standing() == Standing::HalfOpen {
        assert_eq!(gateway.chat(&ask(false, 1)).send().await.unwrap().status(), 200);
    }
    assert_eq!(tried.health.standing(), Standing::Up);
}

/// A request tries the only engine, and others come: they wait, and are served when it has left.
async fn others_wait_for_the_trial(gateway: &Gateway, only: &Listening, standing: Standing) {
    only.engine
        .set_trouble(Some("once/a:headers-then-silence"))
        .unwrap();
    let trial = tokio::spawn(gateway.chat(&ask(true, 1)).send());
    eventually("it is tried", || only.engine.in_flight() == 1).await;
    let others: Vec<_> = (0..3)
        .map(|_| tokio::spawn(gateway.chat(&ask(false, 1)).send()))
        .collect();
    let registry = gateway.app.registry();
    let room = &registry.find("m").unwrap().room;
    eventually("they wait", || room.waiting() == 3).await;
    assert_eq!(known(gateway, "e0").health.standing(), standing);
    trial.abort();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_the_only_engine_being_tried_waits_for_what_comes_of_it() {
    let only = at_rates(0, 0).await;
    let gateway = Gateway::start(&models(&[&only.url], ONE_TRY)).await;
    eject(&gateway, &only, "e0").await;
    begin_anew(&gateway, &only, "e0").await;
    others_wait_for_the_trial(&gateway, &only, Standing::HalfOpen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_all_left_out_and_being_tried_waits_for_what_comes_of_it() {
    let only = at_rates(0, 0).await;
    let gateway = Gateway::start(&models(&[&only.url], ONE_TRY)).await;
    eject(&gateway, &only, "e0").await;
    others_wait_for_the_trial(&gateway, &only, Standing::Ejected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_left_out_one_request_finds_out_that_an_engine_is_well_again() {
    let both = [at_rates(0, 0).await, at_rates(0, 0).await];
    let gateway = Gateway::start(&models(&[&both[0].url, &both[1].url], ONE_TRY)).await;
    for listening in &both {
        listening.engine.set_trouble(Some("status:502")).unwrap();
    }
    let engines = [known(&gateway, "e0"), known(&gateway, "e1")];
    while engines.iter().any(|engine| engine.health.is_usable()) {
        gateway.chat(&ask(false, 1)).send().await.unwrap();
    }
    let before: usize = both.iter().map(|one| one.engine.counts().len()).sum();
    for _ in 0..4 {
        let status = gateway.chat(&ask(false, 1)).send().await.unwrap().status();
        assert_eq!(status, 502, "each of them is tried, and fails");
    }
    let after: Vec<usize> = both.iter().map(|one| one.engine.counts().len()).collect();
    assert_eq!(after.iter().sum::<usize>(), before + 4);
    both[0].engine.set_trouble(None).unwrap();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = gateway.chat(&ask(false, 1)).send().await.unwrap();
        answers.push(answer.status().as_u16());
    }
    assert!(answers.contains(&200), "{answers:?}");
    assert_eq!(engines[0].health.standing(), Standing::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_failed_keeps_its_last_try_for_an_engine_that_another_tries() {
    let both = [at_rates(0, 0).await, at_rates(0, 0).await];
    let two_tries = "retries: { attempts: 2, backoff: 1ms }";
    let gateway = Gateway::start(&models(&[&both[0].url, &both[1].url], two_tries)).await;
    eject(&gateway, &both[1], "e1").await;
    begin_anew(&gateway, &both[1], "e1").await;
    both[1]
        .engine
        .set_trouble(Some("once/a:headers-then-silence"))
        .unwrap();
    let answered = both[0].engine.counts().len();
    let trials: Vec<_> = (0..2)
        .map(|_| tokio::spawn(gateway.chat(&ask(true, 1)).send()))
        .collect();
    eventually("it is tried", || both[1].engine.in_flight() == 1).await;
    eventually("the other request is answered", || {
        both[0].engine.counts().len() > answered && both[0].engine.in_flight() == 0
    })
    .await;
    both[0].engine.set_trouble(Some("status:502")).unwrap();
    let errors = known(&gateway, "e0").errors();
    let failed = tokio::spawn(gateway.chat(&ask(false, 1)).send());
    eventually("it failed at the one that is in", || {
        known(&gateway, "e0").errors() > errors
    })
    .await;
    for trial in trials {
        trial.abort();
    }
    assert_eq!(failed.await.unwrap().unwrap().status(), 200);
    assert_eq!(known(&gateway, "e0").errors(), errors + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_has_come_back_is_not_given_everything_at_once() {
    let both = [at_rates(0, 1).await, at_rates(0, 1).await];
    let gateway = Gateway::start(&models(&[&both[0].url, &both[1].url], "")).await;
    let back = known(&gateway, "e1");
    probed(&back, &both[1], Standing::Down).await;
    let open = async || {
        let response = gateway.chat(&ask(true, 1000)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response
    };
    let mut streams = join_all((0..20).map(|_| open())).await;
    probed(&back, &both[1], Standing::Up).await;
    streams.extend(join_all((0..16).map(|_| open())).await);
    let given = back.in_flight();
    assert!(
        (1..=10).contains(&given),
        "{given} of 16: it has none, and with the fewest in flight would have had nearly all"
    );
}
