//! The failures of docs/LEDGER.md, "Failures", made on purpose: each ends with the ledger that it promises.
#![expect(clippy::print_stderr, reason = "a run that fails is repeated by its seed")]

mod proxy;
mod kill;
mod wire;
mod history;
mod late;
mod time;
mod two;

use crate::gateway::Gateway;
use crate::postgres::Database;
use crate::replicas::chat;
use farebox_domain::ids::RequestId;
use proxy::ChaosProxy;
use serde_json::{Value, json};
use sqlx::Row as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Longer than any answer may take, whatever the database does. A test that waits for so long has found a hang.
const HANG: Duration = Duration::from_secs(30);

/// Replicas on one database, each with a proxy of its own before it.
async fn behind_proxies(
    models: &str,
    database: &Database,
    count: usize,
    seed: u64,
) -> (Vec<Arc<Gateway>>, Vec<ChaosProxy>) {
    let (mut replicas, mut proxies) = (Vec::new(), Vec::new());
    for number in 0..count {
        let proxy = ChaosProxy::before(database.url(), seed + number as u64).await;
        let (data, url) = (tempfile::tempdir().unwrap(), proxy.url(database.url()));
        let replica = Gateway::start_in(models, data, Some(url), seed + number as u64).await;
        if number == 0 {
            replica.make_account().await;
        }
        replicas.push(Arc::new(replica));
        proxies.push(proxy);
    }
    (replicas, proxies)
}

/// The id and the tokens of an answer, or the status and the code of a refusal. It comes, whatever the database does.
async fn ask(replica: &Gateway, tokens: u64) -> Result<(RequestId, u64), (u16, String)> {
    let asked = async {
        let body = chat(json!({ "max_tokens": tokens }));
        let response = replica.chat(&body).send().await.unwrap();
        let status = response.status().as_u16();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let answer: Value = response.json().await.unwrap();
        if status == 200 {
            let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
            return Ok((RequestId::parse(&id).unwrap(), tokens));
        }
        Err((status, answer["error"]["code"].as_str().unwrap().to_owned()))
    };
    tokio::time::timeout(HANG, asked).await.expect("an answer")
}

fn is_away(refused: &(u16, String)) -> bool {
    refused.0 == 503 && refused.1 == "ledger_unavailable"
}

/// The seed of this run: given, to repeat one, or another each time. It is told, so that it can be repeated.
fn seed(test: &str) -> u64 {
    use std::hash::BuildHasher as _;
    let given = std::env::var("FAREBOX_CHAOS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let random = || std::hash::RandomState::new().hash_one(test) % 1_000_000;
    let seed = given.unwrap_or_else(random);
    eprintln!("{test}: FAREBOX_CHAOS_SEED={seed}");
    seed
}

/// How a ceiling stands, seen at one moment.
struct Standing {
    spent: i128,
    leased: i128,
}

async fn standing(database: &Database, kind: &str, owner: &str) -> Standing {
    let sql = "SELECT coalesce((SELECT sum(spent) FROM spending WHERE kind = $1 AND owner = $2), 0)::text AS spent,
                      coalesce((SELECT sum(leased) FROM leases WHERE kind = $1 AND owner = $2), 0)::text AS leased";
    let row = sqlx::query(sql)
        .bind(kind)
        .bind(owner)
        .fetch_one(&mut database.raw().await)
        .await
        .unwrap();
    let number = |column| row.get::<&str, _>(column).parse().unwrap();
    Standing {
        spent: number("spent"),
        leased: number("leased"),
    }
}

/// What is booked, by the id that the client gave its request. Each is there once.
async fn booked_by_client_id(database: &Database) -> HashMap<u64, (RequestId, String)> {
    let rows = sqlx::query("SELECT id, client_request_id, state FROM entries")
        .fetch_all(&mut database.raw().await)
        .await
        .unwrap();
    let mut booked = HashMap::new();
    for row in &rows {
        let id: [u8; 16] = row.get::<&[u8], _>("id").try_into().unwrap();
        let client: u64 = row.get::<&str, _>("client_request_id").parse().unwrap();
        let twice = booked.insert(client, (RequestId::from_bytes(id), row.get("state")));
        assert!(twice.is_none(), "the request {client} is booked twice");
    }
    booked
}

/// Roll-ups, days, spending and costs are what the entries and adjustments come to.
async fn verified(database: &Database) {
    let (_, discrepancies) = crate::replicas::booked(database).await;
    assert_eq!(discrepancies, 0, "`farebox ledger verify`");
    let unequal: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT owner, spent::text, (coalesce((SELECT sum(cost_picodollars) FROM entries WHERE account = owner), 0)
                - coalesce((SELECT sum(amount_picodollars) FROM adjustments WHERE account = owner), 0))::text
         FROM spending WHERE kind = 'credit' AND spent
            <> coalesce((SELECT sum(cost_picodollars) FROM entries WHERE account = owner), 0)
                - coalesce((SELECT sum(amount_picodollars) FROM adjustments WHERE account = owner), 0)",
    )
    .fetch_all(&mut database.raw().await)
    .await
    .unwrap();
    assert!(
        unequal.is_empty(),
        "owner, spent, entries less adjustments: {unequal:?}"
    );
}

/// Leases that are there, empty or not.
async fn leases(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM leases")
        .fetch_one(&mut database.raw().await)
        .await
        .unwrap()
}
