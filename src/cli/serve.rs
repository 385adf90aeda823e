//! `farebox serve`: what the gateway is started with.

use crate::admission::directory::hash_secret;
use crate::app::{App, Given, StartFault, Started};
use crate::cli::database::{DatabaseArg, ValkeyArg};
use crate::cli::error::CliError;
use crate::cli::files;
use crate::clock::Clock;
use crate::config::{self, Faults, Settings};
use crate::secrets::Secrets;
use crate::simulate;
use crate::store::{AccountRow, KeyRow};
use crate::telemetry::log;
use crate::telemetry::request_log::Style;
use clap::{Args, ValueEnum};
use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

/// Arguments of `farebox serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What is sold, and by which engines.
    #[arg(
        long,
        value_name = "FILE",
        env = "FAREBOX_CONFIG",
        default_value = "models.yaml"
    )]
    pub config: PathBuf,
    /// Where accounts, keys and the ledger are kept; with --database, what is this replica's alone.
    #[arg(
        long,
        value_name = "DIR",
        env = "FAREBOX_DATA",
        default_value = "./farebox-data"
    )]
    pub data: PathBuf,
    /// Where replicas keep accounts, keys and the ledger together.
    #[command(flatten)]
    pub database: DatabaseArg,
    /// Where they count together what is in flight.
    #[command(flatten)]
    pub valkey: ValkeyArg,
    /// Where clients come in.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "FAREBOX_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,
    /// Where administrators come in, and Prometheus. Keep it off public networks.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "FAREBOX_ADMIN_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    pub admin_listen: SocketAddr,
    /// The admin token. Without it one is made on the first start and printed once. Better set by
    /// FAREBOX_ADMIN_TOKEN: arguments can be seen by others on the machine.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "FAREBOX_ADMIN_TOKEN",
        hide_env_values = true
    )]
    pub admin_token: Option<String>,
    /// Serve a simulated engine of its own, with a first account and key, instead of what --config says.
    #[arg(long)]
    pub demo: bool,
    /// How log lines look.
    #[arg(long, value_enum, env = "FAREBOX_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: a level, or filters as tracing-subscriber's EnvFilter takes them.
    #[arg(
        long,
        value_name = "FILTER",
        env = "FAREBOX_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Runs the gateway until SIGINT or SIGTERM. When it is ready it writes one line of JSON that says where it listens.
pub fn run(args: ServeArgs, out: &mut dyn Write) -> Result<(), CliError> {
    set_up_log(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    runtime.block_on(serve(args, out))
}

fn set_up_log(args: &ServeArgs) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&args.log_level).map_err(|fault| CliError::Serving(fault.into()))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // An `Err` means that a log is set up already, which is what a test that calls this does.
    let _ = match args.log_format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
    };
    Ok(())
}

async fn serve(args: ServeArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let fault = |fault: &dyn std::fmt::Display| CliError::Serving(fault.to_string().into());
    let stop = CancellationToken::new();
    let (database, valkey) = (args.database.url()?, args.valkey.url()?);
    if valkey.is_some() && database.is_none() {
        return Err(CliError::ValkeyAlone);
    }
    let engine = if args.demo {
        Some(demo_engine(&stop).await?)
    } else {
        None
    };
    let settings = match &engine {
        Some((url, _)) => Settings::demo(url),
        None => config::load(&args.config),
    };
    let refuse = |faults: Faults| {
        let _ = writeln!(io::stderr(), "{faults}");
        CliError::BadConfiguration {
            file: args.config.display().to_string(),
            faults: faults.as_slice().len(),
        }
    };
    let settings = settings.map_err(refuse)?;
    let public = bind(args.listen).await?;
    let admin = bind(args.admin_listen).await?;
    let given = Given {
        clock: Clock::system(),
        secrets: Secrets::from_system().map_err(|cause| fault(&cause))?,
        data_dir: &args.data,
        database,
        valkey,
        // Set to nothing is not set: an empty token would be no secret.
        admin_token: args.admin_token.filter(|token| !token.trim().is_empty()),
        request_log: request_lines(args.log_format),
        read_env: Arc::new(read_env),
        models_yaml: (!args.demo).then(|| args.config.clone()),
        connections: files::connections(),
    };
    let started = App::start(settings, given).await.map_err(|cause| match cause {
        StartFault::Prompts(faults) => refuse(faults),
        cause => fault(&cause),
    });
    let Started { app, new_admin_token } = started?;
    if let Some(token) = new_admin_token {
        let _ = writeln!(
            io::stderr(),
            "The admin token, shown this once. The CLI reads it from the environment:\n\n  export FAREBOX_ADMIN_TOKEN={token}\n"
        );
    }
    let (listening, admin_listening) = (address(&public)?, address(&admin)?);
    if args.demo {
        greet_demo(&app, listening).await?;
    }
    // Whoever reads that it is ready may end it at once, and it is drained.
    let told_to_end = told_to_end()?;
    let hang_up = signal(SignalKind::hangup()).map_err(CliError::Runtime)?;
    let ready =
        serde_json::json!({ "listening": listening.to_string(), "admin": admin_listening.to_string() });
    writeln!(out, "{ready}")
        .and_then(|()| out.flush())
        .map_err(CliError::Output)?;
    tokio::select! {
        () = app.serve(public, admin, told_to_end) => {}
        never = reload_when_told(&app, hang_up) => match never {},
    }
    stop.cancel();
    if let Some((_, engine)) = engine {
        engine
            .await
            .map_err(|cause| fault(&cause))?
            .map_err(CliError::Runtime)?;
    }
    Ok(())
}

