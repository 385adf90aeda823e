//! kill -9 over replicas and PostgreSQL, in random order, under load.

use super::{booked_by_client_id, leases, seed, standing, verified};
use crate::crash::{Process, admin, find_secret};
use crate::gateway::{client, engine, eventually};
use crate::postgres::{Database, Durability, Server};
use crate::replicas::priced;
use farebox::simulate::Settings;
use farebox_domain::ids::RequestId;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;

const REPLICAS: usize = 3;
const CLIENTS: u64 = 24;
/// What the tight account is given a round: 200 tokens, which its clients want in a fraction of a second.
const USD_A_ROUND: &str = "0.02";

/// The replicas, each with its directory, and what they run on.
struct Replicas {
    server: Arc<Server>,
    database: Database,
    folder: TempDir,
    config: PathBuf,
    running: Vec<Option<Process>>,
    /// Where clients find them; empty for one that is dead.
    urls: Arc<Mutex<Vec<String>>>,
}

impl Replicas {
    async fn start(engine: &str) -> Self {
        let server = Arc::new(Server::start(Durability::Crash));
        let database = server.database().await;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("models.yaml");
        std::fs::write(&config, priced(&[engine])).unwrap();
        let mut replicas = Self {
            server,
            database,
            folder,
            config,
            running: (0..REPLICAS).map(|_| None).collect(),
            urls: Arc::new(Mutex::new(vec![String::new(); REPLICAS])),
        };
        replicas.start_the_dead();
        replicas
    }

    /// Starts, at once, whoever does not run, on its own directory.
    fn start_the_dead(&mut self) {
        let starting: Vec<_> = (0..REPLICAS)
            .filter(|number| self.running[*number].is_none())
            .map(|number| {
                let data = self.folder.path().join(format!("replica-{number}"));
                (
                    number,
                    Process::start_on(&self.config, &data, Some(self.database.url())),
                )
            })
            .collect();
        for (number, starting) in starting {
            let process = starting
                .wait_until_ready()
                .unwrap_or_else(|said| panic!("replica {number} did not start: {said}"));
            self.urls.lock()[number].clone_from(&process.url);
            self.running[number] = Some(process);
        }
    }

    fn kill(&mut self, number: usize) {
        self.urls.lock()[number].clear();
        drop(self.running[number].take());
    }

    fn admin_url(&self, path: &str) -> String {
        let alive = self.running.iter().flatten().next().unwrap();
        format!("{}/admin/v1/{path}", alive.admin)
    }
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    sent: AtomicU64,
    answered: AtomicUsize,
    refused: AtomicUsize,
    complete: Mutex<Vec<(u64, RequestId)>>,
    stop: AtomicBool,
}

