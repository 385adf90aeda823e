//! `farebox admin-token create|list|revoke|whoami`

use crate::admin_api::{CreatedToken, List, NewToken, StaffView, TokenView};
use crate::cli::client::{AdminArgs, AdminClient};
use crate::cli::error::CliError;
use crate::cli::key::{Expiry, parse_expiry};
use crate::cli::table::{Align, Table, or_dash};
use clap::{Args, Subcommand};
use farebox_domain::role::Role;
use reqwest::Method;
use std::io::{self, Write};

/// Arguments of `farebox admin-token`.
#[derive(Debug, Args)]
pub struct AdminTokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AdminTokenCommand,
    /// Where the gateway is.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What can be done with admin tokens.
#[derive(Debug, Subcommand)]
pub enum AdminTokenCommand {
    /// Make a token. Its secret is shown this once.
    Create {
        /// Whose it is.
        #[arg(long)]
        name: String,
        /// What may be done with it: viewer (reads), operator (the day's work) or admin (all).
        #[arg(long)]
        role: Role,
        /// When it ends: a span such as 30d, a date, or a time in RFC 3339. Without it, when it is revoked.
        #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
        expires: Option<Expiry>,
    },
    /// Show the tokens, without their secrets.
    List,
    /// Show whose token this is that you ask with, and what may be done with it.
    Whoami,
    /// End a token at once.
    Revoke {
        /// Its id, `tok_...`.
        token: String,
    },
}

/// Runs the command.
pub async fn run(args: AdminTokenArgs, client: &AdminClient, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        AdminTokenCommand::Create { name, role, expires } => {
            let (expires_in_seconds, expires_at) = Expiry::fields(expires);
            let new = NewToken {
                name,
                role,
                expires_in_seconds,
                expires_at,
            };
            let answer = client.send_json(Method::POST, &["tokens"], &new).await?;
            client.show(&answer, out, created)
        }
        AdminTokenCommand::List => {
            let answer = client.get(&["tokens"]).await?;
            client.show(&answer, out, |list: &List<TokenView>, out| {
                listed(&list.data, out)
            })
        }
        AdminTokenCommand::Whoami => {
            let answer = client.get(&["me"]).await?;
            client.show(&answer, out, |who: &StaffView, out| {
                writeln!(out, "{} ({}), {}", who.name, who.id, who.role)
            })
        }
        AdminTokenCommand::Revoke { token } => {
            let answer = client.post(&["tokens", &token, "revoke"]).await?;
            client.show(&answer, out, revoked)
        }
    }
}

fn created(created: &CreatedToken, out: &mut dyn Write) -> io::Result<()> {
    let CreatedToken { token, secret } = created;
    writeln!(
        out,
        "Admin token {} of {} with the role {} is made:\n\n    {secret}\n",
        token.id, token.name, token.role
    )?;
    let end = match &token.expires_at {
        Some(end) => format!("at {end}"),
        None => "when you revoke it".into(),
    };
    writeln!(
        out,
        "It is shown this once; the gateway keeps only its hash. It ends {end}."
    )?;
    writeln!(out, "Its owner gives it as FAREBOX_ADMIN_TOKEN.")
}

fn revoked(token: &TokenView, out: &mut dyn Write) -> io::Result<()> {
    let at = or_dash(token.revoked_at.as_ref());
    writeln!(
        out,
        "Admin token {} of {} is revoked since {at}. It opens nothing any more.",
        token.id, token.name
    )
}

fn listed(tokens: &[TokenView], out: &mut dyn Write) -> io::Result<()> {
    if tokens.is_empty() {
        return writeln!(
            out,
            "There are no tokens but the first. Next: farebox admin-token create --name NAME --role viewer"
        );
    }
    let names = ["ID", "NAME", "ROLE", "STATUS", "CREATED", "EXPIRES", "REVOKED"];
    let mut table = Table::new(names.map(|name| (name, Align::Left)));
    for token in tokens {
        table.row([
            token.id.clone(),
            token.name.clone(),
            token.role.to_string(),
            token.status.as_str().into(),
            token.created_at.clone(),
            or_dash(token.expires_at.as_ref()),
            or_dash(token.revoked_at.as_ref()),
        ]);
    }
    table.write(out)
}
