//! What is said where `--valkey` cannot be what was meant.

use std::process::Command;

/// The exit code, and what is said.
fn serve(valkey: &str, database: Option<&str>) -> (Option<i32>, String) {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_farebox"));
    serve.args(["serve", "--demo"]).env("FAREBOX_VALKEY", valkey);
    serve.env_remove("FAREBOX_DATABASE_URL");
    if let Some(database) = database {
        serve.env("FAREBOX_DATABASE_URL", database);
    }
    let output = serve.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn one_process_alone_needs_none() {
    let (code, said) = serve("redis://127.0.0.1:1/0", None);
    assert_eq!(code, Some(64));
    assert!(
        said.contains("Set FAREBOX_DATABASE_URL, or leave --valkey out"),
        "{said}"
    );
}

#[test]
fn a_url_that_is_none_is_refused_and_its_password_is_not_shown() {
    for (url, because) in [
        (
            "http://:not-a-secret@127.0.0.1",
            "it is no redis://USER:PASSWORD@HOST:PORT/DB",
        ),
        (
            "redis://:not-a-secret@127.0.0.1/x",
            "it is no redis://USER:PASSWORD@HOST:PORT/DB",
        ),
        ("rediss://:not-a-secret@127.0.0.1", "does not speak TLS"),
    ] {
        let (code, said) = serve(url, Some("postgres://127.0.0.1:1/farebox"));
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(because), "{said}");
        assert!(!said.contains("not-a-secret"), "{said}");
    }
    let url: farebox::admission::shared::ValkeyUrl = "redis://:not-a-secret@127.0.0.1:7/3".parse().unwrap();
    assert_eq!(
        (url.to_string(), format!("{url:?}")),
        ("127.0.0.1:7/3".into(), "127.0.0.1:7/3".into())
    );
}
