//! Waiting for a place where every engine of the model is full: in turn, for a while, and by nobody who will not.

use super::money::entries;
use super::reload::reload;
use super::{
    ACCOUNT, ADMIN_TOKEN, Gateway, Listening, OTHER_SECRET, SECRET, engine, eventually, limited_models,
    models,
};
use farebox::engines::waiting::{Asks, Entered};
use farebox::simulate::Settings;
use farebox_domain::ids::AccountId;
use farebox_domain::units::ServiceTier;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinHandle;

/// A gateway in front of one engine that takes one request at a time, and that request lasts until its client leaves.
async fn narrow(more: &str) -> (Arc<Gateway>, Listening) {
    let slow = engine(Settings {
        decode_rate: 1,
        ..Settings::default()
    })
    .await;
    let one_at_a_time = models(&[&slow.url], more).replace("kind: vllm", "kind: vllm, max_concurrent: 1");
    let tiers = one_at_a_time.replace(
        "output: \"0.32\" }",
        "output: \"0.32\", priority: \"2\", flex: \"0.5\" }",
    );
    (Arc::new(Gateway::start(&tiers).await), slow)
}

fn chat(more: &[(&str, Value)]) -> Value {
    let mut body = json!({ "model": "m", "stream": true, "max_tokens": 1000, "messages": [{ "role": "user", "content": "hi" }] });
    for (name, value) in more {
        body[*name] = value.clone();
    }
    body
}

fn waiting(gateway: &Gateway) -> usize {
    gateway.app.registry().find("m").unwrap().room.waiting()
}

