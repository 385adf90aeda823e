//! `farebox ledger reconcile`: how the comparison is shown.

use crate::admin_api::{ComparedView, ReasonView, Reconcile, ReconcileView, ReconciledSpan};
use crate::cli::client::AdminClient;
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table, counted, or_dash};
use std::io::{self, Write};

/// Runs the command.
pub async fn run(wanted: &Reconcile, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = client.send_json_long(&["ledger", "reconcile"], wanted).await?;
    client.show(&answer, out, shown)?;
    let found: ReconcileView = answer.value;
    if found.explained {
        Ok(())
    } else {
        Err(CliError::Unexplained)
    }
}

fn shown(found: &ReconcileView, out: &mut dyn Write) -> io::Result<()> {
    for (index, engine) in found.data.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        match &engine.span {
            Some(span) => {
                let samples = plural(span.samples, "sample");
                let (restarts, requests) =
                    (plural(span.restarts, "restart"), plural(span.requests, "request"));
                writeln!(
                    out,
                    "{} ({}), {} to {}: {samples}, {restarts}, {requests}",
                    engine.engine, engine.kind, span.from, span.until
                )?;
                compared(span, out)?;
            }
            None => writeln!(
                out,
                "{} ({}): not compared, as there are not two samples of its counters in this span",
                engine.engine, engine.kind
            )?,
        }
    }
    if let Some(waiting) = found.in_outbox.filter(|waiting| *waiting > 0) {
        let waiting = plural(waiting, "settlement");
        writeln!(
            out,
            "\n{waiting} in this replica's outbox: not in the ledger yet, so their tokens are missing from it"
        )?;
    }
    Ok(())
}

fn compared(span: &ReconciledSpan, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("TOKENS", Align::Left),
        ("ENGINE", Align::Right),
        ("LEDGER", Align::Right),
        ("DIFFERENCE", Align::Right),
        ("UNEXPLAINED", Align::Right),
    ]);
    let prompt = if span.prompt_excludes_cached {
        "prompt, not cached"
    } else {
        "prompt"
    };
    let kinds = [(prompt, &span.prompt), ("generation", &span.generation)];
    for (name, kind) in kinds {
        let numbers = [kind.difference, kind.unexplained].map(|number| number.to_string());
        let both = [kind.engine, kind.ledger].map(|number| number.to_string());
        table.row([name.to_owned()].into_iter().chain(both).chain(numbers));
    }
    table.row([
        "cached".to_owned(),
        or_dash(span.cached_by_engine),
        or_dash(span.cached_by_ledger),
    ]);
    table.write(out)?;
    for (name, kind) in kinds {
        reasons(name, kind, out)?;
    }
    if span.cached_by_engine.is_some_and(|tokens| tokens > 0) && span.cached_by_ledger == Some(0) {
        writeln!(
            out,
            "- it had cached tokens and reported none with its answers: they were charged as prompt tokens"
        )?;
    }
    Ok(())
}

fn reasons(name: &str, kind: &ComparedView, out: &mut dyn Write) -> io::Result<()> {
    for reason in &kind.reasons {
        writeln!(out, "- {name}: {}: {}", why(reason), range(reason))?;
    }
    if kind.unexplained != 0 {
        let whose = if kind.unexplained > 0 {
            "the engine made these for somebody else, or farebox has charged too little"
        } else {
            "farebox has charged what the engine did not count"
        };
        writeln!(out, "- {name}: {} UNEXPLAINED: {whose}", kind.unexplained)?;
    }
    Ok(())
}

fn why(reason: &ReasonView) -> String {
    let of = |noun: &str, rest: &str| format!("{} {rest}", plural(reason.count, noun));
    match reason.why.as_str() {
        "edges" => of("request", "at an edge of the span"),
        "open" => of("request", "still open, and not in the ledger yet"),
        "outbox" => of("settlement", "in the outbox, and not in the ledger yet"),
        "cut_short" => of(
            "request",
            "cut short, for which the engine may have made more than was delivered",
        ),
        "deltas" => of(
            "request",
            "without usage from the engine: counted by deltas or by the tokenizer",
        ),
        "engine_corrected" => of(
            "request",
            "with several choices, of which the engine reported one: corrected by deltas",
        ),
        "engine_partial" => of(
            "request",
            "with several choices, of which the engine reported one",
        ),
        "failed_attempts" => of("try", "that failed, for which the engine may have made tokens"),
        "restart" => of("request", "at a restart, which the engine may have forgotten"),
        other => of("request", other),
    }
}

fn range(reason: &ReasonView) -> String {
    if reason.least == reason.most {
        format!("{:+}", reason.least)
    } else {
        format!("{:+} to {:+}", reason.least, reason.most)
    }
}

fn plural(count: u64, noun: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), noun)
}
