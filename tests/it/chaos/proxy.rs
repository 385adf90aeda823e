//! A TCP proxy between a replica and its PostgreSQL that can be told to fail.

use farebox::store::DatabaseUrl;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::postgres::PgConnectOptions;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What it does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes it on.
    Pass,
    /// Cuts what is open, and everybody who comes.
    Refuse,
    /// Each connection ends after some bytes in either direction, at most so many: drawn from its seed.
    Cut { most: u64 },
    /// Keeps connections open, takes new ones, and passes nothing on.
    Stall,
    /// Passes each piece on after this time.
    Delay(Duration),
}

/// The proxy. It ends with its runtime.
pub(crate) struct ChaosProxy {
    port: u16,
    mode: watch::Sender<Mode>,
    open: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl ChaosProxy {
    /// One on a free port, in front of the server of this URL.
    pub(crate) async fn before(url: &str, seed: u64) -> Self {
        let options: PgConnectOptions = url.parse().unwrap();
        let server: SocketAddr = format!("{}:{}", options.get_host(), options.get_port())
            .parse()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, watched) = watch::channel(Mode::Pass);
        let open = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&open), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut seeds = StdRng::seed_from_u64(seed);
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (watched, seed) = (watched.clone(), seeds.random());
                let (open, ended) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    connection(client, server, watched, seed).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            port,
            mode,
            open,
            ended,
        }
    }

    /// The same database through the proxy.
    pub(crate) fn url(&self, url: &str) -> DatabaseUrl {
        let options: PgConnectOptions = url.parse().unwrap();
        let through = url.replace(&format!(":{}/", options.get_port()), &format!(":{}/", self.port));
        through.parse().unwrap()
    }

    /// Where it listens, on the local host.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Connections that have ended.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Connections that are open through it.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn connection(client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>, seed: u64) {
    if *mode.borrow_and_update() == Mode::Refuse {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    // Whichever ends first ends both.
    tokio::select! {
        () = pass(client_reads, server_writes, mode.clone(), seed) => {}
        () = pass(server_reads, client_writes, mode.clone(), seed.wrapping_add(1)) => {}
        () = refused(mode) => {}
    }
}

async fn refused(mut mode: watch::Receiver<Mode>) {
    // An error says that the proxy is gone.
    let _ = mode.wait_for(|mode| *mode == Mode::Refuse).await;
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut left: Option<u64> = None;
    let mut buffer = vec![0; 4096];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let now = match mode.wait_for(|mode| *mode != Mode::Stall).await {
            Ok(now) => *now,
            Err(_) => return,
        };
        let mut passed = read;
        match now {
            Mode::Delay(delay) => tokio::time::sleep(delay).await,
            Mode::Cut { most } => {
                let left = left.get_or_insert_with(|| random.random_range(0..most));
                passed = read.min(usize::try_from(*left).unwrap());
                *left -= u64::try_from(passed).unwrap();
            }
            _ => left = None,
        }
        if to.write_all(&buffer[..passed]).await.is_err() || passed < read {
            return;
        }
    }
}
