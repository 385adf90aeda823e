//! The arrows of DESIGN.md, held against the source: who may name whom.
//!
//! `http -> pipeline -> {admission, engines, ledger} -> store -> domain`; `clock`, `config` and `telemetry` may be
//! named by all. Each rule says why it is there; a fault names the file, the line, the path and the rule.

mod source;

use source::{Named, paths};
use std::fs;
use std::path::Path;

/// Whom a rule binds, by the first module under `src/` (`main` and `lib` for those files).
#[derive(Debug, Clone, Copy)]
enum Who {
    /// These modules.
    These(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
    /// The crate `domain/`.
    Domain,
}

/// What a rule forbids to name.
#[derive(Debug, Clone, Copy)]
enum What {
    /// These modules of the gateway.
    Modules(&'static [&'static str]),
    /// Every module of the gateway but these.
    ModulesBut(&'static [&'static str]),
    /// This crate.
    Crate(&'static str),
    /// Every crate but these.
    CratesBut(&'static [&'static str]),
}

struct Rule {
    who: Who,
    may_not_name: What,
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        who: Who::AllBut(&["http", "app", "cli", "main", "lib"]),
        may_not_name: What::Modules(&["http"]),
        because: "what HTTP looks like is decided at the edge, and nothing behind it depends on that",
    },
    Rule {
        who: Who::AllBut(&["http", "app", "cli", "main", "lib", "pipeline"]),
        may_not_name: What::Modules(&["pipeline"]),
        because: "the stages are called by the pipeline; they do not call it",
    },
    Rule {
        who: Who::These(&["admission"]),
        may_not_name: What::Modules(&["engines", "ledger"]),
        because: "admission, engines and ledger meet in the pipeline alone, so each can be read by itself",
    },
    Rule {
        who: Who::These(&["engines"]),
        may_not_name: What::Modules(&["admission", "ledger"]),
        because: "admission, engines and ledger meet in the pipeline alone, so each can be read by itself",
    },
    Rule {
        who: Who::These(&["ledger"]),
        may_not_name: What::Modules(&["admission", "engines"]),
        because: "admission, engines and ledger meet in the pipeline alone, so each can be read by itself",
    },
    Rule {
        who: Who::These(&["bill"]),
        may_not_name: What::Modules(&["admission", "engines"]),
        because: "the bill is made of what was booked: who may come in and who serves is not for it to know",
    },
    Rule {
        who: Who::AllBut(&["bill", "http", "cli", "app", "main", "lib"]),
        may_not_name: What::Modules(&["bill"]),
        because: "what is booked does not depend on how it is shown",
    },
    Rule {
        who: Who::These(&["store"]),
        may_not_name: What::Modules(&["admission", "engines", "ledger"]),
        because: "the store keeps what it is given and knows nobody who gives it",
    },
    Rule {
        who: Who::These(&["clock", "config", "telemetry"]),
        may_not_name: What::ModulesBut(&["clock", "config", "telemetry"]),
        because: "all may name these, so these may name nobody else: anything more would be a circle",
    },
    Rule {
        who: Who::These(&["export"]),
        may_not_name: What::ModulesBut(&["export", "ledger", "config", "clock", "telemetry"]),
        because: "the export reads the ledger's queue and is a part of nobody's request",
    },
    Rule {
        who: Who::These(&["reconcile"]),
        may_not_name: What::ModulesBut(&["reconcile", "engines", "ledger", "clock", "telemetry"]),
        because: "it holds the engines' counters against the ledger, and is a part of nobody's request",
    },
    Rule {
        who: Who::AllBut(&["export", "reconcile", "http", "app", "cli", "main", "lib"]),
        may_not_name: What::Modules(&["export", "reconcile"]),
        because: "nothing that serves a request waits for an export or a report",
    },
    Rule {
        who: Who::These(&["simulate"]),
        may_not_name: What::ModulesBut(&["simulate"]),
        because: "the simulated engine checks the gateway; with the gateway's own code it would agree with its faults",
    },
    Rule {
        who: Who::AllBut(&["main", "lib", "cli"]),
        may_not_name: What::Modules(&["cli"]),
        because: "the command line is one way in, not something to build on",
    },
    Rule {
        who: Who::AllBut(&["http", "simulate"]),
        may_not_name: What::Crate("axum"),
        because: "one module knows the web framework, and the simulated engine is a server of its own",
    },
    Rule {
        who: Who::AllBut(&["store", "ledger"]),
        may_not_name: What::Crate("sqlx"),
        because: "SQL that is elsewhere is SQL that the second database's tests do not see",
    },
    Rule {
        who: Who::AllBut(&["admission"]),
        may_not_name: What::Crate("redis"),
        because: "one task talks to Valkey, in order; a second way there would count what the first does not know of",
    },
    Rule {
        who: Who::AllBut(&["engines", "cli", "export"]),
        may_not_name: What::Crate("reqwest"),
        because: "a client is built once for each engine, with its timeouts; the CLI has one for the admin API, and \
                  the export one for its receiver, who is no engine",
    },
    Rule {
        who: Who::Domain,
        // The last two are for its tests: its Cargo.toml has them as dev-dependencies.
        may_not_name: What::CratesBut(&[
            "core",
            "alloc",
            "ipnet",
            "serde",
            "thiserror",
            "proptest",
            "serde_json",
        ]),
        because: "what is true needs no clock, socket or file, and is tested without them",
    },
];

