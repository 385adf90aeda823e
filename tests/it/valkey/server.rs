//! A Valkey or Redis for one test: on a socket in a folder of its own, without anything on disk, ended with the test.

use farebox::admission::shared::ValkeyUrl;
use redis::aio::MultiplexedConnection;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What is said where it is missing.
const MISSING: &str =
    "these tests start a Valkey or Redis server and none is installed: run `scripts/setup test` first";

/// One that runs, or did.
pub(crate) struct Server {
    folder: TempDir,
    child: Option<Child>,
}

fn program() -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    ["valkey-server", "redis-server"]
        .into_iter()
        .find(has)
        .unwrap_or_else(|| panic!("{MISSING}"))
}

impl Server {
    pub(crate) fn start() -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            child: None,
        };
        server.start_again();
        server
    }

    /// Starts it with nothing in it, where it was.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        // Whatever becomes of the test, the pipe is closed then, and the server ends.
        let script = r#""$@" >log 2>&1 & server=$!; echo $server >pid; read -r _; kill -9 $server"#;
        let socket = self.socket();
        let child = Command::new("bash")
            .args(["-c", script, "bash", program(), "--port", "0", "--unixsocket"])
            .arg(&socket)
            .args(["--save", "", "--appendonly", "no", "--maxclients", "500"])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it did not start: {log}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, with all that it had.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// It answers no more, until it goes on; connections stay.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap();
        let sent = Command::new("kill").args([signal, pid.trim()]).status().unwrap();
        assert!(sent.success());
    }

    fn socket(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("socket")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(crate) fn parsed_url(&self) -> ValkeyUrl {
        self.url().parse().unwrap()
    }

    /// A connection that knows no scripts.
    pub(crate) async fn raw(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// From now on the counts alone decide: replicas of an earlier time would have come back by now.
    pub(crate) async fn settle(&self) {
        let mut set = redis::cmd("SET");
        set.arg("farebox:settled_at").arg(0);
        set.exec_async(&mut self.raw().await).await.unwrap();
    }

    /// Whether they do.
    pub(crate) async fn is_settled(&self) -> bool {
        let mut connection = self.raw().await;
        let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await.unwrap();
        let mut get = redis::cmd("GET");
        get.arg("farebox:settled_at");
        let at_ms: Option<u64> = get.query_async(&mut connection).await.unwrap();
        at_ms.is_some_and(|at_ms| seconds * 1_000 > at_ms)
    }

    /// When each session was last heard of, in milliseconds.
    pub(crate) async fn heard(&self) -> BTreeMap<String, u64> {
        let mut read = redis::cmd("HGETALL");
        read.arg("farebox:sessions");
        read.query_async(&mut self.raw().await).await.unwrap()
    }

    /// What is counted there of an account, whether its sessions live or not.
    pub(crate) async fn slots(&self, account: &str) -> BTreeMap<String, i64> {
        let mut read = redis::cmd("HGETALL");
        read.arg(format!("farebox:slots:{account}"));
        read.query_async(&mut self.raw().await).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
