//! The files of the pages, built into the binary.

use crate::http::error::response_of;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use farebox_domain::refusal::Refusal;

/// A name and what is in the file.
type Asset = (&'static str, &'static [u8]);

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("assets/", $name)))),*]
    };
}

/// Every file of the folder `assets`; a test holds the two against each other.
const ASSETS: &[Asset] = assets![
    "account_actions.js",
    "api.js",
    "app.js",
    "chart.js",
    "dialog.js",
    "dom.js",
    "format.js",
    "icon.svg",
    "index.html",
    "key_forms.js",
    "key_table.js",
    "limit_editor.js",
    "live.js",
    "meter.js",
    "own_home.js",
    "own_keys.js",
    "own_limits.js",
    "own_playground.js",
    "own_receipts.js",
    "own_statements.js",
    "own_usage.js",
    "own_usage_data.js",
    "page_account.js",
    "page_accounts.js",
    "page_asks.js",
    "page_audit.js",
    "page_engines.js",
    "page_in_flight.js",
    "page_keys.js",
    "page_models.js",
    "page_overview.js",
    "page_receipts.js",
    "page_refusals.js",
    "page_routing.js",
    "page_settings.js",
    "page_usage.js",
    "paged.js",
    "pages.js",
    "parts.js",
    "receipt.js",
    "sse.js",
    "style.css",
    "table.js",
    "theme.js",
];

/// The file with this name.
pub fn answer(name: &str) -> Response {
    let Some((name, bytes)) = ASSETS.iter().find(|(known, _)| *known == name) else {
        let refusal = Refusal::UnknownPath {
            method: "GET".into(),
            path: format!("/dashboard/{}", name.chars().take(100).collect::<String>()),
        };
        return response_of(&refusal).into_response();
    };
    let mut response = Response::new(Body::from(*bytes));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(type_of(name)));
    response
}

fn type_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_folder_is_in_the_binary() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/dashboard/assets");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let listed: BTreeSet<String> = ASSETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(listed, files);
    }

    #[test]
    fn no_file_names_another_host_or_brings_a_script_of_its_own() {
        for (name, bytes) in ASSETS {
            let text = std::str::from_utf8(bytes).unwrap();
            let elsewhere = text.match_indices("://").filter(|(at, _)| {
                !text[..*at].ends_with("http") || !text[*at..].starts_with("://www.w3.org/")
            });
            assert_eq!(elsewhere.count(), 0, "{name} names another host");
            for forbidden in [
                "eval(",
                "innerHTML",
                "insertAdjacentHTML",
                "document.write",
                " style=\"",
                "onclick=\"",
            ] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
        }
    }
}