impl Rule {
    /// Whether it binds a file of this module.
    fn binds(&self, in_domain: bool, module: &[String]) -> bool {
        let first = module.first().map_or("lib", String::as_str);
        match self.who {
            Who::These(these) => !in_domain && these.contains(&first),
            Who::AllBut(but) => !in_domain && !but.contains(&first),
            Who::Domain => in_domain,
        }
    }

    /// Whether naming this path breaks it.
    fn forbids(&self, named: &Named) -> bool {
        let root = named.segments.first().map_or("", String::as_str);
        let module = named
            .segments
            .get(1)
            .map(String::as_str)
            .filter(|_| root == "crate");
        match self.may_not_name {
            What::Modules(these) => module.is_some_and(|module| these.contains(&module)),
            What::ModulesBut(but) => module.is_some_and(|module| !but.contains(&module)),
            What::Crate(name) => root == name,
            What::CratesBut(but) => {
                // Inline, a lower-case name may be a primitive type or a module; in a `use` it is a crate.
                let is_crate = named.imported && root.starts_with(|first: char| first.is_ascii_lowercase());
                let foreign = (is_crate || root == "std") && root != "crate";
                foreign && !but.contains(&root)
            }
        }
    }
}

/// What is wrong with a file; `path` is relative to the repository.
fn faults(path: &str, text: &str) -> Vec<String> {
    let (in_domain, module) = module_of(path);
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!(
            "{path}:1: a file opens with `//!`: what it is for, before what it does"
        ));
    }
    for named in paths(text, &module) {
        for rule in RULES {
            if rule.binds(in_domain, &module) && rule.forbids(&named) {
                let name = named.segments.join("::");
                faults.push(format!(
                    "{path}:{}: names `{name}`, which is not for here: {}",
                    named.line, rule.because
                ));
            }
        }
    }
    faults
}

/// Whether the file is the domain's, and its module: `src/http/error.rs` is `["http", "error"]`.
fn module_of(path: &str) -> (bool, Vec<String>) {
    let in_domain = path.starts_with("domain/");
    let under = path
        .trim_start_matches("domain/")
        .trim_start_matches("src/")
        .trim_end_matches(".rs");
    let mut module: Vec<String> = under.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    (in_domain, module)
}

fn rust_files(root: &Path, under: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(root.join(under)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = format!("{under}/{name}");
        if root.join(&path).is_dir() {
            rust_files(root, &path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(root.join(&path)).unwrap();
            found.push((path, text));
        }
    }
}

#[test]
fn the_source_holds_the_arrows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(root, "src", &mut files);
    rust_files(root, "domain/src", &mut files);
    assert!(files.len() > 10, "the source was found");
    let found: Vec<String> = files.iter().flat_map(|(path, text)| faults(path, text)).collect();
    assert!(found.is_empty(), "{} faults\n{}", found.len(), found.join("\n"));
}

