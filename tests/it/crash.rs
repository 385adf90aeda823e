//! kill -9: what a client saw complete is in the ledger, once.

use crate::gateway::{ADMIN_TOKEN, client, engine, models};
use farebox::ledger::{Ledger as _, SqliteLedger};
use farebox::simulate::Settings;
use farebox::store::Store;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::EntryState;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::task::JoinSet;

const CLIENTS: u64 = 40;

/// A farebox of its own, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    pub(crate) admin: String,
}

impl Process {
    pub(crate) fn start(config: &Path, data: &Path) -> Self {
        Self::start_on(config, data, None)
            .wait_until_ready()
            .unwrap_or_else(|said| panic!("it did not start: {said}"))
    }

    /// Starts one, embedded or on a database, and waits for nothing.
    pub(crate) fn start_on(config: &Path, data: &Path, database: Option<&str>) -> Starting {
        let database = database.map(|url| ("FAREBOX_DATABASE_URL", url));
        Self::start_with(config, data, database)
    }

    /// The same with this in its environment.
    pub(crate) fn start_with<'a>(
        config: &Path,
        data: &Path,
        more: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Starting {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        let child = command
            .args([
                "serve",
                "--log-level",
                "error",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .arg("--config")
            .arg(config)
            .arg("--data")
            .arg(data)
            .env("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN)
            .envs(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Starting(child)
    }

    /// Sends it a signal: `-TERM`, `-HUP`.
    pub(crate) fn signal(&self, signal: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Ends it by SIGTERM: drained, all booked. What it said.
    pub(crate) fn end(mut self) -> String {
        self.signal("-TERM");
        let said = said(&mut self.child);
        assert!(self.child.wait().unwrap().success(), "{said}");
        said
    }
}

/// A farebox that was started, and may refuse to serve.
pub(crate) struct Starting(Child);

impl Starting {
    /// The process once it serves; or its exit code, and what it said.
    pub(crate) fn wait_until_ready(mut self) -> Result<Process, String> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        if line.is_empty() {
            let said = said(&mut self.0);
            return Err(format!("{said}[{}]", self.0.wait().unwrap().code().unwrap_or(-1)));
        }
        let ready: Value = serde_json::from_str(&line).unwrap();
        let url = |key: &str| format!("http://{}", ready[key].as_str().unwrap());
        Ok(Process {
            url: url("listening"),
            admin: url("admin"),
            child: self.0,
        })
    }
}

/// All that it writes to standard error until it ends. At level `error` a process says so little that its pipe is never
/// full.
fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn admin(client: &reqwest::Client, url: String, body: Value) -> Value {
    let response = client
        .post(url)
        .bearer_auth(ADMIN_TOKEN)
        .json(&body)
        .send()
        .await
        .unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{status} {text}");
    serde_json::from_str(&text).unwrap()
}

/// The id, if the answer came whole.
pub(crate) async fn ask(client: &reqwest::Client, url: &str, secret: &str, number: u64) -> Option<RequestId> {
    let stream = number.is_multiple_of(2);
    let body = json!({
        "model": "m", "stream": stream, "max_tokens": 2 + number % 9,
        "messages": [{ "role": "user", "content": "hi" }],
    });
    let response = client
        .post(format!("{url}/v1/chat/completions"))
        .bearer_auth(secret)
        .json(&body)
        .send()
        .await
        .ok()?;
    if response.status() != 200 {
        return None;
    }
    let id = RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap();
    let text = response.text().await.ok()?;
    let whole = if stream {
        text.contains("data: [DONE]")
    } else {
        serde_json::from_str::<Value>(&text).is_ok()
    };
    whole.then_some(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_saw_complete_is_in_the_ledger_once_after_kill_9() {
    let rounds = std::env::var("FAREBOX_CRASH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(8);
    let behind = engine(Settings {
        decode_rate: 500,
        ..Settings::default()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("models.yaml"), folder.path().join("data"));
    std::fs::write(&config, models(&[&behind.url], "")).unwrap();
    let client = client();
    let (sent, mut complete, mut secret) = (Arc::new(AtomicU64::new(0)), Vec::new(), None::<String>);
    for round in 0..rounds {
        let farebox = Process::start(&config, &data);
        if secret.is_none() {
            let accounts = format!("{}/admin/v1/accounts", farebox.admin);
            admin(&client, accounts, json!({ "name": "crash" })).await;
            let keys = format!("{}/admin/v1/keys", farebox.admin);
            let key = admin(&client, keys, json!({ "account": "crash", "name": "crash" })).await;
            secret = Some(find_secret(&key).unwrap_or_else(|| panic!("{key}")));
        }
        let secret = secret.clone().unwrap();
        let whole = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (client, url, secret) = (client.clone(), farebox.url.clone(), secret.clone());
            let (sent, whole) = (Arc::clone(&sent), Arc::clone(&whole));
            clients.spawn(async move {
                let mut seen = Vec::new();
                // It ends with the gateway that it asks.
                while let Some(id) = ask(&client, &url, &secret, sent.fetch_add(1, Ordering::SeqCst)).await {
                    whole.fetch_add(1, Ordering::SeqCst);
                    seen.push(id);
                }
                seen
            });
        }
        // Under load, and at another moment every round.
        let enough = 100 + 37 * round;
        crate::gateway::eventually("enough answers", || whole.load(Ordering::SeqCst) >= enough).await;
        drop(farebox);
        complete.extend(clients.join_all().await.into_iter().flatten());
    }

    drop(Process::start(&config, &data));
    let store = Store::open(&data).await.unwrap();
    let ledger = SqliteLedger::open(&store).await.unwrap();
    let once: HashSet<String> = complete.iter().map(ToString::to_string).collect();
    assert_eq!(once.len(), complete.len(), "an id was given twice");
    for id in &complete {
        let entry = ledger.entry(*id).await.unwrap();
        let entry = entry.unwrap_or_else(|| panic!("{id} was seen complete, and is not in the ledger"));
        assert_eq!(entry.state, EntryState::Completed);
    }
    let verified = ledger.verify().await.unwrap();
    assert_eq!(verified.discrepancies_total, 0);
    let (entries, seen, sent) = (
        verified.entries,
        complete.len() as u64,
        sent.load(Ordering::SeqCst),
    );
    assert!(
        seen <= entries && entries <= sent,
        "{seen} seen, {entries} entries, {sent} sent"
    );
}

/// The one text in the answer that looks like a key.
pub(crate) fn find_secret(answer: &Value) -> Option<String> {
    let fields = answer.as_object()?.values();
    fields
        .filter_map(Value::as_str)
        .find(|text| text.starts_with("fb_"))
        .map(str::to_owned)
}

/// What a stream had used when farebox was killed, but for the last second, is booked when it starts again; never more
/// than what its client was given.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_killed_is_booked_as_interrupted_with_what_its_checkpoint_says() {
    let behind = engine(Settings {
        decode_rate: 25,
        ..Settings::default()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("models.yaml"), folder.path().join("data"));
    std::fs::write(&config, models(&[&behind.url], "")).unwrap();
    let client = client();
    let farebox = Process::start(&config, &data);
    admin(
        &client,
        format!("{}/admin/v1/accounts", farebox.admin),
        json!({ "name": "crash" }),
    )
    .await;
    let body = json!({ "account": "crash", "name": "crash" });
    let key = admin(&client, format!("{}/admin/v1/keys", farebox.admin), body).await;
    let body = json!({
        "model": "m", "stream": true, "max_tokens": 4000, "messages": [{ "role": "user", "content": "hi" }],
    });
    let mut response = client
        .post(format!("{}/v1/chat/completions", farebox.url))
        .bearer_auth(find_secret(&key).unwrap())
        .json(&body)
        .send()
        .await
        .unwrap();
    let id = RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap();
    let mut raw = {
        use sqlx::ConnectOptions as _;
        let file = data.join("farebox.sqlite");
        sqlx::sqlite::SqliteConnectOptions::new()
            .filename(file)
            .connect()
            .await
            .unwrap()
    };
    let mut text = Vec::new();
    let kept: u64 = loop {
        text.extend(response.chunk().await.unwrap().unwrap());
        let kept: Option<u64> =
            sqlx::query_scalar("SELECT json_extract(entry, '$.usage.completion_tokens') FROM checkpoints")
                .fetch_optional(&mut raw)
                .await
                .unwrap();
        if let Some(kept) = kept.filter(|&kept| kept > 0) {
            break kept;
        }
    };
    drop(farebox);
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend(chunk);
    }
    let delivered = String::from_utf8_lossy(&text).matches(r#""content":""#).count() as u64;

    drop(Process::start(&config, &data));
    let store = Store::open(&data).await.unwrap();
    let ledger = SqliteLedger::open(&store).await.unwrap();
    let entry = ledger.entry(id).await.unwrap().expect("it is booked");
    assert_eq!(entry.state, EntryState::Interrupted);
    let booked = entry.usage.completion_tokens;
    assert!(
        (kept..=delivered).contains(&booked),
        "{kept} kept, {booked} booked, {delivered} delivered"
    );
    assert_eq!(ledger.verify().await.unwrap().discrepancies_total, 0);
    let left: u64 = sqlx::query_scalar("SELECT count(*) FROM checkpoints")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(left, 0);
}
