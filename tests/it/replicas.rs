//! Several replicas on one PostgreSQL: a ceiling is one ceiling, a change acts on all, and an outage loses nothing.

use crate::gateway::{ACCOUNT, ADMIN_TOKEN, Gateway, SECRET, engine, eventually, models};
use crate::postgres::{Database, Durability, Server};
use farebox::ledger::{EntryPage, Ledger, PgLedger};
use farebox::simulate::Settings;
use farebox::store::Store;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::money::{PICODOLLARS_PER_USD, Picodollars};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;

const REPLICAS: usize = 3;
/// A hundredth of a cent: a token of answer. The prompt is free.
pub(crate) const TOKEN: i128 = PICODOLLARS_PER_USD / 10_000;

pub(crate) fn priced(engines: &[&str]) -> String {
    models(engines, "").replace(
        r#"{ input: "0.10", cached_input: "0.02", output: "0.32" }"#,
        r#"{ input: "0", output: "100" }"#,
    )
}

pub(crate) fn quick() -> Settings {
    Settings {
        decode_rate: 20_000,
        slots: 1_000,
        ..Settings::default()
    }
}

pub(crate) async fn replicas(models: &str, database: &Database, count: usize) -> Vec<Arc<Gateway>> {
    let mut replicas = Vec::new();
    for seed in 0..count {
        let data = tempfile::tempdir().unwrap();
        let url = Some(database.parsed_url());
        let replica = Gateway::start_in(models, data, url, seed as u64).await;
        if seed == 0 {
            replica.make_account().await;
        }
        replicas.push(Arc::new(replica));
    }
    replicas
}

async fn try_admin(replica: &Gateway, method: reqwest::Method, path: &str, body: Value) -> reqwest::Response {
    let asked = replica
        .client
        .request(method, format!("{}/admin/v1/{path}", replica.admin_url));
    asked.bearer_auth(ADMIN_TOKEN).json(&body).send().await.unwrap()
}

pub(crate) async fn admin(replica: &Gateway, method: reqwest::Method, path: &str, body: Value) -> Value {
    let response = try_admin(replica, method, path, body).await;
    assert!(
        response.status().is_success(),
        "{path}: {}",
        response.text().await.unwrap()
    );
    response.json().await.unwrap()
}

pub(crate) async fn credit(replica: &Gateway, usd: &str) {
    let body = json!({ "usd": usd, "note": "", "reference": format!("credit-{usd}") });
    admin(
        replica,
        reqwest::Method::POST,
        &format!("accounts/{ACCOUNT}/credit"),
        body,
    )
    .await;
}

/// Every replica knows that the account has a ceiling.
pub(crate) async fn all_know_of_the_ceiling(replicas: &[Arc<Gateway>]) {
    eventually("every replica knows of the credit", || {
        replicas.iter().all(|replica| {
            let account = replica.app.directory.account(&ACCOUNT.into());
            account.is_some_and(|account| {
                account
                    .wallet
                    .read(farebox_domain::month::Month::from_index(0))
                    .credit_limit
                    .is_some()
            })
        })
    })
    .await;
}

