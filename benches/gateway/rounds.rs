//! Rounds: every gateway afresh, every phase over all of them in turn.

use crate::calls::CallCount;
use crate::farebox::Rates;
use crate::options::{Options, Phase, Subject};
use crate::phases::{Figures, Place, measure};
use crate::proxies::{Gateway, start_haproxy, start_nginx, start_passthrough, start_peer};
use crate::report::{Report, Round};
use crate::{Outcome, draw, farebox, table};
use farebox_bench_support::asks::{CHAT_MODEL, EMBEDDING_MODEL, Target};
use farebox_bench_support::children::pin_this_process;
use farebox_bench_support::load::wait_until_it_answers;
use farebox_bench_support::machine::output_folder;
use farebox_bench_support::peers::Peer;
use farebox_bench_support::roles;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long a gateway may take from its start to its first answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Between phases, for the gateways to put away what the last one left.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs what the command line asks for.
pub fn run(options: &Options) -> Outcome<()> {
    pin_this_process(options.load_core)?;
    let output = output_folder()?;
    std::fs::create_dir_all(&output)?;
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&output)?;
    let (_upstream, address) = roles::start_upstream(options.load_core, folder.path())?;
    let bench = Bench {
        options,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        folder: folder.path(),
        upstream: address.to_string(),
    };
    if let Some(subject) = options.profile {
        return bench.profile(subject);
    }
    let mut report = Report::new(options);
    // Of this process, only to see whether any can be counted.
    let countable = CallCount::attach(std::process::id(), options.load_core, folder.path())
        .and_then(|mut count| count.start().and_then(|()| count.stop()));
    let phases = match countable {
        Ok(_calls) => Phase::ALL.to_vec(),
        Err(error) => {
            report.leave_out_all("counting of system calls", &error.to_string());
            Phase::ALL
                .into_iter()
                .filter(|phase| !phase.counts_calls())
                .collect()
        }
    };
    for number in 0..options.rounds() {
        eprintln!("round {} of {}", number + 1, options.rounds());
        let round = bench.round(number, &phases, &mut report)?;
        report.rounds.push(round);
    }
    println!("{}", table::text(&report));
    std::fs::write(
        output.join("gateway.json"),
        serde_json::to_vec_pretty(&report.json())?,
    )?;
    if let Some(path) = &options.svg {
        std::fs::write(path, draw::svg(&report))?;
        println!("drawn in {}", path.display());
    }
    if let Some(path) = &options.markdown {
        table::write_markdown(&report, path)?;
        println!("tables in {}", path.display());
    }
    if report.failed {
        Err("not every phase gave a figure; see above".into())
    } else {
        Ok(())
    }
}

struct Bench<'a> {
    options: &'a Options,
    runtime: Runtime,
    folder: &'a Path,
    upstream: String,
}

struct Contender {
    subject: Subject,
    target: Target,
    /// `None`: direct.
    gateway: Option<Gateway>,
}

impl Bench<'_> {
    fn round(&self, number: u32, phases: &[Phase], report: &mut Report<'_>) -> Outcome<Round> {
        let folder = self.folder.join(format!("round-{number}"));
        std::fs::create_dir_all(&folder)?;
        let mut contenders = Vec::new();
        for subject in self.options.subjects() {
            match self.start(subject, &folder) {
                Ok(contender) => contenders.push(contender),
                Err(error) => report.leave_out(subject, &error.to_string()),
            }
        }
        let mut round = Round::default();
        for &phase in phases {
            if let Some(first) = usize::try_from(number)?.checked_rem(contenders.len()) {
                contenders.rotate_left(first.min(1));
            }
            for contender in contenders
                .iter()
                .filter(|contender| contender.takes_part_in(phase))
            {
                match self.runtime.block_on(self.measure(phase, contender)) {
                    Ok(figures) => round.add(contender.subject, figures),
                    Err(error) => report.fault(contender.subject, phase, &error.to_string()),
                }
            }
        }
        round.add_latencies();
        Ok(round)
    }

    async fn measure(&self, phase: Phase, contender: &Contender) -> Outcome<Figures> {
        let place = Place {
            options: self.options,
            target: &contender.target,
            gateway: contender.gateway.as_ref(),
            folder: self.folder,
        };
        let figures = measure(&place, phase).await;
        tokio::time::sleep(PAUSE).await;
        figures
    }

    fn start(&self, subject: Subject, folder: &Path) -> Outcome<Contender> {
        let (core, upstream) = (self.options.gateway_core, self.upstream.as_str());
        let gateway = match subject {
            Subject::Farebox => Some(farebox::start(self.options, upstream, folder, Rates::None)?),
            Subject::Rated => Some(farebox::start(self.options, upstream, folder, Rates::OutOfReach)?),
            Subject::Passthrough => Some(start_passthrough(core, upstream, folder)?),
            Subject::Nginx => Some(start_nginx(core, upstream, folder)?),
            Subject::Haproxy => Some(start_haproxy(core, upstream, folder)?),
            Subject::Smg => Some(start_peer(Peer::Smg, core, upstream, folder)?),
            Subject::VllmRouter => Some(start_peer(Peer::VllmRouter, core, upstream, folder)?),
            Subject::SglangRouter => Some(start_peer(Peer::SglangRouter, core, upstream, folder)?),
            Subject::Direct => None,
        };
        let direct = || {
            Ok(Target {
                address: upstream.parse()?,
                key: String::new(),
                chat_model: CHAT_MODEL,
                embedding_model: EMBEDDING_MODEL,
            })
        };
        let target = gateway
            .as_ref()
            .map_or_else(direct, |gateway| Outcome::Ok(gateway.target.clone()))?;
        self.runtime
            .block_on(wait_until_it_answers(&target, ANSWERS_WITHIN))
            .map_err(|error| match &gateway {
                Some(gateway) => gateway.process.complaint(&error.to_string()).into(),
                None => error,
            })?;
        Ok(Contender {
            subject,
            target,
            gateway,
        })
    }

    fn profile(&self, subject: Subject) -> Outcome<()> {
        let contender = self.start(subject, self.folder)?;
        let process = contender
            .gateway
            .as_ref()
            .ok_or("direct has no process to profile")?
            .process
            .id();
        println!(
            "{} has PID {process}; {:?} for {} s",
            subject.name(),
            self.options.phase,
            self.options.seconds
        );
        let ends = Instant::now() + Duration::from_secs(self.options.seconds);
        while Instant::now() < ends {
            for (metric, value) in self
                .runtime
                .block_on(self.measure(self.options.phase, &contender))?
            {
                println!("{} {value:.2}", metric.key());
            }
        }
        Ok(())
    }
}

impl Contender {
    fn takes_part_in(&self, phase: Phase) -> bool {
        self.gateway.is_some() || matches!(phase, Phase::Request | Phase::Ttft)
    }
}
