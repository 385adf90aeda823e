//! How many system calls a process makes, counted by perf in the kernel: no call is stopped for it, as strace stops each.

use crate::Outcome;
use farebox_bench_support::children::{Process, installed, output_of};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const EVENT: &str = "raw_syscalls:sys_enter";
/// How long perf may take to do what it is told.
const DONE_WITHIN: Duration = Duration::from_secs(5);

/// A perf that is attached to a process and counts between `start` and `stop`.
pub struct CallCount {
    perf: Process,
    orders: File,
    done: Receiver<String>,
    output: PathBuf,
}

impl CallCount {
    /// To all threads of `process`, from `core`. The files for it are in `folder`. An error where perf is not installed, or may
    /// not count.
    pub fn attach(process: u32, core: u32, folder: &Path) -> Outcome<Self> {
        let program = installed("perf").ok_or("perf is not installed")?;
        let folder = tempfile::tempdir_in(folder)?.keep();
        let [orders, done, output] = ["orders", "done", "calls.csv"].map(|name| folder.join(name));
        let (orders_name, done_name) = (orders.to_string_lossy(), done.to_string_lossy());
        output_of(Path::new("mkfifo"), &[&*orders_name, &*done_name], &[])?;
        let process = process.to_string();
        let control = format!("fifo:{orders_name},{done_name}");
        let output_name = output.to_string_lossy();
        let arguments = [
            "stat",
            "-x,",
            "-o",
            &*output_name,
            "-e",
            EVENT,
            "--delay",
            "-1",
            "--control",
            &control,
            "-p",
            &process,
        ];
        let perf = Process::start(core, &program, arguments, &[], &folder.join("perf.log"))?;
        // For reading too, as a FIFO that nobody reads yet cannot be opened for writing alone.
        let orders = File::options().read(true).write(true).open(&orders)?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            // Opens when perf does, and ends with it.
            let Ok(done) = File::open(done) else { return };
            for line in BufReader::new(done).lines().map_while(Result::ok) {
                let _nobody_waits = sender.send(line);
            }
        });
        let mut count = Self {
            perf,
            orders,
            done: receiver,
            output,
        };
        count.order("ping")?;
        Ok(count)
    }

    /// Begins to count.
    pub fn start(&mut self) -> Outcome<()> {
        self.order("enable")
    }

    /// Ends it, and says how many there were.
    pub fn stop(mut self) -> Outcome<f64> {
        self.order("disable")?;
        self.perf.interrupt()?;
        let said = std::fs::read_to_string(&self.output)?;
        let line = said.lines().find(|line| line.contains(EVENT));
        let calls = line.and_then(|line| line.split(',').next()?.parse().ok());
        calls.ok_or_else(|| format!("perf counted nothing: {}", said.trim()).into())
    }

    fn order(&mut self, what: &str) -> Outcome<()> {
        writeln!(self.orders, "{what}")?;
        match self.done.recv_timeout(DONE_WITHIN) {
            Ok(_ack) => Ok(()),
            Err(_) => Err(self.perf.complaint("perf does not count").into()),
        }
    }
}