pub(crate) fn chat(more: Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

pub(crate) async fn stop_all(replicas: Vec<Arc<Gateway>>) {
    for replica in replicas {
        let replica = Arc::try_unwrap(replica).unwrap_or_else(|_| panic!("a client still has it"));
        replica.stop().await;
    }
}

/// What the shared ledger holds.
pub(crate) async fn booked(database: &Database) -> (Vec<Entry>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::connect(folder.path(), &database.parsed_url())
        .await
        .unwrap();
    let ledger = PgLedger::open(&store).await.unwrap();
    let page = EntryPage {
        limit: 10_000,
        ..EntryPage::default()
    };
    let entries = ledger.entries(&page).await.unwrap();
    (entries, ledger.verify().await.unwrap().discrepancies_total)
}

pub(crate) async fn leased(database: &Database) -> i64 {
    let mut raw = database.raw().await;
    sqlx::query_scalar("SELECT coalesce(sum(leased), 0)::bigint FROM leases")
        .fetch_one(&mut raw)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dollar_is_spent_to_the_last_cent_by_five_hundred_on_three_replicas() {
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let replicas = replicas(&priced(&[&simulated.url]), &database, REPLICAS).await;
    credit(&replicas[0], "1").await;
    let limit = json!({ "concurrent_requests": 500 });
    admin(
        &replicas[0],
        reqwest::Method::PUT,
        &format!("accounts/{ACCOUNT}/limits"),
        limit,
    )
    .await;
    all_know_of_the_ceiling(&replicas).await;
    let (spent, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..500usize {
        let replica = Arc::clone(&replicas[number % REPLICAS]);
        let (spent, refused) = (Arc::clone(&spent), Arc::clone(&refused));
        clients.spawn(async move {
            let mut more = json!({ "max_tokens": 100 });
            if number.is_multiple_of(3) {
                more["response_format"] = json!({ "type": "json_object" });
            }
            // It wants on while there is a cent that is not spent.
            while spent.load(Ordering::SeqCst) <= 10_000 - 100 {
                let response = replica.chat(&chat(more.clone())).send().await.unwrap();
                let status = response.status().as_u16();
                let answer: Value = response.json().await.unwrap();
                match status {
                    200 => {
                        let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
                        spent.fetch_add(usize::try_from(tokens).unwrap(), Ordering::SeqCst);
                    }
                    402 => {
                        refused.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(answer["error"]["code"], "insufficient_balance");
                        tokio::task::yield_now().await;
                    }
                    _ => panic!("{status} {answer}"),
                }
            }
        });
    }
    clients.join_all().await;
    stop_all(replicas).await;
    let (entries, discrepancies) = booked(&database).await;
    let total: i128 = entries.iter().map(|entry| entry.cost.get()).sum();
    assert!(
        ((10_000 - 99) * TOKEN..=10_000 * TOKEN).contains(&total),
        "spent {}",
        Picodollars::new(total)
    );
    assert_eq!(
        total,
        i128::try_from(spent.load(Ordering::SeqCst)).unwrap() * TOKEN
    );
    assert_eq!(discrepancies, 0);
    assert_eq!(leased(&database).await, 0, "who has ended has given all back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_replica_acts_on_all() {
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let replicas = replicas(&priced(&[&simulated.url]), &database, 2).await;
    let asked = async |replica: &Gateway| {
        let response = replica
            .chat(&chat(json!({ "max_tokens": 1 })))
            .send()
            .await
            .unwrap();
        response.status().as_u16()
    };
    assert_eq!((asked(&replicas[0]).await, asked(&replicas[1]).await), (200, 200));
    let none = json!({ "concurrent_requests": 0 });
    admin(
        &replicas[0],
        reqwest::Method::PUT,
        &format!("accounts/{ACCOUNT}/limits"),
        none,
    )
    .await;
    until(async || asked(&replicas[1]).await == 429).await;
    let some = json!({ "concurrent_requests": 5 });
    admin(
        &replicas[1],
        reqwest::Method::PUT,
        &format!("accounts/{ACCOUNT}/limits"),
        some,
    )
    .await;
    until(async || asked(&replicas[0]).await == 200).await;
    admin(
        &replicas[1],
        reqwest::Method::POST,
        &format!("accounts/{ACCOUNT}/close"),
        json!({}),
    )
    .await;
    until(async || asked(&replicas[0]).await == 401).await;
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_changed_or_rotated_on_one_replica_is_on_all() {
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let replicas = replicas(&priced(&[&simulated.url]), &database, 2).await;
    let asked = async |replica: &Gateway, secret: &str| {
        let request = replica.chat_as(secret, &chat(json!({ "max_tokens": 1 })));
        let response = request.send().await.unwrap();
        response.status().as_u16()
    };
    let change = async |replica: &Gateway, models: Value| {
        let body = json!({ "allowed_models": models });
        admin(replica, reqwest::Method::PATCH, "keys/key_test", body).await
    };
    change(&replicas[0], json!(["another"])).await;
    until(async || asked(&replicas[1], SECRET).await == 403).await;
    change(&replicas[1], json!([])).await;
    until(async || asked(&replicas[0], SECRET).await == 200).await;
    let rotate = async |replica: &Gateway, overlap_seconds: u64| {
        let body = json!({ "overlap_seconds": overlap_seconds });
        let path = "keys/key_test/rotate";
        let rotated = admin(replica, reqwest::Method::POST, path, body).await;
        rotated["secret"].as_str().unwrap().to_owned()
    };
    let second = rotate(&replicas[0], 600).await;
    until(async || asked(&replicas[1], &second).await == 200).await;
    assert_eq!(asked(&replicas[1], SECRET).await, 200, "both hold");
    let third = rotate(&replicas[1], 0).await;
    until(async || asked(&replicas[0], &third).await == 200).await;
    for secret in [SECRET, second.as_str()] {
        assert_eq!(asked(&replicas[0], secret).await, 401);
    }
    stop_all(replicas).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_set_on_one_replica_acts_on_all_and_a_rerate_is_booked_once() {
    let simulated = engine(quick()).await;
    let database = Server::shared().database().await;
    let replicas = replicas(&priced(&[&simulated.url]), &database, 2).await;
    let price = json!({ "input": "0", "output": "200" });
    let new = json!({ "model": "m", "price": price });
    admin(&replicas[0], reqwest::Method::POST, "prices", new).await;
    let output = |replica: &Gateway| {
        let registry = replica.app.registry();
        let served = registry.find("m").unwrap();
        served
            .prices
            .at(replica.app.clock.unix_ms())
            .price
            .output
            .to_string()
    };
    eventually("the other replica has the price", || {
        replicas.iter().all(|replica| output(replica) == "200")
    })
    .await;
    for replica in &replicas {
        let asked = replica
            .chat(&chat(json!({ "max_tokens": 3 })))
            .send()
            .await
            .unwrap();
        asked.text().await.unwrap();
    }
    until(async || booked(&database).await.0.len() == 2).await;
    let entries = booked(&database).await.0;
    assert!(entries.iter().all(|entry| entry.cost.get() == 3 * 2 * TOKEN));

    let rerate = json!({
        "model": "m", "since": "1h", "price": { "input": "0", "output": "100" },
        "book": true, "reference": "ticket", "note": "",
    });
    let runs = tokio::join!(
        admin(
            &replicas[0],
            reqwest::Method::POST,
            "ledger/rerate",
            rerate.clone()
        ),
        admin(&replicas[1], reqwest::Method::POST, "ledger/rerate", rerate),
    );
    let now = |run: &Value| run["booked"].as_u64().unwrap();
    assert_eq!(
        now(&runs.0) + now(&runs.1),
        2,
        "one run, whoever books it: {runs:?}"
    );
    assert_eq!(runs.0["version"], runs.1["version"]);
    let request = entries[0].id.to_string();
    let refund = json!({ "request": request, "all": true, "reference": "r", "note": "" });
    let given_back = admin(
        &replicas[1],
        reqwest::Method::POST,
        "ledger/refunds",
        refund.clone(),
    )
    .await;
    assert_eq!(
        given_back["refund"]["amount"]["picodollars"],
        (3 * TOKEN).to_string()
    );
    let again = admin(&replicas[0], reqwest::Method::POST, "ledger/refunds", refund).await;
    assert_eq!(
        (&again["booked"], &again["left"]["usd"]),
        (&json!(false), &json!("0"))
    );
    let mut racing = JoinSet::new();
    for number in 0..8 {
        let (replica, request) = (Arc::clone(&replicas[number % 2]), entries[1].id.to_string());
        let refund =
            json!({ "request": request, "all": true, "reference": format!("race-{number}"), "note": "" });
        racing
            .spawn(async move { try_admin(&replica, reqwest::Method::POST, "ledger/refunds", refund).await });
    }
    let statuses = racing.join_all().await;
    let done = statuses.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!(done, 1, "it is given back once, whoever is asked: {statuses:?}");
    stop_all(replicas).await;
    assert_eq!(booked(&database).await.1, 0, "it adds up");
}

pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it never came");
}

/// An hour of outage, compressed: nothing is refused for want of a database, nothing is lost, all is booked in order.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_be_away_and_nothing_is_refused_or_lost() {
    let simulated = engine(quick()).await;
    let server = Server::start(Durability::Crash);
    let database = server.database().await;
    let replicas = replicas(&priced(&[&simulated.url]), &database, REPLICAS).await;
    credit(&replicas[0], "100").await;
    all_know_of_the_ceiling(&replicas).await;
    let ask = async |replica: &Gateway| {
        let response = replica
            .chat(&chat(json!({ "max_tokens": 3 })))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap()
    };
    let mut seen = Vec::new();
    for replica in &replicas {
        seen.push(ask(replica).await);
    }
    server.stop_immediately();
    let mut clients = JoinSet::new();
    for client in 0..30usize {
        let replica = Arc::clone(&replicas[client % REPLICAS]);
        clients.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..40 {
                seen.push(ask(&replica).await);
            }
            seen
        });
    }
    seen.extend(clients.join_all().await.into_iter().flatten());
    server.start_again();
    stop_all(replicas).await;
    let (entries, discrepancies) = booked(&database).await;
    let ids: HashSet<RequestId> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), seen.len());
    assert!(
        seen.iter().all(|id| ids.contains(id)),
        "what was seen complete is booked"
    );
    assert!(entries.iter().all(|entry| entry.state == EntryState::Completed));
    assert_eq!(discrepancies, 0);
    assert_eq!(leased(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_without_its_ledger_books_what_it_kept_when_it_starts_again() {
    let simulated = engine(quick()).await;
    let server = Server::start(Durability::Crash);
    let database = server.database().await;
    let models = priced(&[&simulated.url]);
    let replicas = replicas(&models, &database, 1).await;
    credit(&replicas[0], "1").await;
    all_know_of_the_ceiling(&replicas).await;
    for _ in 0..5 {
        let response = replicas[0]
            .chat(&chat(json!({ "max_tokens": 10 })))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
    }
    server.kill();
    for _ in 0..5 {
        let response = replicas[0]
            .chat(&chat(json!({ "max_tokens": 10 })))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
    }
    let metrics = replicas[0].app.render_metrics();
    let waiting = metrics
        .lines()
        .find_map(|line| line.strip_prefix("farebox_outbox_entries{state=\"waiting\"} "));
    assert!(waiting.is_some_and(|entries| entries != "0"), "{metrics}");
    // Its process dies: nothing is closed, drained or given back.
    let replica = Arc::try_unwrap(replicas.into_iter().next().unwrap())
        .unwrap_or_else(|_| panic!("a client still has it"));
    let data = replica.die();
    server.start_again();
    assert!(leased(&database).await > 0, "the dead have their lease");
    let again = Gateway::start_in(&models, data, Some(database.parsed_url()), 9).await;
    assert_eq!(leased(&database).await, 0, "until they start again");
    let response = again
        .chat(&chat(json!({ "max_tokens": 10 })))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    again.stop().await;
    let (entries, discrepancies) = booked(&database).await;
    assert_eq!((entries.len(), discrepancies), (11, 0));
}