/// A client that asks whoever lives, until it is told to stop.
async fn client_of(client: reqwest::Client, urls: Arc<Mutex<Vec<String>>>, secret: String, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::SeqCst) {
        let number = seen.sent.fetch_add(1, Ordering::SeqCst);
        let url = {
            let urls = urls.lock();
            urls[usize::try_from(number).unwrap() % urls.len()].clone()
        };
        match ask(&client, &url, &secret, number).await {
            Some(id) => {
                seen.answered.fetch_add(1, Ordering::SeqCst);
                seen.complete.lock().push((number, id));
            }
            None => {
                seen.refused.fetch_add(1, Ordering::SeqCst);
                // As a client does that was refused.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// The id, if the answer came whole.
async fn ask(client: &reqwest::Client, url: &str, secret: &str, number: u64) -> Option<RequestId> {
    let stream = number.is_multiple_of(2);
    // A few are open for longer than a second, and so have a checkpoint.
    let tokens = if number.is_multiple_of(97) {
        700
    } else {
        2 + number % 9
    };
    let body = json!({
        "model": "m", "stream": stream, "max_tokens": tokens, "messages": [{ "role": "user", "content": "hi" }],
    });
    let response = client
        .post(format!("{url}/v1/chat/completions"))
        .bearer_auth(secret)
        .header("x-request-id", number.to_string())
        .json(&body)
        .send()
        .await
        .ok()?;
    if response.status() != 200 {
        return None;
    }
    let id = RequestId::parse(response.headers()["x-farebox-request-id"].to_str().unwrap()).unwrap();
    let text = response.text().await.ok()?;
    let whole = if stream {
        text.contains("data: [DONE]")
    } else {
        serde_json::from_str::<Value>(&text).is_ok()
    };
    whole.then_some(id)
}

async fn make_account(client: &reqwest::Client, replicas: &Replicas, name: &str) -> (String, String) {
    let account = admin(client, replicas.admin_url("accounts"), json!({ "name": name })).await;
    let key = json!({ "account": name, "name": name });
    let key = admin(client, replicas.admin_url("keys"), key).await;
    (
        account["id"].as_str().unwrap().to_owned(),
        find_secret(&key).unwrap(),
    )
}

async fn credit(client: &reqwest::Client, replicas: &Replicas, round: usize) {
    let body = json!({ "usd": USD_A_ROUND, "note": "", "reference": format!("round-{round}") });
    admin(client, replicas.admin_url("accounts/tight/credit"), body).await;
}

/// One failure of a round.
fn strike(replicas: &mut Replicas, random: &mut StdRng) -> (bool, String) {
    let what = random.random_range(0..6);
    if what < 4 {
        // One of them, or two, or all.
        let mut victims: Vec<usize> = (0..REPLICAS).collect();
        let many = if what < 2 {
            1
        } else {
            random.random_range(2..=REPLICAS)
        };
        while victims.len() > many {
            victims.swap_remove(random.random_range(0..victims.len()));
        }
        for victim in &victims {
            replicas.kill(*victim);
        }
        return (false, format!("replicas {victims:?}"));
    }
    if what == 4 {
        replicas.server.stop_immediately();
        (true, "PostgreSQL, stopped at once".to_owned())
    } else {
        replicas.server.kill();
        (true, "PostgreSQL, kill -9".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_the_ledger_is_what_clients_saw() {
    let rounds: usize = std::env::var("FAREBOX_CRASH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(6);
    let mut random = StdRng::seed_from_u64(seed("kill"));
    let behind = engine(Settings {
        decode_rate: 500,
        slots: 1_000,
        ..Settings::default()
    })
    .await;
    let mut replicas = Replicas::start(&behind.url).await;
    let client = client();
    let (_, secret) = make_account(&client, &replicas, "wide").await;
    let (tight, tight_secret) = make_account(&client, &replicas, "tight").await;
    credit(&client, &replicas, 0).await;
    crate::replicas::until(async || all_hold(&client, &replicas, &[&secret, &tight_secret]).await).await;

    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let secret = if number.is_multiple_of(3) {
            &tight_secret
        } else {
            &secret
        };
        let urls = Arc::clone(&replicas.urls);
        clients.spawn(client_of(client.clone(), urls, secret.clone(), Arc::clone(&seen)));
    }
    for round in 1..=rounds {
        let enough = |more: usize| {
            let from = seen.answered.load(Ordering::SeqCst);
            let seen = Arc::clone(&seen);
            async move {
                eventually("enough answers", || {
                    seen.answered.load(Ordering::SeqCst) >= from + more
                })
                .await
            }
        };
        enough(random.random_range(20..120)).await;
        let (is_away, mut what) = tokio::task::block_in_place(|| strike(&mut replicas, &mut random));
        if is_away {
            // Those who have no ceiling go on without it.
            enough(random.random_range(1..80)).await;
            if random.random_bool(0.5) {
                let victim = random.random_range(0..REPLICAS);
                what += &format!(", and then replica {victim}");
                replicas.kill(victim);
            }
            tokio::task::block_in_place(|| replicas.server.start_again());
        }
        tokio::task::block_in_place(|| replicas.start_the_dead());
        credit(&client, &replicas, round).await;
        let now = standing(&replicas.database, "credit", &tight).await;
        assert!(
            now.spent <= 0,
            "round {round}, after {what}: {} beyond what was paid in",
            now.spent
        );
        assert!(
            now.spent + now.leased <= 0,
            "round {round}, after {what}: leased beyond what was paid in"
        );
        eprintln!(
            "round {round}: {what}; {} answers",
            seen.answered.load(Ordering::SeqCst)
        );
    }
    seen.stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    for process in replicas.running.drain(..).flatten() {
        process.end();
    }
    the_ledger_is_what_clients_saw(&replicas.database, &seen, &tight).await;
}

/// Every replica knows of these keys, and which of them has a ceiling.
async fn all_hold(client: &reqwest::Client, replicas: &Replicas, secrets: &[&str]) -> bool {
    for process in replicas.running.iter().flatten() {
        for secret in secrets {
            let balance = client
                .get(format!("{}/v1/me/balance", process.url))
                .bearer_auth(secret)
                .send()
                .await
                .unwrap();
            if balance.status() != 200 {
                return false;
            }
        }
        let tight = client
            .get(format!("{}/admin/v1/accounts/tight/balance", process.admin))
            .bearer_auth(crate::gateway::ADMIN_TOKEN)
            .send()
            .await
            .unwrap();
        let tight: Value = tight.json().await.unwrap();
        if tight["available"].is_null() {
            return false;
        }
    }
    true
}

async fn the_ledger_is_what_clients_saw(database: &Database, seen: &Seen, tight: &str) {
    let booked = booked_by_client_id(database).await;
    let complete = seen.complete.lock().clone();
    let once: HashSet<RequestId> = complete.iter().map(|(_, id)| *id).collect();
    assert_eq!(once.len(), complete.len(), "an id was given twice");
    for (number, id) in complete.iter() {
        let (booked, state) = booked
            .get(number)
            .unwrap_or_else(|| panic!("{id} was seen complete, and is not in the ledger"));
        assert_eq!((booked, state.as_str()), (id, "completed"));
    }
    let sent = seen.sent.load(Ordering::SeqCst);
    assert!(
        booked.keys().all(|number| *number < sent),
        "booked, and never sent"
    );
    verified(database).await;
    let now = standing(database, "credit", tight).await;
    assert!(now.spent <= 0, "{} beyond what was paid in", now.spent);
    assert_eq!(leases(database).await, 0, "who has ended has given all back");
    eprintln!(
        "{} seen complete, {} booked, {sent} sent, {} refused or cut; {} left to the tight account",
        complete.len(),
        booked.len(),
        seen.refused.load(Ordering::SeqCst),
        -now.spent
    );
}
