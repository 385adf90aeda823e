//! Rerating and refunds: what was billed wrong is put right by entries of its own.

use super::harness::{Answer, Gateway, NOW_MS, id_at};
use axum::http::StatusCode;
use serde_json::{Value, json};

const DAY_MS: u64 = 86_400_000;

/// Two accounts: three requests two days ago and two today, and one. Each cost 10,000,000 picodollars.
async fn billed() -> Gateway {
    let gateway = Gateway::start().await;
    for (name, booked) in [("Acme", vec![(2, 0..3), (0, 3..5)]), ("Zeta", vec![(1, 5..6)])] {
        let account = gateway.account(name).await;
        let (key, _) = gateway.key(&account).await;
        for (days_ago, numbers) in booked {
            gateway
                .book(&account, &key, NOW_MS - days_ago * DAY_MS - 1, numbers)
                .await;
        }
    }
    gateway
}

async fn rerate(gateway: &Gateway, more: Value) -> Answer {
    let mut body = json!({ "model": "large", "since": "36h", "price": { "input": "0.05", "cached_input": "0.02", "output": "0.32" } });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    gateway
        .ask("POST", "/admin/v1/ledger/rerate", &body.to_string())
        .await
}

async fn refund(gateway: &Gateway, body: Value) -> Answer {
    gateway
        .ask("POST", "/admin/v1/ledger/refunds", &body.to_string())
        .await
}

async fn balance(gateway: &Gateway, account: &str) -> String {
    let path = format!("/admin/v1/accounts/{account}/balance");
    let json = gateway.get(&path).await.json();
    json["balance"]["picodollars"].as_str().unwrap().to_owned()
}

async fn adds_up(gateway: &Gateway) {
    let verified = gateway.ask("POST", "/admin/v1/ledger/verify", "").await.json();
    assert_eq!(verified["ok"], true, "{verified}");
}

