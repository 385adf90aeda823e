//! Receipts and request costs.

use super::{LARGE, Owner};
use crate::admin::harness::{NOW_MS, id_at};
use farebox_domain::ledger::{AdjustmentKind, EntryState};
use farebox_domain::money::Picodollars;
use farebox_domain::price::PriceVersion;
use farebox_domain::tokens::{Usage, UsageSource};
use serde_json::{Value, json};

#[tokio::test]
async fn a_receipt_shows_how_its_cost_is_computed() {
    let owner = Owner::named("Acme").await;
    let mut entry = owner.entry(LARGE, NOW_MS, 1);
    entry.client_request_id = Some("mine-7".into());
    owner.book(&[entry]).await;
    let shown = owner.get(&format!("/v1/receipts/{}", id_at(NOW_MS, 1))).await;
    insta::assert_snapshot!(shown.shown(), @r#"
    200
    {
      "adjusted": {
        "picodollars": "0",
        "usd": "0"
      },
      "adjustments": [],
      "admitted_at": "2026-11-01T12:00:00Z",
      "cached_tokens": 40,
      "client_request_id": "mine-7",
      "completion_tokens": 10,
      "cost": {
        "picodollars": "10000000",
        "usd": "0.00001"
      },
      "endpoint": "chat_completions",
      "key": "key_e06bb0bc4f577df3",
      "lines": [
        {
          "amount": {
            "picodollars": "6000000",
            "usd": "0.000006"
          },
          "item": "uncached_prompt_tokens",
          "quantity": 60,
          "unit_price": {
            "picodollars": "100000",
            "usd_per_million": "0.1"
          }
        },
        {
          "amount": {
            "picodollars": "800000",
            "usd": "0.0000008"
          },
          "item": "cached_prompt_tokens",
          "quantity": 40,
          "unit_price": {
            "picodollars": "20000",
            "usd_per_million": "0.02"
          }
        },
        {
          "amount": {
            "picodollars": "3200000",
            "usd": "0.0000032"
          },
          "item": "completion_tokens",
          "quantity": 10,
          "unit_price": {
            "picodollars": "320000",
            "usd_per_million": "0.32"
          }
        }
      ],
      "model": "org/large",
      "net": {
        "picodollars": "10000000",
        "usd": "0.00001"
      },
      "object": "receipt",
      "price": {
        "holds_since": "2026-11-01T12:00:00Z",
        "model": "org/large",
        "price": {
          "cached_input": "0.02",
          "input": "0.1",
          "output": "0.32"
        },
        "version": 1
      },
      "price_version": 1,
      "prompt_tokens": 100,
      "queue_us": 20,
      "reasoning_tokens": 4,
      "request_id": "req_01a196fb160000000000000000000001",
      "service_tier": "default",
      "state": "completed",
      "state_in_words": "The answer was delivered whole; what the model used for it is charged.",
      "status": "settled",
      "total_us": 900000,
      "ttft_us": 40000,
      "usage_source": "engine",
      "usage_source_in_words": "The counts are the engine's own, reported when it had finished."
    }
    "#);
}

#[tokio::test]
async fn what_became_of_a_request_is_on_its_receipt() {
    let owner = Owner::named("Acme").await;
    let entry = owner.entry(LARGE, NOW_MS, 1);
    let (version, _) = owner.price(LARGE, [50_000, 10_000, 320_000], None).await;
    let mut correction = owner.adjustment(AdjustmentKind::Correction, 3_400_000, NOW_MS + 1000, 1);
    (correction.request, correction.price_version) = (Some(entry.id), Some(version));
    let mut refund = owner.adjustment(AdjustmentKind::Refund, 600_000, NOW_MS + 2000, 2);
    (refund.request, refund.note) = (Some(entry.id), "it was slow".into());
    let elsewhere = owner.adjustment(AdjustmentKind::Credit, 5, NOW_MS, 3);
    owner.book(&[entry]).await;
    owner.adjust(&[correction, refund, elsewhere]).await;
    let json = owner
        .get(&format!("/v1/receipts/{}", id_at(NOW_MS, 1)))
        .await
        .json();
    let part = json!({
        "adjustments": json["adjustments"], "adjusted": json["adjusted"], "net": json["net"], "cost": json["cost"],
    });
    insta::assert_snapshot!(serde_json::to_string_pretty(&part).unwrap(), @r#"
    {
      "adjusted": {
        "picodollars": "4000000",
        "usd": "0.000004"
      },
      "adjustments": [
        {
          "amount": {
            "picodollars": "3400000",
            "usd": "0.0000034"
          },
          "booked_at": "2026-11-01T12:00:01Z",
          "id": "adj_01a196fb19e800000000000000000001",
          "kind": "correction",
          "note": "",
          "price_version": 3,
          "reference": "ref-1",
          "request": "req_01a196fb160000000000000000000001"
        },
        {
          "amount": {
            "picodollars": "600000",
            "usd": "0.0000006"
          },
          "booked_at": "2026-11-01T12:00:02Z",
          "id": "adj_01a196fb1dd000000000000000000002",
          "kind": "refund",
          "note": "it was slow",
          "reference": "ref-2",
          "request": "req_01a196fb160000000000000000000001"
        }
      ],
      "cost": {
        "picodollars": "10000000",
        "usd": "0.00001"
      },
      "net": {
        "picodollars": "6000000",
        "usd": "0.000006"
      }
    }
    "#);
}

/// Every state and every source has a receipt whose lines are its cost, whatever the ledger holds.
#[tokio::test]
async fn the_lines_are_always_the_cost() {
    let owner = Owner::named("Acme").await;
    let mut entries = Vec::new();
    for (number, state) in (1..).zip(EntryState::ALL) {
        for (more, source) in (0..).zip(UsageSource::ALL) {
            let mut entry = owner.entry(LARGE, NOW_MS, number * 10 + more);
            (entry.state, entry.usage_source) = (state, source);
            if state == EntryState::Failed {
                (entry.usage, entry.cost) = (Usage::default(), Picodollars::ZERO);
            }
            entries.push(entry);
        }
    }
    let mut of_no_price = owner.entry(LARGE, NOW_MS, 101);
    of_no_price.price_version = PriceVersion(77);
    let mut otherwise = owner.entry(LARGE, NOW_MS, 102);
    otherwise.cost = Picodollars::new(5);
    entries.extend([of_no_price, otherwise]);
    owner.book(&entries).await;
    for entry in &entries {
        let json = owner.get(&format!("/v1/receipts/{}", entry.id)).await.json();
        let lines = json["lines"].as_array().unwrap();
        let sum: i128 = lines.iter().filter_map(amount).sum();
        assert_eq!(sum, entry.cost.get(), "{json:#}");
        for line in lines {
            if let (Some(count), Some(price), Some(amount)) = (
                line["quantity"].as_i64(),
                line["unit_price"]["picodollars"].as_str(),
                amount(line),
            ) {
                assert_eq!(i128::from(count) * price.parse::<i128>().unwrap(), amount);
            }
        }
        assert!(json["state_in_words"].as_str().unwrap().ends_with('.'));
        assert!(json["usage_source_in_words"].as_str().unwrap().ends_with('.'));
    }
    let of_no_price = owner
        .get(&format!("/v1/receipts/{}", id_at(NOW_MS, 101)))
        .await
        .json();
    assert_eq!(of_no_price["price"]["price"], Value::Null);
    assert_eq!(of_no_price["lines"][3]["item"], "as_booked");
}

fn amount(line: &Value) -> Option<i128> {
    let digits = line["amount"]["picodollars"].as_str()?;
    Some(digits.parse().unwrap())
}

#[tokio::test]
async fn another_account_s_request_is_as_if_it_were_not_there() {
    let owner = Owner::named("Acme").await;
    owner.book(&[owner.entry(LARGE, NOW_MS, 1)]).await;
    let other = owner.gateway.account("Other").await;
    let (_, secret) = owner.gateway.key(&other).await;
    let ask = async |id: &str| {
        owner
            .gateway
            .ask_as(&secret, "GET", &format!("/v1/receipts/{id}"), "")
            .await
    };
    let (theirs, unknown) = (id_at(NOW_MS, 1).to_string(), id_at(NOW_MS, 9).to_string());
    let (first, second) = (ask(&theirs).await, ask(&unknown).await);
    assert_eq!(first.status, 404);
    assert_eq!(
        first.text.replace(&theirs, "ID"),
        second.text.replace(&unknown, "ID")
    );
    insta::assert_snapshot!(ask("mine-7").await.refusal(), @"404 not_found [-] there is no request `mine-7`. Ask by farebox's id (`req_` and 32 hex digits), which is in the answer's `x-request-id`, or in `x-farebox-request-id` where you sent an id of your own. What was refused has no receipt.");
    let costs = owner
        .gateway
        .ask_as(
            &secret,
            "POST",
            "/v1/request-costs",
            &json!({ "requestIds": [theirs] }).to_string(),
        )
        .await;
    assert_eq!(costs.text, r#"{"requests":[]}"#);
}

#[tokio::test]
async fn costs_are_whole_nanodollars_and_picodollars_beside_them() {
    let owner = Owner::named("Acme").await;
    let mut fine = owner.entry(LARGE, NOW_MS, 2);
    fine.cost = Picodollars::new(1_500);
    owner.book(&[owner.entry(LARGE, NOW_MS, 1), fine]).await;
    let (first, second, unknown) = (id_at(NOW_MS, 1), id_at(NOW_MS, 2), id_at(NOW_MS, 3));
    let asked = json!({ "requestIds": [second, unknown, "mine-7", first, second] });
    let answer = owner.post("/v1/request-costs", &asked).await;
    insta::assert_snapshot!(answer.shown(), @r#"
    200
    {
      "requests": [
        {
          "costNanoUsd": 2,
          "costPicoUsd": "1500",
          "requestId": "req_01a196fb160000000000000000000002"
        },
        {
          "costNanoUsd": 10000,
          "costPicoUsd": "10000000",
          "requestId": "req_01a196fb160000000000000000000001"
        }
      ]
    }
    "#);

    let ids: Vec<_> = (0..1001).map(|number| format!("req_{number:032x}")).collect();
    let told = [
        owner
            .post("/v1/request-costs", &json!({ "requestIds": ids }))
            .await,
        owner
            .post("/v1/request-costs", &json!({ "requestIds": [7] }))
            .await,
        owner.post("/v1/request-costs", &json!({ "ids": [] })).await,
    ];
    let lines: Vec<_> = told.iter().map(|answer| answer.refusal()).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    400 invalid_request_error [requestIds] `requestIds`: at most 1000 ids at once
    400 invalid_request_error [requestIds] write {"requestIds": ["req_..."]}
    400 invalid_request_error [requestIds] write {"requestIds": ["req_..."]}
    "#);
    let most = owner
        .post("/v1/request-costs", &json!({ "requestIds": ids[..1000] }))
        .await;
    assert_eq!(most.text, r#"{"requests":[]}"#);
}
