//! The binary: hands the command line to [`farebox::cli`], and its exit code to the process.

use std::io;
use std::process::ExitCode;

/// A request takes some sixty pieces of memory, and what its last stage gives back is another thread's: docs/adr/0019.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // An `Err` means that it is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let code = farebox::cli::run(std::env::args_os(), &mut io::stdout(), &mut io::stderr());
    ExitCode::from(code)
}