#[tokio::test]
async fn a_rerate_is_shown_then_booked_and_once() {
    let gateway = billed().await;
    let shown = rerate(&gateway, json!({})).await;
    insta::assert_snapshot!(shown.shown(), @r#"
    200
    {
      "accounts": [
        {
          "account": "acct_befba86ae9e0c207",
          "account_name": "Acme",
          "corrected": {
            "picodollars": "14000000",
            "usd": "0.000014"
          },
          "cost": {
            "picodollars": "20000000",
            "usd": "0.00002"
          },
          "difference": {
            "picodollars": "6000000",
            "usd": "0.000006"
          },
          "entries": 2
        },
        {
          "account": "acct_d2f49798ab0deb2c",
          "account_name": "Zeta",
          "corrected": {
            "picodollars": "7000000",
            "usd": "0.000007"
          },
          "cost": {
            "picodollars": "10000000",
            "usd": "0.00001"
          },
          "difference": {
            "picodollars": "3000000",
            "usd": "0.000003"
          },
          "entries": 1
        }
      ],
      "booked": 0,
      "corrected_before": 0,
      "entries": 3,
      "left_refunded": 0,
      "model": "org/large",
      "price": {
        "cached_input": "0.02",
        "input": "0.05",
        "output": "0.32"
      },
      "since": "2026-10-31T00:00:00Z",
      "total": {
        "corrected": {
          "picodollars": "21000000",
          "usd": "0.000021"
        },
        "cost": {
          "picodollars": "30000000",
          "usd": "0.00003"
        },
        "difference": {
          "picodollars": "9000000",
          "usd": "0.000009"
        },
        "entries": 3
      },
      "until": "2026-11-01T12:00:00Z",
      "version": null
    }
    "#);
    let before = balance(&gateway, "Acme").await;
    let book = json!({ "book": true, "reference": "ticket-7", "note": "the input price was typed wrong" });
    let booked = rerate(&gateway, book.clone()).await.json();
    assert_eq!((&booked["booked"], &booked["version"]), (&json!(3), &json!(3)));
    assert_eq!(booked["total"], shown.json()["total"]);
    // 60 uncached tokens at half the price: 3,000,000 picodollars an entry.
    let after = balance(&gateway, "Acme").await;
    let difference = after.parse::<i64>().unwrap() - before.parse::<i64>().unwrap();
    assert_eq!(difference, 6_000_000, "the wallet knows at once");
    let listed = gateway.get("/admin/v1/accounts/Acme/adjustments").await.json();
    let reference = listed["data"][0]["reference"].as_str().unwrap();
    assert_eq!(listed["data"][0]["kind"], "correction");
    assert!(reference.starts_with("rerate:3:req_"), "{reference}");

    // Again, a day later: the times are those of the first run.
    gateway.clock.set_unix_ms(NOW_MS + DAY_MS);
    let again = rerate(&gateway, book.clone()).await.json();
    assert_eq!(
        (
            &again["booked"],
            &again["corrected_before"],
            &again["since"],
            &again["version"]
        ),
        (&json!(0), &json!(3), &booked["since"], &json!(3))
    );
    let mut another = book;
    another["price"] = json!({ "input": "0.06", "output": "0.32" });
    insta::assert_snapshot!(rerate(&gateway, another).await.refusal(), @r#"409 reference_taken [reference] the reference `ticket-7` was used for a rerate of org/large from 36h until then at another price or for other requests; give another"#);
    let versions = gateway.get("/admin/v1/prices?model=large").await.json();
    assert_eq!(versions["data"].as_array().unwrap().len(), 2);
    assert_eq!(versions["data"][1]["status"], "rerate");
    assert_eq!(
        versions["data"][0]["status"], "current",
        "it never holds by itself"
    );
    adds_up(&gateway).await;
    let gateway = gateway.restart().await;
    // Five requests, less what was corrected.
    assert_eq!(balance(&gateway, "Acme").await, "-44000000");
    adds_up(&gateway).await;
}

#[tokio::test]
async fn a_rerate_that_does_not_hold_is_refused() {
    let gateway = billed().await;
    let told = [
        rerate(&gateway, json!({ "book": true })).await.refusal(),
        rerate(&gateway, json!({ "since": "2026-11-02", "until": "2026-11-01" }))
            .await
            .refusal(),
        rerate(&gateway, json!({ "until": "2026-11-02" })).await.refusal(),
        rerate(&gateway, json!({ "model": "nothing" })).await.refusal(),
        rerate(&gateway, json!({ "price": { "input": "a", "output": "0" } }))
            .await
            .refusal(),
    ];
    insta::assert_snapshot!(told.join("\n"), @r#"
    400 invalid_request_error [reference] `reference`: 1 to 200 characters, and no control characters among them
    400 invalid_request_error [since] `since`: it is not before `until`
    400 invalid_request_error [until] `until`: it is in the future; what is to come is billed by `farebox price set`
    404 model_not_found [model] there is no model `nothing` in models.yaml; give an id or an alias
    400 invalid_request_error [price.input] `price.input`: a price is a decimal such as "0.10": USD per million tokens, not `a`
    "#);
}

#[tokio::test]
async fn a_refund_is_never_more_than_what_a_request_still_costs() {
    let gateway = billed().await;
    let request = id_at(NOW_MS - 1, 3).to_string();
    let part = json!({ "request": request, "usd": "0.000004", "reference": "r-1", "note": "slow" });
    let before = balance(&gateway, "Acme").await.parse::<i64>().unwrap();
    let booked = refund(&gateway, part.clone()).await;
    assert_eq!(booked.status, StatusCode::OK);
    let json = booked.json();
    assert_eq!(
        (&json["booked"], &json["left"]["picodollars"]),
        (&json!(true), &json!("6000000"))
    );
    let again = refund(&gateway, part).await.json();
    assert_eq!(
        (&again["booked"], &again["refund"], &again["left"]),
        (&json!(false), &json["refund"], &json["left"])
    );
    // A corrected price takes what can be given back down.
    rerate(&gateway, json!({ "book": true, "reference": "t" })).await;
    let told = [
        refund(
            &gateway,
            json!({ "request": request, "usd": "0.0000031", "reference": "r-2", "note": "" }),
        )
        .await,
        refund(
            &gateway,
            json!({ "request": request, "usd": "0.000001", "reference": "r-1", "note": "" }),
        )
        .await,
        refund(
            &gateway,
            json!({ "request": request, "usd": "-1", "reference": "r-2", "note": "" }),
        )
        .await,
        refund(
            &gateway,
            json!({ "request": request, "reference": "r-2", "note": "" }),
        )
        .await,
        refund(
            &gateway,
            json!({ "request": request, "all": true, "usd": "1", "reference": "r-2", "note": "" }),
        )
        .await,
        refund(
            &gateway,
            json!({ "request": request, "all": true, "reference": "rerate:1", "note": "" }),
        )
        .await,
        refund(
            &gateway,
            json!({ "request": "req_1", "all": true, "reference": "r-2", "note": "" }),
        )
        .await,
        refund(
            &gateway,
            json!({ "request": id_at(1, 1).to_string(), "all": true, "reference": "r-2", "note": "" }),
        )
        .await,
    ];
    let told: Vec<_> = told
        .iter()
        .map(|answer| answer.refusal().replace(&request, "REQ"))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    400 invalid_request_error [usd] `usd`: the request cost 0.00001 USD, corrections gave back 0.000003 and refunds 0.000004: 0.000003 USD can be given back
    409 reference_taken [reference] the reference `r-1` was used for another amount, another request or another adjustment of this account; give another
    400 invalid_request_error [usd] `usd`: a refund is above zero
    400 invalid_request_error [usd] `usd`: say `usd`, or `"all": true`
    400 invalid_request_error [usd] `usd`: say `usd`, or `"all": true`
    400 invalid_request_error [reference] `reference`: references that begin with `rerate:` are corrections'
    400 invalid_request_error [request] `request`: this is not an id: `req_` and 32 lower-case hex digits
    404 request_not_found [request] there is no request `req_00000000000100000000000000000001` in the ledger
    "#);
    let rest = json!({ "request": request, "all": true, "reference": "r-2", "note": "the rest" });
    let rest = refund(&gateway, rest).await.json();
    assert_eq!(
        (
            &rest["refund"]["amount"]["picodollars"],
            &rest["left"]["picodollars"]
        ),
        (&json!("3000000"), &json!("0"))
    );
    let nothing = refund(
        &gateway,
        json!({ "request": request, "all": true, "reference": "r-3", "note": "" }),
    )
    .await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST);
    let after = balance(&gateway, "Acme").await.parse::<i64>().unwrap();
    // The request is given back whole, and its sibling's correction.
    assert_eq!(after - before, 10_000_000 + 3_000_000);
    adds_up(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_refunds_at_once_no_more_is_given_back_than_was_paid() {
    let gateway = billed().await;
    let request = id_at(NOW_MS - 1, 3).to_string();
    let one = |number: u32| {
        let reference = format!("r-{number}");
        refund(
            &gateway,
            json!({ "request": request, "usd": "0.000003", "reference": reference, "note": "" }),
        )
    };
    let answers = tokio::join!(one(1), one(2), one(3), one(4), one(5), one(6));
    let answers = [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5];
    let booked = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK)
        .count();
    assert_eq!(booked, 3, "of 0.00001 USD");
    adds_up(&gateway).await;
}