#[test]
fn each_way_to_break_an_arrow_is_seen() {
    for (path, code) in [
        ("src/engines/client.rs", "use crate::http::error::Answer;"),
        (
            "src/engines/client.rs",
            "use crate::{clock::Clock, http::{error}};",
        ),
        ("src/engines/client.rs", "pub(crate) use crate::http as edge;"),
        (
            "src/engines/client.rs",
            "fn f() { let x = crate::http::answer(); }",
        ),
        (
            "src/engines/client.rs",
            "fn f() -> Vec<crate::http::Answer> { vec![] }",
        ),
        ("src/engines/client.rs", "use super::super::http::Answer;"),
        ("src/engines/mod.rs", "use super::ledger::Entry;"),
        (
            "src/engines/mod.rs",
            "mod tests { use super::super::ledger::Entry; }",
        ),
        (
            "src/engines/mod.rs",
            "mod a { mod b {} } use super::ledger::Entry;",
        ),
        ("src/engines/client.rs", "use farebox::pipeline;"),
        (
            "src/engines/client.rs",
            "macro_rules! m { () => { $crate::http::answer() }; }",
        ),
        ("src/engines/client.rs", "use axum::Router;"),
        ("src/engines/client.rs", "use {axum::Router, bytes::Bytes};"),
        ("src/engines/client.rs", "fn f(r: ::axum::Router) {}"),
        ("src/engines/client.rs", "extern crate sqlx;"),
        (
            "src/engines/client.rs",
            "fn f<'a>(c: char) -> bool { c == '\"' } type T = sqlx::Pool;",
        ),
        ("src/http/mod.rs", "use reqwest::Client;"),
        ("src/admission/rate.rs", "use crate::engines::registry;"),
        ("src/store/keys.rs", "use crate::ledger::Entry;"),
        ("src/bill/receipt.rs", "use crate::engines::registry;"),
        ("src/ledger/mod.rs", "use crate::bill::item;"),
        ("src/ledger/mod.rs", "use crate::admission;"),
        ("src/config/mod.rs", "use crate::engines::Registry;"),
        ("src/simulate/mod.rs", "use crate::config;"),
        ("src/app.rs", "use crate::cli::Arguments;"),
        ("domain/src/money.rs", "use std::time::Instant;"),
        ("domain/src/money.rs", "fn f() { std::process::exit(1) }"),
        ("domain/src/money.rs", "use tokio::time;"),
    ] {
        let found = faults(path, &format!("//! A file.\n\n{code}\n"));
        assert_eq!(found.len(), 1, "{path}: {code}: {found:?}");
        assert!(found[0].starts_with(&format!("{path}:3: names `")), "{found:?}");
    }
}

#[test]
fn what_the_arrows_allow_is_allowed() {
    for (path, code) in [
        (
            "src/http/error.rs",
            "use crate::{pipeline, store::keys, telemetry}; use axum::Router;",
        ),
        (
            "src/pipeline/mod.rs",
            "use crate::{admission, engines::{self, client}, ledger}; use super::clock;",
        ),
        (
            "src/engines/client.rs",
            "use http::StatusCode; fn f() { http::Uri::default(); self::http(); }",
        ),
        (
            "src/engines/mod.rs",
            "use super::clock; mod tests { use super::*; use crate::config; }",
        ),
        (
            "src/engines/client.rs",
            "// use crate::http;\n/* crate::http /* axum::x */ */ const A: &str = \"sqlx::x\";",
        ),
        (
            "src/engines/client.rs",
            "const A: &str = r#\"use axum::x; \" crate::http::y\"#; const B: char = '\\'';",
        ),
        (
            "src/engines/client.rs",
            "fn f<'axum>(a: &'axum str) { Vec::<u8>::new(); a.http(); my::axum::x(); }",
        ),
        (
            "src/simulate/mod.rs",
            "use crate::simulate::text; use farebox_domain::tokens; use axum::Router;",
        ),
        (
            "src/bill/receipt.rs",
            "use crate::{admin_api::Money, ledger::Ledger, store::Store};",
        ),
        ("src/main.rs", "use farebox::cli; use farebox::http;"),
        (
            "domain/src/money.rs",
            "use crate::price; use core::fmt; use alloc::vec; fn f() { u64::from(1_u8); }",
        ),
    ] {
        assert_eq!(
            faults(path, &format!("//! A file.\n{code}\n")),
            [""; 0],
            "{path}: {code}"
        );
    }
}

#[test]
fn a_file_without_an_opening_is_seen() {
    assert_eq!(faults("src/app.rs", "use std::fmt;\n").len(), 1);
}

#[test]
fn use_trees_are_read_whole() {
    let module = ["http".to_owned(), "error".to_owned()];
    let text = "use a::{self, b::{c, d as e},\n  f::*, };\nuse super::layers; let x = g::h::<T>::i();";
    let named = paths(text, &module);
    let shown: Vec<String> = named
        .iter()
        .map(|named| format!("{} {}", named.line, named.segments.join("::")))
        .collect();
    assert_eq!(
        shown,
        [
            "1 a",
            "1 a::b::c",
            "1 a::b::d",
            "2 a::f::*",
            "3 crate::http::layers",
            "3 g::h"
        ]
    );
}
