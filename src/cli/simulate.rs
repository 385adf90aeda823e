//! `farebox simulate`: the simulated engine, until it is told to end.

use crate::cli::error::CliError;
use crate::simulate::{self, SimulateArgs};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the engine until SIGINT or SIGTERM.
pub fn run(args: SimulateArgs) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        let shutdown = async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        };
        simulate::run(args, shutdown)
            .await
            .map_err(|fault| CliError::Serving(fault.into()))
    })
}
