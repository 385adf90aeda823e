//! The account owner's routes: receipts, costs, usage, entries, balance and statements, for whoever has a key of the
//! account. A key sees its own account and nothing else: what is another account's is answered like what is not there.
//!
//! - `asking` lets the caller in and gives every answer its ids; `params` reads queries;
//! - one file for each resource: `receipts`, `organization` (OpenAI's usage and costs), `entries`, `account`, `keys`, `asks`
//!   (for a higher limit).

mod asking;
mod params;
mod receipts;
mod organization;
mod entries;
mod account;
mod keys;
mod asks;

use crate::app::App;
use axum::routing::{MethodRouter, delete, get, post};
use std::sync::Arc;

/// A route: its methods, its path under the base, and what answers it.
pub type Route = (&'static str, &'static str, MethodRouter<Arc<App>>);

/// Every route of the owner's.
pub fn routes() -> Vec<Route> {
    vec![
        ("GET", "/receipts/{request_id}", get(receipts::show)),
        ("POST", "/request-costs", post(receipts::costs)),
        (
            "GET",
            "/organization/usage/completions",
            get(organization::completions),
        ),
        (
            "GET",
            "/organization/usage/embeddings",
            get(organization::embeddings),
        ),
        ("GET", "/organization/costs", get(organization::costs)),
        ("GET", "/me/balance", get(account::balance)),
        ("POST", "/me/rate_limit/request", post(asks::create)),
        ("GET", "/me/rate_limit/requests", get(asks::list)),
        ("GET", "/me/entries", get(entries::list)),
        ("GET", "/me/statements/{month}", get(account::statement_page)),
        ("GET, POST", "/me/keys", get(keys::list).post(keys::create)),
        ("DELETE", "/me/keys/{key}", delete(keys::revoke)),
        ("POST", "/me/keys/{key}/rotate", post(keys::rotate)),
    ]
}
