//! A server: made, started, stopped, killed, and ended with its tests.

use super::installed::{give, program, run};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::future::Future;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The database that tests' databases are copies of.
pub(super) const TEMPLATE: &str = "farebox_template";

/// For how long a shared server waits for the next test, in seconds.
const IDLE_SECONDS: u32 = 10;

/// Whether what is committed outlives a crash of the machine. A killed server loses nothing either way, but a cluster
/// that does not care is twice as fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// For tests of what is asked and answered.
    Fast,
    /// For tests of crashes: fsync is on.
    Crash,
}

/// A PostgreSQL that runs, or did.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    /// Held for as long as we use it; the watchdog waits for its end.
    _user: File,
    /// Ours alone, so ended with us.
    owned: bool,
}

impl Server {
    /// The server of this run.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| {
            let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{:016x}", form()));
            let (users, state) = (at.with_extension("users"), at.with_extension("state"));
            let starting = opened(&at.with_extension("starting"));
            starting.lock().unwrap();
            let user = opened(&users);
            user.lock_shared().unwrap();
            if let Some((port, folder)) = running(&state) {
                return Self {
                    folder,
                    port,
                    _user: user,
                    owned: false,
                };
            }
            let server = Self::new(temporary(), Durability::Fast, user, &users, &state, false);
            let told = format!("{} {}", server.port, server.folder.display());
            fs::write(&state, told).unwrap();
            server
        })
    }

    /// A server that is stopped and killed at will.
    pub(crate) fn start(durability: Durability) -> Self {
        let folder = temporary();
        let (users, state) = (folder.with_extension("users"), folder.with_extension("state"));
        let user = opened(&users);
        user.lock_shared().unwrap();
        Self::new(folder, durability, user, &users, &state, true)
    }

    fn new(
        folder: PathBuf,
        durability: Durability,
        user: File,
        users: &Path,
        state: &Path,
        owned: bool,
    ) -> Self {
        fs::create_dir(&folder).unwrap();
        give(&folder);
        let server = Self {
            folder,
            port: free_port(),
            _user: user,
            owned,
        };
        // It is told of before there is anything to end.
        server.watch(users, state, if owned { 1 } else { IDLE_SECONDS });
        run(program("initdb").arg("-D").arg(server.data()).args([
            "--username=farebox",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]));
        fs::write(server.folder.join("settings"), settings(durability, server.port)).unwrap();
        let include = format!("include '{}'\n", server.folder.join("settings").display());
        let configuration = server.data().join("postgresql.conf");
        let rest = fs::read_to_string(&configuration).unwrap();
        fs::write(&configuration, rest + &include).unwrap();
        server.start_again();
        let (postgres, template) = (server.url("postgres"), server.url(TEMPLATE));
        in_a_runtime(async move {
            let mut maintenance = PgConnection::connect(&postgres).await.unwrap();
            let sql = format!("CREATE DATABASE {TEMPLATE} TEMPLATE template0");
            maintenance.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
            super::migrate(&template).await;
        });
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn watch(&self, users: &Path, state: &Path, idle_seconds: u32) {
        let mut watchdog = Command::new("setsid");
        watchdog
            .args([
                "bash",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/postgres/watchdog.sh"),
            ])
            .args([users, state, &self.folder])
            .arg(idle_seconds.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It outlives us: nobody waits for it.
        drop(watchdog.spawn().unwrap());
    }

    /// Where a database of it is.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://farebox:not-a-secret@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    /// Stops it as `systemctl stop` would: clients are cut off, what was committed is written out.
    pub(crate) fn stop_fast(&self) {
        self.ctl(&["stop", "-m", "fast"]);
    }

    /// Stops it without writing anything out: it recovers at its next start.
    pub(crate) fn stop_immediately(&self) {
        self.ctl(&["stop", "-m", "immediate"]);
    }

    /// Kills the postmaster, with no time for a last word, and waits until its processes have noticed.
    pub(crate) fn kill(&self) {
        let pid_file = self.data().join("postmaster.pid");
        let told = fs::read_to_string(&pid_file).unwrap();
        let postmaster = told.lines().next().unwrap();
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        run(Command::new("kill").args(["-9", postmaster]));
        let family = children.split_whitespace().chain([postmaster]);
        for process in family {
            // A zombie still has a name here, and no command line.
            let command_line = format!("/proc/{process}/cmdline");
            while fs::read(&command_line).is_ok_and(|line| !line.is_empty()) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // For as long as nobody has asked about the dead, a start would take the number in it for one that lives.
        fs::remove_file(pid_file).unwrap();
    }

    /// Starts it again, on the same port.
    pub(crate) fn start_again(&self) {
        let log = self.folder.join("log");
        self.ctl(&["start", "-l", log.to_str().unwrap()]);
    }

    /// Waits until it is done.
    fn ctl(&self, what: &[&str]) {
        let mut ctl = program("pg_ctl");
        ctl.args(what)
            .args(["-w", "-t", "60", "-s", "-D"])
            .arg(self.data());
        // Not `output()`: a postmaster keeps what it inherits, and would keep us waiting for its end.
        let status = ctl
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(status.success(), "{ctl:?}: {status}\n{log}");
    }
}

impl Drop for Server {
    /// The watchdog does the rest, when our lock is gone.
    fn drop(&mut self) {
        if self.owned {
            let mut ctl = program("pg_ctl");
            ctl.args(["stop", "-m", "immediate", "-s", "-D"]).arg(self.data());
            let _ = ctl.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// Tests ask for a lot of small databases and have two processors.
fn settings(durability: Durability, port: u16) -> String {
    let durable = match durability {
        Durability::Fast => "fsync = off\nfull_page_writes = off",
        Durability::Crash => "fsync = on",
    };
    format!(
        "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 300\n\
         shared_buffers = 64MB\nwal_level = minimal\nmax_wal_senders = 0\nautovacuum = off\n{durable}\n"
    )
}

/// The form that the template is of: a server that was started for another one is not for us.
fn form() -> u64 {
    let migrations = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
    let mut files: Vec<PathBuf> = fs::read_dir(migrations)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file).unwrap().hash(&mut hasher);
    }
    hasher.finish()
}

/// The port and the folder of a shared server that answers.
fn running(state: &Path) -> Option<(u16, PathBuf)> {
    let told = fs::read_to_string(state).ok()?;
    let (port, folder) = told.split_once(' ')?;
    let port = port.parse().ok()?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some((port, folder.into()))
}

fn opened(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

/// A name that nothing has. Where every user can go: the build's own folder may be in a home that is closed to others.
fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("farebox-postgres-{:016x}", random()))
}

fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A port that is free, and that nobody is given who asks for any: a server that is stopped for a while comes back on
/// its port. Linux hands out those from 32768 on.
fn free_port() -> u16 {
    loop {
        let port = 15_000 + u16::try_from(random() % 17_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Runs this to its end, whether or not we are in a runtime.
pub(super) fn in_a_runtime(what: impl Future<Output = ()> + Send + 'static) {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    std::thread::spawn(move || runtime().block_on(what))
        .join()
        .unwrap();
}