/// Request lines are of level INFO: a filter that leaves that out leaves them out.
fn request_lines(format: LogFormat) -> Style {
    match format {
        _ if !tracing::enabled!(target: "farebox::request", tracing::Level::INFO) => Style::Off,
        LogFormat::Json => Style::Json,
        LogFormat::Text => Style::Text,
    }
}

async fn bind(at: SocketAddr) -> Result<TcpListener, CliError> {
    TcpListener::bind(at).await.map_err(|cause| {
        CliError::Serving(format!("{at} cannot be listened on ({cause}); choose another address").into())
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, CliError> {
    listener.local_addr().map_err(CliError::Runtime)
}

/// From this call on SIGINT and SIGTERM no longer end the process; they resolve what is returned.
fn told_to_end() -> Result<impl Future<Output = ()>, CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Reads models.yaml again at each SIGHUP.
async fn reload_when_told(app: &App, mut hang_up: Signal) -> Infallible {
    loop {
        if hang_up.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let reloaded = {
            let _changing = app.changing.lock().await;
            app.reload().await
        };
        match reloaded {
            Ok(plan) => log::reloaded(&plan.to_string(), &plan.needs_restart),
            Err(fault) => log::not_reloaded(&fault.to_string()),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the CLI reads the environment, and hands it on as values"
)]
fn read_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A simulated engine of its own: its URL, and its task.
async fn demo_engine(stop: &CancellationToken) -> Result<(String, JoinHandle<io::Result<()>>), CliError> {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let url = format!("http://{}", address(&listener)?);
    let settings = simulate::Settings {
        models: vec!["simulated".into(), "simulated-embedding".into()],
        decode_rate: 50,
        ..simulate::Settings::default()
    };
    let running = simulate::Engine::new(settings).serve(listener, stop.clone().cancelled_owned());
    Ok((url, TaskTracker::new().spawn(running)))
}

/// Makes an account, if there is none, and a key, and says how to use it.
async fn greet_demo(app: &App, listening: SocketAddr) -> Result<(), CliError> {
    let fault = |cause: &dyn std::fmt::Display| CliError::Serving(cause.to_string().into());
    let now_ms = app.clock.unix_ms();
    let account = match app.directory.account_named("demo") {
        Some(account) => account.id.clone(),
        None => {
            let id = app.secrets.account_id();
            let row = AccountRow::new(id.clone(), "demo".into(), now_ms);
            app.store
                .create_account(&row)
                .await
                .map_err(|cause| fault(&cause))?;
            app.directory.add_account(row);
            id
        }
    };
    let secret = app.secrets.api_key();
    let (id, hash) = (app.secrets.key_id(), hash_secret(&secret));
    let row = KeyRow::new(id, account, "demo".into(), hash, now_ms);
    app.store.create_key(&row).await.map_err(|cause| fault(&cause))?;
    app.directory.add_key(row);
    let _ = writeln!(
        io::stderr(),
        "A simulated engine answers; no model is needed. Try:\n\n  curl -N http://{listening}/v1/chat/completions \\\n    \
         -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\\n    \
         -d '{{\"model\":\"simulated\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
    );
    Ok(())
}
