//! The gateways that bill nothing: nginx, HAProxy, the routers of the same trade, and the bench's own pass-through.

use crate::Outcome;
use farebox_bench_support::asks::{CHAT_MODEL, EMBEDDING_MODEL, Target};
use farebox_bench_support::children::{Process, free_port, installed};
use farebox_bench_support::passthrough::KEY;
use farebox_bench_support::peers::Peer;
use farebox_bench_support::roles;
use std::net::SocketAddr;
use std::path::Path;

/// A running gateway and how to reach it.
pub struct Gateway {
    /// Held for its end.
    pub process: Process,
    /// Where clients go.
    pub target: Target,
    /// The admin listener of one that has a ledger.
    pub metrics: Option<SocketAddr>,
}

impl Gateway {
    fn that_bills_nothing(process: Process, address: SocketAddr) -> Self {
        let target = Target {
            address,
            key: KEY.to_owned(),
            chat_model: CHAT_MODEL,
            embedding_model: EMBEDDING_MODEL,
        };
        Self {
            process,
            target,
            metrics: None,
        }
    }
}

/// The pass-through, as a child of its own.
pub fn start_passthrough(core: u32, upstream: &str, folder: &Path) -> Outcome<Gateway> {
    let (process, address) = roles::start_passthrough(core, upstream.parse()?, 1, folder)?;
    Ok(Gateway::that_bills_nothing(process, address))
}

/// nginx in one process: unbuffered answers, kept connections on both sides, no log.
pub fn start_nginx(core: u32, upstream: &str, folder: &Path) -> Outcome<Gateway> {
    let program = installed("nginx").ok_or("not installed")?;
    let port = free_port()?;
    let here = folder.display();
    let configuration = format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {here}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {here}/nginx-body;
    proxy_temp_path {here}/nginx-proxy;
    fastcgi_temp_path {here}/nginx-fastcgi;
    uwsgi_temp_path {here}/nginx-uwsgi;
    scgi_temp_path {here}/nginx-scgi;
    client_body_buffer_size 64k;
    keepalive_requests 100000000;
    upstream engine {{
        server {upstream};
        keepalive 2048;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let arguments = ["-e".as_ref(), "stderr".as_ref(), "-c".as_ref(), file.as_os_str()];
    start_on_port(core, &program, &arguments, port, &folder.join("nginx.log"))
}

/// HAProxy with one thread: no delay for SSE, idle connections to the engine shared, no log.
pub fn start_haproxy(core: u32, upstream: &str, folder: &Path) -> Outcome<Gateway> {
    let program = installed("haproxy").ok_or("not installed")?;
    let port = free_port()?;
    let configuration = format!(
        "global
    nbthread 1
    maxconn 8192
defaults
    mode http
    option http-no-delay
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend engine
backend engine
    server engine {upstream} pool-max-conn -1
"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, configuration)?;
    let arguments = ["-db".as_ref(), "-f".as_ref(), file.as_os_str()];
    start_on_port(core, &program, &arguments, port, &folder.join("haproxy.log"))
}

/// A router with one engine behind it: the cheapest policy that all three have, and room for every stream. What else they do
/// for a request (retries, a circuit breaker, their own counters) is as they come. They see one core, so one worker thread.
pub fn start_peer(peer: Peer, core: u32, upstream: &str, folder: &Path) -> Outcome<Gateway> {
    let worker = format!("http://{upstream}");
    let more = "--policy round_robin --max-concurrent-requests 20000";
    let (process, port) = peer.start(core, std::iter::once(worker.as_str()), more, folder)?;
    let mut gateway = Gateway::that_bills_nothing(process, on_loopback(port));
    // smg takes an engine to have one model, the first that it lists.
    gateway.target.embedding_model = CHAT_MODEL;
    Ok(gateway)
}

fn start_on_port(
    core: u32,
    program: &Path,
    arguments: &[&std::ffi::OsStr],
    port: u16,
    log: &Path,
) -> Outcome<Gateway> {
    let process = Process::start(core, program, arguments, &[], log)?;
    Ok(Gateway::that_bills_nothing(process, on_loopback(port)))
}

fn on_loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
