//! Runs the simulated engine; a placeholder for the CLI.
use clap::Parser;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: farebox::simulate::SimulateArgs,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    farebox::simulate::run(Program::parse().args, stop).await
}
