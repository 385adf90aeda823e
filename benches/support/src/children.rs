//! Processes that this one starts: pinned to a core, killed with it, and with their output in a file.

use crate::Outcome;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a child may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running child. It ends when this is dropped, or when the bench is killed.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on `core`, with stderr in `log`. `setpriv` and `taskset` (util-linux) become the program, so
    /// the child's id is the program's own.
    pub fn start<A: AsRef<OsStr>>(
        core: u32,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Outcome<Self> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(arguments);
        command.envs(environment.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?);
        let child = command
            .spawn()
            .map_err(|error| format!("setpriv (util-linux) did not start: {error}"))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// The process id, for `/proc`.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line on stdout. The rest is read and dropped, so that the child never waits for a reader.
    pub fn first_line(&mut self) -> Outcome<String> {
        self.first_line_within(READY_WITHIN)
    }

    /// Likewise, of one that may take longer.
    pub fn first_line_within(&mut self, within: Duration) -> Outcome<String> {
        let lines = self.read_stdout()?;
        lines
            .recv_timeout(within)
            .map_err(|_| self.complaint("said nothing on stdout").into())
    }

    /// Reads and drops what comes on stdout, of a child that says there nothing that is wanted.
    pub fn ignore_stdout(&mut self) -> Outcome<()> {
        self.read_stdout().map(drop)
    }

    fn read_stdout(&mut self) -> Outcome<mpsc::Receiver<String>> {
        let stdout = self.child.stdout.take().ok_or("stdout was read already")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Only the first is waited for.
                let _nobody_waits = sender.send(line);
            }
        });
        Ok(receiver)
    }

    /// Interrupts it as Ctrl-C does, and waits for its end.
    pub fn interrupt(mut self) -> Outcome<()> {
        output_of(Path::new("kill"), &["-INT", &self.id().to_string()], &[])?;
        let _status = self.child.wait()?;
        Ok(())
    }

    /// `what` went wrong, with the last that the child logged.
    pub fn complaint(&self, what: &str) -> String {
        let logged = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = logged.lines().last().unwrap_or("nothing logged");
        format!("{what} ({last})")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way there is nothing left of it after this.
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Files that 10,000 streams through a gateway need, and some more.
const FILES: &str = "--nofile=65536:65536";

/// Pins this process to `core`, before it has threads, and lets it and its children open many files: what 10,000 streams need,
/// or what the hard limit allows where it may not be raised.
pub fn pin_this_process(core: u32) -> Outcome<()> {
    let id = std::process::id().to_string();
    output_of(Path::new("taskset"), &["-cp", &core.to_string(), &id], &[])?;
    if output_of(Path::new("prlimit"), &["--pid", &id, FILES], &[]).is_ok() {
        return Ok(());
    }
    let hard_limit = output_of(
        Path::new("prlimit"),
        &["--pid", &id, "--nofile", "--output", "HARD", "--noheadings"],
        &[],
    )?;
    let hard_limit = hard_limit.trim();
    output_of(
        Path::new("prlimit"),
        &["--pid", &id, &format!("--nofile={hard_limit}:{hard_limit}")],
        &[],
    )?;
    Ok(())
}

/// Files that this process, and each child, may have open: after [`pin_this_process`] as many as there may be.
pub fn files() -> Outcome<u64> {
    let id = std::process::id().to_string();
    let arguments = ["--pid", &id, "--nofile", "--output", "SOFT", "--noheadings"];
    let limit = output_of(Path::new("prlimit"), &arguments, &[])?;
    Ok(limit.trim().parse()?)
}

/// Runs a command to its end. An error holds what it said on stderr.
pub fn output_of(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome<String> {
    let name = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{name} {}: {said}", arguments.first().unwrap_or(&"")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The path of an installed program, in the places where servers are kept too.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// A port that was free a moment ago, for a server that cannot choose one itself.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
