//! Usage: what was used and what it costs, by account, model, key and day, as JSON or CSV.
use crate::http::admin::change::Admin;
use crate::http::admin::error::AdminError;
use axum::extract::State;
/// s
pub async fn report(State(_a): State<Admin>) -> Result<(), AdminError> { Ok(()) }
