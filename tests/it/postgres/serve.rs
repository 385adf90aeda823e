//! `farebox serve` on PostgreSQL, as an operator runs it.

use super::{Database, Server};
use crate::gateway::client;
use farebox::ledger::{Ledger, PgLedger};
use farebox::store::Store;
use farebox_domain::ids::RequestId;
use farebox_domain::ledger::EntryState;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

/// A replica with a simulated engine of its own.
struct Replica {
    child: Child,
    stderr: BufReader<ChildStderr>,
    url: String,
    /// Its first account's key.
    key: String,
    /// Everything that it said until then.
    told: String,
}

impl Replica {
    fn start(database: &Database, data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_farebox"))
            .args([
                "serve",
                "--demo",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .arg("--data")
            .arg(data)
            .env("FAREBOX_DATABASE_URL", database.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains("Bearer fb_") {
            assert!(stderr.read_line(&mut told).unwrap() > 0, "{told}");
        }
        let key = told.split("Bearer ").nth(1).unwrap();
        let key = key.split('\'').next().unwrap().to_owned();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let url = format!("http://{}", ready["listening"].as_str().unwrap());
        Self {
            child,
            stderr,
            url,
            key,
            told,
        }
    }

    /// Asks for an answer and returns its id.
    async fn ask(&self) -> RequestId {
        let body = json!({
            "model": "simulated", "max_tokens": 3, "messages": [{ "role": "user", "content": "hi" }],
        });
        let response = client()
            .post(format!("{}/v1/chat/completions", self.url))
            .bearer_auth(&self.key)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let id = RequestId::parse(response.headers()["x-request-id"].to_str().unwrap()).unwrap();
        response.text().await.unwrap();
        id
    }

    /// Ends it by SIGTERM, and gives all that it ever said.
    fn end(mut self) -> String {
        let process = self.child.id().to_string();
        super::installed::run(Command::new("kill").args(["-TERM", &process]));
        self.stderr.read_to_string(&mut self.told).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.told);
        std::mem::take(&mut self.told)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replicas_serve_is_one_bill_and_no_password_is_told() {
    let database = Server::shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    // One after the other: the second knows the first one's account, and starts on its own data directory.
    for name in ["first", "second"] {
        let replica = Replica::start(&database, &folder.path().join(name));
        ids.push(replica.ask().await);
        ids.push(replica.ask().await);
        let told = replica.end();
        assert!(!told.contains("not-a-secret"), "{told}");
    }
    let store = Store::connect(&folder.path().join("reader"), &database.parsed_url())
        .await
        .unwrap();
    assert_eq!(store.accounts().await.unwrap().len(), 1);
    assert_eq!(store.keys().await.unwrap().len(), 2);
    let ledger = PgLedger::open(&store).await.unwrap();
    for id in ids {
        assert_eq!(
            ledger.entry(id).await.unwrap().unwrap().state,
            EntryState::Completed
        );
    }
    let verified = ledger.verify().await.unwrap();
    assert_eq!((verified.entries, verified.discrepancies), (4, vec![]));
    assert_eq!(ledger.balances().await.unwrap()[0].entries, 4);
}
