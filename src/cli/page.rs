//! Lists that the gateway gives a page at a time.

use crate::admin_api::Page;
use clap::Args;
use std::io::{self, Write};

/// Which part of a long list is shown.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// At most so many, the newest: 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Where the page before ended, as it says.
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// Every page from there on.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// Says that there are more, and how to see them.
pub fn more<T>(page: &Page<T>, out: &mut dyn Write) -> io::Result<()> {
    match &page.next {
        Some(next) => writeln!(out, "\nThere are more: --after {next}"),
        None => Ok(()),
    }
}
