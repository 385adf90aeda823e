//! The routers of the same trade that the package registry has, started as their own documentation says. They bill nothing.

use crate::Outcome;
use crate::children::{Process, free_port};
use std::path::{Path, PathBuf};

/// They are one family, and take the same arguments but for these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// SMG, formerly SGLang's router.
    Smg,
    /// vLLM's.
    VllmRouter,
    /// SGLang's, as it was before it became SMG.
    SglangRouter,
}

impl Peer {
    /// Its program in the folder that `PEERS` names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smg => "smg",
            Self::VllmRouter => "vllm-router",
            Self::SglangRouter => "sglang-router",
        }
    }

    /// What starts it, and logs warnings only.
    const fn quiet_launch(self) -> &'static str {
        match self {
            Self::Smg | Self::SglangRouter => "launch --log-level warn",
            Self::VllmRouter => "--log-level warning",
        }
    }

    /// Starts it on `core` in front of the engines at `workers` (URLs without a path); `more` are words for its command line.
    /// Gives the port that it will listen on, once it is ready.
    pub fn start<'a>(
        self,
        core: u32,
        workers: impl Iterator<Item = &'a str>,
        more: &str,
        folder: &Path,
    ) -> Outcome<(Process, u16)> {
        let name = self.name();
        let home = std::env::var_os("PEERS").ok_or("PEERS names no folder with it: scripts/setup peers")?;
        let program = PathBuf::from(home).join(name);
        if !program.is_file() {
            return Err("not installed: scripts/setup peers".into());
        }
        let (port, metrics) = (free_port()?, free_port()?);
        let workers = workers.collect::<Vec<_>>().join(" ");
        let arguments = format!(
            "{} --host 127.0.0.1 --port {port} --prometheus-host 127.0.0.1 --prometheus-port {metrics} {more} \
             --worker-urls {workers}",
            self.quiet_launch()
        );
        let log = folder.join(format!("{name}.log"));
        let mut process = Process::start(core, &program, arguments.split_whitespace(), &[], &log)?;
        process.ignore_stdout()?;
        Ok((process, port))
    }
}
