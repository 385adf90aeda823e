//! kill -9 under load, and again: what a client saw complete is in the ledger, once, and nothing else is charged to it.
//!
//! `FAREBOX_CRASH_ROUNDS` sets how many times (3 without it).

use farebox::ledger::{Ledger as _, SqliteLedger};
use farebox::simulate;
use farebox::store::Store;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::EntryState;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TOKEN: &str = "crash-test-admin-token";
const CLIENTS: usize = 16;
/// Answers that are waited for before the kill: the load is then in full swing.
const COMPLETE_BEFORE_KILL: usize = 60;

struct Farebox {
    child: Child,
    url: String,
    admin: String,
}

impl Drop for Farebox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(config: &Path, data: &Path) -> Farebox {
    let mut child = Command::new(env!("CARGO_BIN_EXE_farebox"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--log-level",
            "error",
        ])
        .arg("--config")
        .arg(config)
        .arg("--data")
        .arg(data)
        .env("FAREBOX_ADMIN_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let of = |name: &str| format!("http://{}", ready[name].as_str().unwrap());
    Farebox {
        child,
        url: of("listening"),
        admin: of("admin"),
    }
}

async fn make_key(client: &reqwest::Client, farebox: &Farebox) -> String {
    let post = async |path: &str, body: serde_json::Value| {
        let request = client
            .post(format!("{}/admin/v1/{path}", farebox.admin))
            .bearer_auth(TOKEN)
            .json(&body);
        request
            .send()
            .await
            .unwrap()
            .json::<serde_json::Value>()
            .await
            .unwrap()
    };
    let account = post("accounts", serde_json::json!({ "name": "crash" })).await;
    let key = post(
        "keys",
        serde_json::json!({ "account": account["id"], "name": "crash" }),
    )
    .await;
    key["secret"].as_str().unwrap().to_owned()
}

/// One request: its id and whether it was seen complete, or `None` once nobody answers.
async fn ask(client: &reqwest::Client, url: &str, key: &str, stream: bool) -> Option<(RequestId, bool)> {
    let body = serde_json::json!({
        "model": "m", "stream": stream, "max_tokens": 12, "messages": [{ "role": "user", "content": "Hello" }],
    });
    let request = client
        .post(format!("{url}/v1/chat/completions"))
        .bearer_auth(key)
        .json(&body);
    let answer = request.send().await.ok()?;
    assert_eq!(answer.status(), 200);
    let id = RequestId::parse(answer.headers()["x-request-id"].to_str().unwrap()).unwrap();
    let text = answer.text().await.unwrap_or_default();
    let complete = if stream {
        text.ends_with("data: [DONE]\n\n")
    } else {
        text.ends_with('}')
    };
    Some((id, complete))
}

/// Runs clients until `farebox` is killed. Returns the ids that were seen complete, and how many were asked for.
async fn load_and_kill(client: &reqwest::Client, farebox: Farebox, key: &str) -> (Vec<RequestId>, usize) {
    let (asked, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (client, url, key) = (client.clone(), farebox.url.clone(), key.to_owned());
        let (asked, seen) = (Arc::clone(&asked), Arc::clone(&seen));
        clients.spawn(async move {
            let mut complete = Vec::new();
            loop {
                asked.fetch_add(1, Ordering::Relaxed);
                match ask(&client, &url, &key, number % 2 == 0).await {
                    Some((id, true)) => {
                        complete.push(id);
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                    Some((_, false)) => {}
                    None => return complete,
                }
            }
        });
    }
    while seen.load(Ordering::Relaxed) < COMPLETE_BEFORE_KILL {
        tokio::task::yield_now().await;
    }
    // `Child::kill` is SIGKILL.
    drop(farebox);
    let complete = clients.join_all().await.concat();
    (complete, asked.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_saw_complete_survives_kill_9_exactly_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rounds: usize = std::env::var("FAREBOX_CRASH_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("models.yaml"), folder.path().join("data"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine_url = format!("http://{}", listener.local_addr().unwrap());
    let settings = simulate::Settings {
        models: vec!["m".into()],
        ..simulate::Settings::default()
    };
    tokio::spawn(simulate::Engine::new(settings).serve(listener, std::future::pending()));
    let models = format!(
        "models:\n  - {{ id: m, task: chat, context_length: 4096, price: {{ input: \"0.10\", output: \"0.32\" }}, \
         engines: [{{ engine: e }}] }}\nengines:\n  - {{ name: e, kind: vllm, url: \"{engine_url}\" }}\n"
    );
    std::fs::write(&config, models).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();

    let (mut key, mut complete, mut asked) = (None, Vec::new(), 0);
    for _ in 0..rounds {
        let farebox = start(&config, &data);
        if key.is_none() {
            key = Some(make_key(&client, &farebox).await);
        }
        let (seen, sent) = load_and_kill(&client, farebox, key.as_deref().unwrap()).await;
        complete.extend(seen);
        asked += sent;
    }

    let store = Store::open(&data).await.unwrap();
    let ledger = SqliteLedger::open(&store).await.unwrap();
    let found = ledger.verify().await.unwrap();
    assert_eq!(found.discrepancies_total, 0, "{:?}", found.discrepancies);
    let distinct: BTreeSet<_> = complete.iter().copied().collect();
    assert_eq!(distinct.len(), complete.len(), "an id was given twice");
    for id in &complete {
        let entry = ledger.entry(*id).await.unwrap();
        let entry = entry.unwrap_or_else(|| panic!("{id} was seen complete and is not in the ledger"));
        assert_eq!(entry.state, EntryState::Completed);
        assert_eq!(entry.usage.completion_tokens, 12);
    }
    assert!(found.entries >= complete.len().try_into().unwrap());
    assert!(
        found.entries <= asked.try_into().unwrap(),
        "more entries than requests"
    );
    assert!(complete.len() >= rounds * COMPLETE_BEFORE_KILL);
}