/// Sends a request that leaves as soon as it is served, and tells its name then.
fn send(
    gateway: &Arc<Gateway>,
    secret: &'static str,
    body: Value,
    name: &'static str,
    served: &mpsc::UnboundedSender<&'static str>,
) -> JoinHandle<()> {
    let (gateway, served) = (Arc::clone(gateway), served.clone());
    tokio::spawn(async move {
        let response = gateway.chat_as(secret, &body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{name}");
        served.send(name).unwrap();
    })
}

async fn code_of(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    (status, answer["error"]["code"].as_str().unwrap_or("-").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_with_a_hundred_and_ninety_waiting_holds_up_another_for_one_turn() {
    let (gateway, _slow) = narrow("").await;
    gateway.add_account("other", OTHER_SECRET).await;
    let (served, mut turns) = mpsc::unbounded_channel();
    let first = gateway.chat(&chat(&[])).send().await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..190 {
        clients.push(send(&gateway, SECRET, chat(&[]), "many", &served));
    }
    eventually("190 wait", || waiting(&gateway) == 190).await;
    clients.push(send(&gateway, OTHER_SECRET, chat(&[]), "one", &served));
    eventually("191 wait", || waiting(&gateway) == 191).await;
    assert_eq!(
        gateway.in_flight(),
        (192, 1, 192),
        "what waits is in flight, and at no engine"
    );
    drop(first);
    let mut order = Vec::new();
    for _ in 0..191 {
        order.push(turns.recv().await.unwrap());
        assert!(gateway.in_flight().1 <= 1, "nobody gets in beside the one place");
    }
    let turn = order.iter().position(|name| *name == "one").unwrap();
    assert!(turn <= 1, "it waited {turn} turns");
    for client in clients {
        client.await.unwrap();
    }
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_are_served_in_their_order_and_billed_as_they_are_served() {
    let (gateway, _slow) = narrow("").await;
    let (served, mut turns) = mpsc::unbounded_channel();
    let first = gateway.chat(&chat(&[])).send().await.unwrap();
    let mut clients = Vec::new();
    for (number, tier) in ["flex", "default", "priority"].into_iter().enumerate() {
        let body = chat(&[("service_tier", json!(tier))]);
        clients.push(send(&gateway, SECRET, body, tier, &served));
        eventually("it waits", || waiting(&gateway) == number + 1).await;
    }
    drop(first);
    let order = [turns.recv().await, turns.recv().await, turns.recv().await];
    assert_eq!(order.map(Option::unwrap), ["priority", "default", "flex"]);
    for client in clients {
        client.await.unwrap();
    }
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    let waits = metric(&gateway, "farebox_queue_wait_seconds_count{outcome=\"served\"");
    assert_eq!(waits, 3.0);
    let (app, _data) = Arc::into_inner(gateway).unwrap().stop().await;
    let booked = entries(app.ledger.as_ref()).await;
    let mut tiers: Vec<_> = booked.iter().map(|entry| entry.service_tier.as_str()).collect();
    tiers.sort_unstable();
    assert_eq!(tiers, ["default", "default", "flex", "priority"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_will_not_wait_is_told_at_once_and_no_engine_sees_the_field() {
    let (gateway, slow) = narrow("queue: { size: 1 }").await;
    let fast = chat(&[("fail_fast", json!(true))]);
    let first = gateway.chat(&fast).send().await.unwrap();
    assert_eq!(first.status(), 200, "there was a place");
    let refused = gateway.chat(&fast).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(code_of(refused).await, (429, "engine_overloaded".into()));
    let wrong = chat(&[("fail_fast", json!("yes"))]);
    let refused = gateway.chat(&wrong).send().await.unwrap();
    let answer: Value = refused.json().await.unwrap();
    insta::assert_snapshot!(answer["error"]["message"].as_str().unwrap(), @"`fail_fast` must be true or false, not a text");

    // One waits, and there is no room for another.
    let (served, mut turns) = mpsc::unbounded_channel();
    let patient = send(
        &gateway,
        SECRET,
        chat(&[("fail_fast", Value::Null)]),
        "patient",
        &served,
    );
    eventually("it waits", || waiting(&gateway) == 1).await;
    let refused = gateway.chat(&chat(&[])).send().await.unwrap();
    assert_eq!(code_of(refused).await, (429, "engine_overloaded".into()));
    drop(first);
    assert_eq!(turns.recv().await, Some("patient"));
    patient.await.unwrap();
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    assert_eq!(slow.engine.counts().len(), 2, "what was refused was sent nowhere");
    let (app, _data) = Arc::into_inner(gateway).unwrap().stop().await;
    let booked = entries(app.ledger.as_ref()).await;
    let paid: Vec<_> = booked.iter().filter(|entry| entry.cost.get() > 0).collect();
    assert_eq!(paid.len(), 2, "what was refused costs nothing: {booked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_has_an_end_and_a_client_that_leaves_leaves_the_line() {
    let (gateway, slow) = narrow("queue: { default: 50ms, flex: 1h }").await;
    let first = gateway.chat(&chat(&[])).send().await.unwrap();
    let timed_out = gateway.chat(&chat(&[])).send().await.unwrap();
    assert_eq!(code_of(timed_out).await, (429, "engine_overloaded".into()));
    assert_eq!((waiting(&gateway), gateway.in_flight()), (0, (1, 1, 1)));

    let (served, mut turns) = mpsc::unbounded_channel();
    let flex = || chat(&[("service_tier", json!("flex"))]);
    let leaves = send(&gateway, SECRET, flex(), "leaves", &served);
    eventually("it waits", || waiting(&gateway) == 1).await;
    let stays = send(&gateway, SECRET, flex(), "stays", &served);
    eventually("both wait", || waiting(&gateway) == 2).await;
    leaves.abort();
    eventually("one has left", || waiting(&gateway) == 1).await;
    drop(first);
    assert_eq!(turns.recv().await, Some("stays"));
    stays.await.unwrap();
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    assert_eq!(slow.engine.counts().len(), 2);
    let left = metric(
        &gateway,
        "farebox_queue_wait_seconds_count{outcome=\"gone\",tier=\"flex\"",
    );
    assert_eq!(left, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_comes_back_serves_those_that_wait_for_it() {
    let (slow, other) = (
        engine(Settings::default()).await,
        engine(Settings::default()).await,
    );
    let listed = models(&[&slow.url, &other.url], "").replace("kind: vllm", "kind: vllm, max_concurrent: 1");
    let gateway = Arc::new(Gateway::start(&listed).await);
    let drain = async |name: &str, what: &str| {
        let url = format!("{}/admin/v1/engines/{name}/{what}", gateway.admin_url);
        let answer = gateway.client.post(url).bearer_auth(ADMIN_TOKEN).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    };
    slow.engine.set_trouble(Some("stall:1")).unwrap();
    drain("e1", "drain").await;
    let stalled = gateway.chat(&chat(&[])).send().await.unwrap();
    let (served, mut turns) = mpsc::unbounded_channel();
    let waits = send(&gateway, SECRET, chat(&[]), "waits", &served);
    eventually("it waits", || waiting(&gateway) == 1).await;
    drain("e1", "restore").await;
    assert_eq!(turns.recv().await, Some("waits"));
    waits.await.unwrap();
    drop(stalled);
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
}

/// Takes a place of the model's and gives it back, once in each round. Who finds a room closed goes on to that of the next reading.
async fn take_turns(gateway: Arc<Gateway>, model: &'static str, rounds: Arc<Barrier>) {
    let account = AccountId::from(ACCOUNT);
    let asks = Asks {
        account: &account,
        tier: ServiceTier::Default,
        may_wait: true,
        since: gateway.app.clock.now(),
        prompt: None,
        waited: true,
    };
    for _ in 0..20_000 {
        rounds.wait().await;
        let place = loop {
            let served = gateway.app.registry().find(model).cloned().unwrap();
            let place = match served.enter(asks).unwrap() {
                Entered::Place(place) => Some(place),
                Entered::Waits(waits) => waits.place().await,
                Entered::Closed => None,
            };
            if let Some(place) = place {
                break place;
            }
        };
        // Meanwhile the other comes.
        tokio::task::yield_now().await;
        drop(place);
    }
}

/// One of two comes when the other leaves, again and again, and nobody comes later who would wake it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_ever_whose_place_came_free_as_it_came_or_while_models_yaml_was_read_again() {
    let only = engine(Settings::default()).await;
    let listed = limited_models(&only.url, "requests_per_minute: null", "");
    let listed = listed.replace("kind: vllm", "kind: vllm, max_concurrent: 1");
    let gateway = Arc::new(Gateway::start(&listed).await);
    let rounds = Arc::new(Barrier::new(2));
    let both = ["m", "n"].map(|model| {
        let turns = take_turns(Arc::clone(&gateway), model, Arc::clone(&rounds));
        tokio::spawn(turns)
    });
    for size in 1..=20 {
        reload(&gateway, &format!("{listed}queue: {{ size: {size} }}\n")).await;
    }
    for turns in both {
        let ended = tokio::time::timeout(Duration::from_secs(60), turns).await;
        ended
            .expect("it waits, and nobody hands over the place that there is")
            .unwrap();
    }
    assert_eq!(gateway.in_flight(), (0, 0, 0));
}

/// The sum of the samples whose name and first labels are these.
fn metric(gateway: &Gateway, begins: &str) -> f64 {
    let text = gateway.app.render_metrics();
    let samples = text.lines().filter(|line| line.starts_with(begins));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}
