//! Prices that change while farebox runs.

use super::harness::{Gateway, NOW_MS};
use axum::http::StatusCode;

const HOUR_MS: u64 = 3_600_000;

async fn set(gateway: &Gateway, body: &str) -> super::harness::Answer {
    gateway.ask("POST", "/admin/v1/prices", body).await
}

fn input_at(gateway: &Gateway, at_ms: u64) -> String {
    let registry = gateway.app.registry();
    let served = registry.find("large").unwrap();
    served.prices.at(at_ms).price.input.to_string()
}

#[tokio::test]
async fn a_price_holds_at_once_or_from_a_time_to_come() {
    let gateway = Gateway::start().await;
    let now = r#"{"model":"large","price":{"input":"0.20","output":"0.40","per_request":"0.001","priority":"1.5"}}"#;
    let answer = set(&gateway, now).await;
    insta::assert_snapshot!(answer.shown(), @r#"
    201
    {
      "before": {
        "from": "2026-11-01T12:00:00Z",
        "model": "org/large",
        "price": {
          "cached_input": "0.02",
          "input": "0.1",
          "output": "0.32"
        },
        "status": "past",
        "version": 1
      },
      "from": "2026-11-01T12:00:00Z",
      "model": "org/large",
      "price": {
        "cached_input": null,
        "input": "0.2",
        "output": "0.4",
        "per_request": "0.001",
        "priority": "1.5"
      },
      "status": "current",
      "version": 3
    }
    "#);
    assert_eq!(input_at(&gateway, NOW_MS), "0.2", "the very next request");
    let later = r#"{"model":"org/large","price":{"input":"0.30","output":"0.40","context_tiers":[
        {"above_prompt_tokens":4000,"input":"0.60","output":"0.80"}]},"from":"2h"}"#;
    assert_eq!(set(&gateway, later).await.status, StatusCode::CREATED);
    assert_eq!(input_at(&gateway, NOW_MS + HOUR_MS), "0.2");
    assert_eq!(input_at(&gateway, NOW_MS + 2 * HOUR_MS), "0.3", "by itself");
    let statuses = |answer: super::harness::Answer| {
        let json = answer.json();
        let rows = json["data"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| format!("{} {}", row["version"], row["status"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let listed = gateway.get("/admin/v1/prices?model=large").await;
    assert_eq!(statuses(listed), ["1 past", "3 current", "4 scheduled"]);
    gateway.clock.set_unix_ms(NOW_MS + 3 * HOUR_MS);
    let listed = gateway.get("/admin/v1/prices").await;
    assert_eq!(statuses(listed), ["1 past", "3 past", "4 current", "2 current"]);

    // The catalog's price has not changed, so it does not come back with a restart.
    let gateway = gateway.restart().await;
    gateway.clock.set_unix_ms(NOW_MS + 3 * HOUR_MS);
    assert_eq!(input_at(&gateway, NOW_MS), "0.2");
    let models = gateway.get("/admin/v1/models").await.json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&models["data"][0]["price"]).unwrap(), @r#"
    {
      "cached_input": null,
      "context_tiers": [
        {
          "above_prompt_tokens": 4000,
          "cached_input": null,
          "input": "0.6",
          "output": "0.8"
        }
      ],
      "input": "0.3",
      "output": "0.4"
    }
    "#);
}

#[tokio::test]
async fn what_does_not_hold_is_refused_and_changes_nothing() {
    let gateway = Gateway::start().await;
    let bodies = [
        r#"{"model":"nothing","price":{"input":"1"}}"#,
        r#"{"model":"large","price":{"input":0.1,"output":"0.3"}}"#,
        r#"{"model":"large","price":{"input":"0.1"}}"#,
        r#"{"model":"large","price":{"input":"0.1","outputs":"0.3","flex":"0"}}"#,
        r#"{"model":"large","price":{"input":"0.000001","output":"0.3","priority":"1.5"}}"#,
        r#"{"model":"large","price":{"input":"0.1","output":"0.3","context_tiers":[{"above_prompt_tokens":8192,"input":"1","output":"1"}]}}"#,
        r#"{"model":"large","price":"0.1"}"#,
        r#"{"model":"large","price":null}"#,
        r#"{"model":"org/embedding","price":{"input":"0.1","output":"0.3"}}"#,
        r#"{"model":"large","price":{"input":"0.1","output":"0.3"},"from":"2026-11-01T11:59:59Z"}"#,
        r#"{"model":"large","price":{"input":"0.1","output":"0.3"},"from":"yesterday"}"#,
        r#"{"model":"large","price":{"input":"0.1","output":"0.3"},"form":"1h"}"#,
    ];
    let mut told = Vec::new();
    for body in bodies {
        told.push(set(&gateway, body).await.refusal());
    }
    told.push(gateway.get("/admin/v1/prices?model=nothing").await.refusal());
    insta::assert_snapshot!(told.join("\n"), @r#"
    404 model_not_found [model] there is no model `nothing` in models.yaml; give an id or an alias
    400 invalid_request_error [price.input] `price.input`: expected a text, found a number; write "0.1" in quotes, as YAML's numbers are rounded when they are read
    400 invalid_request_error [price.output] `price.output`: missing: USD per million tokens of answer, such as "0.32"
    400 invalid_request_error [price.output] `price.output`: missing: USD per million tokens of answer, such as "0.32"; `price.flex`: a multiplier is a decimal above 0 and at most 100 with at most three decimals, such as "1.5", not `0`; `price.outputs`: there is no such key; did you mean `output`?
    400 invalid_request_error [price.priority] `price.priority`: 1.5 times `input` "0.000001" is finer than a whole number of picodollars for one token: write `input` as "0.000002", or another multiplier
    400 invalid_request_error [price.context_tiers[0].above_prompt_tokens] `price.context_tiers[0].above_prompt_tokens`: no prompt is longer than context_length 8192: the tier never holds; leave it out
    400 invalid_request_error [price] `price`: expected a mapping with the keys input, cached_input, output, context_tiers, per_request, per_engine_second, per_image, per_million_characters, per_audio_second, priority, flex, found a text
    400 invalid_request_error [price] `price`: expected a mapping with the keys input, cached_input, output, context_tiers, per_request, per_engine_second, per_image, per_million_characters, per_audio_second, priority, flex, found nothing
    400 invalid_request_error [price.output] `price.output`: an embedding model produces no tokens; leave out their price
    400 invalid_request_error [from] `from`: a price cannot begin in the past, as requests were billed by another: leave it out to have it hold at once, and correct what was billed with `farebox ledger rerate`
    400 invalid_request_error [from] `from`: write a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or a span such as 7d, 12h or 30m
    400 invalid_request_error [form] `form`: unknown field `form`, expected one of `model`, `price`, `from`
    404 model_not_found [model] there is no model `nothing` in models.yaml; give an id or an alias
    "#);
    assert_eq!(input_at(&gateway, NOW_MS), "0.1");
    let listed = gateway.get("/admin/v1/prices").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}
