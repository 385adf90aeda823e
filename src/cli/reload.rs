//! `farebox reload`

use crate::admin_api::reload::{Reload, ReloadView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::table::{Align, Table};
use clap::Args;
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Runs the command: the plan is shown before it acts.
pub async fn run(args: ReloadArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    let ask = async |dry_run| {
        client
            .send_json(Method::POST, &["reload"], &Reload { dry_run })
            .await
    };
    let plan = ask(true).await?;
    if args.dry_run {
        return client.show(&plan, out, shown);
    }
    if !args.admin.json {
        client.show(&plan, out, shown)?;
    }
    let done = ask(false).await?;
    client.show(&done, out, |_: &ReloadView, out| writeln!(out, "It is in force."))
}

fn shown(plan: &ReloadView, out: &mut dyn Write) -> io::Result<()> {
    let changes = plan.models.iter().map(|change| ("model", change));
    let mut table = Table::new([
        ("WHAT", Align::Left),
        ("NAME", Align::Left),
        ("CHANGE", Align::Left),
        ("KEYS", Align::Left),
    ]);
    for (what, change) in changes.chain(plan.engines.iter().map(|change| ("engine", change))) {
        let keys = change.keys.join(", ");
        table.row([what.into(), change.name.clone(), change.change.clone(), keys]);
    }
    for section in &plan.settings {
        table.row(["setting".into(), section.clone(), "changed".into(), String::new()]);
    }
    for section in &plan.needs_restart {
        table.row([
            "setting".into(),
            section.clone(),
            "holds from the next start".into(),
            String::new(),
        ]);
    }
    if [&plan.settings, &plan.needs_restart]
        .iter()
        .all(|sections| sections.is_empty())
        && plan.models.is_empty()
        && plan.engines.is_empty()
    {
        return writeln!(out, "Nothing changes.");
    }
    table.write(out)
}
