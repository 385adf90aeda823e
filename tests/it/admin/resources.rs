//! Accounts, keys, limits, engines and models, as they are shown.

use super::harness::{Gateway, NOW_MS};
use axum::http::StatusCode;
use farebox::admission::concurrency::Wanted;
use farebox_domain::ids::ModelId;

#[tokio::test]
async fn an_account_is_made_listed_and_found_by_id_and_by_name() {
    let gateway = Gateway::start().await;
    let made = gateway
        .ask("POST", "/admin/v1/accounts", r#"{"name":"Söhne & Co/1"}"#)
        .await;
    insta::assert_snapshot!(made.shown(), @r#"
    201
    {
      "closed": false,
      "concurrent_requests": 200,
      "created_at": "2026-11-01T12:00:00Z",
      "id": "acct_befba86ae9e0c207",
      "in_flight": 0,
      "is_default": true,
      "name": "Söhne & Co/1",
      "owed": {
        "picodollars": "0",
        "usd": "0"
      }
    }
    "#);
    let by_id = gateway
        .get(&format!("/admin/v1/accounts/{}", made.field("id")))
        .await;
    let by_name = gateway.get("/admin/v1/accounts/S%C3%B6hne%20&%20Co%2F1").await;
    assert_eq!(by_id.shown(), by_name.shown());
    assert_eq!((by_id.status, &by_id.text), (StatusCode::OK, &made.text));
    let (key, _) = gateway.key(&made.field("id")).await;
    gateway.book(&made.field("id"), &key, NOW_MS, 0..3).await;
    insta::assert_snapshot!(gateway.get("/admin/v1/accounts").await.shown(), @r#"
    200
    {
      "data": [
        {
          "closed": false,
          "concurrent_requests": 200,
          "created_at": "2026-11-01T12:00:00Z",
          "id": "acct_befba86ae9e0c207",
          "in_flight": 0,
          "is_default": true,
          "name": "Söhne & Co/1",
          "owed": {
            "picodollars": "30000000",
            "usd": "0.00003"
          }
        }
      ],
      "has_more": false,
      "next": null
    }
    "#);
}

#[tokio::test]
async fn a_key_opens_until_it_is_revoked_and_its_secret_is_shown_once() {
    let gateway = Gateway::start().await;
    gateway.account("Acme").await;
    let body = r#"{"account":"Acme","name":"laptop","expires_at":"2026-12-01"}"#;
    let made = gateway.ask("POST", "/admin/v1/keys", body).await;
    let secret = made.field("secret");
    assert!(
        secret.starts_with("fb_") && secret.len() == "fb_".len() + 43,
        "256 bits in base64url"
    );
    assert_eq!(made.headers["cache-control"], "no-store");
    insta::assert_snapshot!(made.shown().replace(&secret, "[secret]"), @r#"
    201
    {
      "account": "acct_befba86ae9e0c207",
      "account_name": "Acme",
      "allowed_ips": [],
      "allowed_models": [],
      "concurrent_requests": null,
      "created_at": "2026-11-01T12:00:00Z",
      "expires_at": "2026-12-01T00:00:00Z",
      "id": "key_e06bb0bc4f577df3",
      "jwt": false,
      "name": "laptop",
      "overlap_until": null,
      "revoked_at": null,
      "scopes": [
        "inference",
        "usage"
      ],
      "secret": "[secret]",
      "status": "active"
    }
    "#);
    assert!(gateway.app.directory.find_key(&secret, NOW_MS).is_ok());

    let listed = gateway.get("/admin/v1/keys?account=Acme").await;
    assert!(!listed.text.contains(&secret[3..]));
    insta::assert_snapshot!(listed.shown(), @r#"
    200
    {
      "data": [
        {
          "account": "acct_befba86ae9e0c207",
          "account_name": "Acme",
          "allowed_ips": [],
          "allowed_models": [],
          "concurrent_requests": null,
          "created_at": "2026-11-01T12:00:00Z",
          "expires_at": "2026-12-01T00:00:00Z",
          "id": "key_e06bb0bc4f577df3",
          "jwt": false,
          "name": "laptop",
          "overlap_until": null,
          "revoked_at": null,
          "scopes": [
            "inference",
            "usage"
          ],
          "status": "active"
        }
      ],
      "has_more": false,
      "next": null
    }
    "#);

    let path = format!("/admin/v1/keys/{}", made.field("id"));
    let revoked = gateway.ask("POST", &format!("{path}/revoke"), "").await;
    insta::assert_snapshot!(revoked.shown(), @r#"
    200
    {
      "account": "acct_befba86ae9e0c207",
      "account_name": "Acme",
      "allowed_ips": [],
      "allowed_models": [],
      "concurrent_requests": null,
      "created_at": "2026-11-01T12:00:00Z",
      "expires_at": "2026-12-01T00:00:00Z",
      "id": "key_e06bb0bc4f577df3",
      "jwt": false,
      "name": "laptop",
      "overlap_until": null,
      "revoked_at": "2026-11-01T12:00:00Z",
      "scopes": [
        "inference",
        "usage"
      ],
      "status": "revoked"
    }
    "#);
    assert!(gateway.app.directory.find_key(&secret, NOW_MS).is_err());
    gateway.clock.set_unix_ms(NOW_MS + 60_000);
    let again = gateway.ask("DELETE", &path, "").await;
    assert_eq!(again.text, revoked.text, "it stays as revoked as it was");
}

#[tokio::test]
async fn a_key_expires_by_itself() {
    let gateway = Gateway::start().await;
    gateway.account("Acme").await;
    let body = r#"{"account":"Acme","name":"k","expires_in_seconds":60}"#;
    let secret = gateway.ask("POST", "/admin/v1/keys", body).await.field("secret");
    let end_ms = NOW_MS + 60_000;
    assert!(gateway.app.directory.find_key(&secret, end_ms - 1).is_ok());
    assert!(gateway.app.directory.find_key(&secret, end_ms).is_err());
    gateway.clock.set_unix_ms(end_ms);
    assert_eq!(
        gateway.get("/admin/v1/keys").await.json()["data"][0]["status"],
        "expired"
    );
}

#[tokio::test]
async fn a_limit_acts_on_the_very_next_request() {
    let gateway = Gateway::start().await;
    let id = gateway.account("Acme").await;
    let limits = format!("/admin/v1/accounts/{id}/limits");
    let gate = gateway.app.directory.account_named("Acme").unwrap().gate.clone();
    let model = ModelId::from("org/large");
    insta::assert_snapshot!(gateway.get(&limits).await.shown(), @r#"
    200
    {
      "account": "acct_befba86ae9e0c207",
      "account_name": "Acme",
      "concurrent_requests": 200,
      "in_flight": 0,
      "is_default": true,
      "models": [],
      "note": null,
      "rates": {
        "account": "acct_befba86ae9e0c207",
        "key": null,
        "models": [],
        "requests": null,
        "tokens": null
      }
    }
    "#);

    gateway.ask("PUT", &limits, r#"{"concurrent_requests":1}"#).await;
    let key = "key_1".into();
    let one_more = || {
        gate.try_acquire(Wanted {
            model: &model,
            key: &key,
            key_limit: None,
            default: 200,
        })
    };
    let first = one_more().unwrap();
    assert!(one_more().is_err());
    let raised = gateway
        .ask(
            "PUT",
            "/admin/v1/accounts/Acme/limits",
            r#"{"concurrent_requests":2}"#,
        )
        .await;
    assert_eq!(raised.status, StatusCode::OK);
    let second = one_more().unwrap();
    insta::assert_snapshot!(raised.shown(), @r#"
    200
    {
      "account": "acct_befba86ae9e0c207",
      "account_name": "Acme",
      "concurrent_requests": 2,
      "in_flight": 1,
      "is_default": false,
      "models": [
        {
          "concurrent_requests": null,
          "in_flight": 1,
          "model": "org/large"
        }
      ],
      "note": null,
      "rates": {
        "account": "acct_befba86ae9e0c207",
        "key": null,
        "models": [],
        "requests": null,
        "tokens": null
      }
    }
    "#);
    drop((first, second));

    gateway
        .ask("PUT", &limits, r#"{"concurrent_requests":null}"#)
        .await;
    assert_eq!(gate.read(200).limit, 200);
}

#[tokio::test]
async fn a_models_limit_goes_by_alias_and_says_when_the_accounts_holds_it_back() {
    let gateway = Gateway::start().await;
    gateway.account("Acme").await;
    let limits = "/admin/v1/accounts/Acme/limits";
    let higher = gateway
        .ask("PUT", limits, r#"{"model":"large","concurrent_requests":300}"#)
        .await;
    insta::assert_snapshot!(higher.shown(), @r#"
    200
    {
      "account": "acct_befba86ae9e0c207",
      "account_name": "Acme",
      "concurrent_requests": 200,
      "in_flight": 0,
      "is_default": true,
      "models": [
        {
          "concurrent_requests": 300,
          "in_flight": 0,
          "model": "org/large"
        }
      ],
      "note": "the account's own number still holds: 200 requests in flight over all models, though org/large may have more. Raise the account's number too for the model's to be reached.",
      "rates": {
        "account": "acct_befba86ae9e0c207",
        "key": null,
        "models": [],
        "requests": null,
        "tokens": null
      }
    }
    "#);
    let lower = gateway
        .ask("PUT", limits, r#"{"model":"org/large","concurrent_requests":10}"#)
        .await;
    assert_eq!(lower.json()["note"], serde_json::Value::Null);
    let taken_back = gateway
        .ask("PUT", limits, r#"{"model":"large","concurrent_requests":null}"#)
        .await;
    assert_eq!(taken_back.json()["models"], serde_json::json!([]));
}

#[tokio::test]
async fn engines_models_and_metrics_are_shown_without_urls() {
    let gateway = Gateway::start().await;
    let engines = gateway.get("/admin/v1/engines").await;
    let models = gateway.get("/admin/v1/models").await;
    insta::assert_snapshot!(engines.shown(), @r#"
    200
    {
      "data": [
        {
          "drained": false,
          "ejected_for": null,
          "errors": 0,
          "in_flight": 0,
          "kind": "vllm",
          "kv_cache_permille": null,
          "max_concurrent": 64,
          "name": "vllm-a",
          "reported_running": null,
          "reported_waiting": null,
          "status": "down",
          "ttft_ms": {
            "p50": null,
            "p90": null,
            "p99": null
          }
        }
      ]
    }
    "#);
    insta::assert_snapshot!(models.shown(), @r#"
    200
    {
      "data": [
        {
          "aliases": [
            "large"
          ],
          "cached_tokens": 0,
          "context_length": 8192,
          "engines": [
            {
              "engine": "vllm-a",
              "serves": "large-on-vllm"
            }
          ],
          "id": "org/large",
          "max_output_tokens": 4096,
          "price": {
            "cached_input": "0.02",
            "input": "0.1",
            "output": "0.32"
          },
          "prompt_tokens": 0,
          "requests_per_minute": null,
          "routing": "least_loaded",
          "task": "chat",
          "tokens_per_minute": null,
          "ttft_ms": {
            "p50": null,
            "p90": null,
            "p99": null
          },
          "usable_engines": 0
        },
        {
          "aliases": [],
          "cached_tokens": 0,
          "context_length": 512,
          "engines": [
            {
              "engine": "vllm-a",
              "serves": "embedding-on-vllm"
            }
          ],
          "id": "org/embedding",
          "max_output_tokens": 512,
          "price": {
            "cached_input": null,
            "input": "0.01",
            "output": "0"
          },
          "prompt_tokens": 0,
          "requests_per_minute": null,
          "routing": "least_loaded",
          "task": "embedding",
          "tokens_per_minute": null,
          "ttft_ms": {
            "p50": null,
            "p90": null,
            "p99": null
          },
          "usable_engines": 0
        }
      ]
    }
    "#);
    let metrics = gateway.get("/metrics").await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(
        metrics.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        metrics.text.lines().any(|line| line.starts_with("farebox_")),
        "{}",
        metrics.text
    );
    for answer in [engines, models, metrics] {
        assert!(!answer.text.contains("127.0.0.1"), "{}", answer.text);
    }
}
