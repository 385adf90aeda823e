//! Credit, what an account may owe and what it may spend, and closing an account.

use super::harness::{Gateway, NOW_MS};
use axum::http::StatusCode;
use serde_json::json;

async fn account(gateway: &Gateway) -> String {
    gateway.account("acme").await
}

#[tokio::test]
async fn a_reference_is_booked_once_and_the_first_credit_makes_an_account_prepaid() {
    let gateway = Gateway::start().await;
    let id = account(&gateway).await;
    let credit = |usd: &str, reference: &str| {
        json!({ "usd": usd, "note": "card", "reference": reference }).to_string()
    };
    let path = format!("/admin/v1/accounts/{id}/credit");
    let first = gateway.ask("POST", &path, &credit("20", "i-1")).await.json();
    assert_eq!(
        (&first["booked"], &first["balance"]["available"]["usd"]),
        (&json!(true), &json!("20"))
    );
    assert_eq!(first["balance"]["postpaid"]["usd"], "0");
    let again = gateway.ask("POST", &path, &credit("20", "i-1")).await.json();
    assert_eq!(
        (&again["booked"], &again["balance"]["balance"]["usd"]),
        (&json!(false), &json!("20"))
    );
    gateway.clock.set_unix_ms(NOW_MS + 1_000);
    gateway.ask("POST", &path, &credit("-0.5", "i-2")).await;
    let spending = format!("/admin/v1/accounts/{id}/spending");
    gateway
        .ask("PUT", &spending, r#"{"postpaid_usd":"100","monthly_usd":"7"}"#)
        .await;
    let balance = gateway
        .ask("GET", &format!("/admin/v1/accounts/{id}/balance"), "")
        .await
        .json();
    assert_eq!(balance["available"]["usd"], "119.5");
    assert_eq!(balance["month"]["limit"]["usd"], "7");
    // What is left out stays; null takes it away.
    let changed = gateway
        .ask("PUT", &spending, r#"{"postpaid_usd":null}"#)
        .await
        .json();
    assert_eq!(
        (&changed["available"], &changed["month"]["limit"]["usd"]),
        (&json!(null), &json!("7"))
    );
    let listed = gateway
        .ask("GET", &format!("/admin/v1/accounts/{id}/adjustments"), "")
        .await
        .json();
    let amounts: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["amount"]["usd"].clone())
        .collect();
    assert_eq!(amounts, ["-0.5", "20"], "the newest first");
    let verified = gateway.ask("POST", "/admin/v1/ledger/verify", "").await.json();
    assert_eq!(verified["ok"], true);
}

#[tokio::test]
async fn ceilings_and_credit_are_there_after_a_restart() {
    let gateway = Gateway::start().await;
    let id = account(&gateway).await;
    let (key, _) = gateway.key(&id).await;
    let credit = r#"{"usd":"3","note":"","reference":"r"}"#;
    gateway
        .ask("POST", &format!("/admin/v1/accounts/{id}/credit"), credit)
        .await;
    gateway
        .ask(
            "PUT",
            &format!("/admin/v1/accounts/{id}/spending"),
            r#"{"monthly_usd":"2"}"#,
        )
        .await;
    gateway
        .ask(
            "PUT",
            &format!("/admin/v1/keys/{key}/spending"),
            r#"{"monthly_usd":"1"}"#,
        )
        .await;
    let now_ms = gateway.app.clock.unix_ms();
    gateway.book(&id, &key, now_ms, 1..4).await;
    let gateway = gateway.restart().await;
    let balance = gateway
        .ask("GET", &format!("/admin/v1/accounts/{id}/balance"), "")
        .await
        .json();
    assert_eq!(balance["available"]["usd"], "2.99997");
    assert_eq!(
        (
            &balance["month"]["spent"]["usd"],
            &balance["month"]["limit"]["usd"]
        ),
        (&json!("0.00003"), &json!("2"))
    );
    let of_key = gateway
        .ask(
            "PUT",
            &format!("/admin/v1/keys/{key}/spending"),
            r#"{"monthly_usd":null}"#,
        )
        .await
        .json();
    assert_eq!(of_key["month"]["spent"]["usd"], "0.00003");
}

#[tokio::test]
async fn what_does_not_hold_is_refused_by_its_field() {
    let gateway = Gateway::start().await;
    let id = account(&gateway).await;
    let credit = format!("/admin/v1/accounts/{id}/credit");
    let spending = format!("/admin/v1/accounts/{id}/spending");
    for (method, path, body, param) in [
        ("POST", &credit, r#"{"usd":"0","note":"","reference":"r"}"#, "usd"),
        (
            "POST",
            &credit,
            r#"{"usd":"1e3","note":"","reference":"r"}"#,
            "usd",
        ),
        (
            "POST",
            &credit,
            r#"{"usd":"99999999","note":"","reference":"r"}"#,
            "usd",
        ),
        (
            "POST",
            &credit,
            r#"{"usd":"1","note":"","reference":""}"#,
            "reference",
        ),
        (
            "POST",
            &credit,
            r#"{"usd":"1","note":"\u0000","reference":"r"}"#,
            "note",
        ),
        ("PUT", &spending, r#"{"monthly_usd":"-1"}"#, "monthly_usd"),
        ("PUT", &spending, r#"{}"#, "monthly_usd"),
        ("PUT", &spending, r#"{"monthly":"1"}"#, "monthly"),
    ] {
        let refused = gateway.ask(method, path, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(refused.json()["error"]["param"], param, "{body}");
    }
    let balance = gateway
        .ask("GET", &format!("/admin/v1/accounts/{id}/balance"), "")
        .await
        .json();
    assert_eq!(
        (&balance["balance"]["usd"], &balance["available"]),
        (&json!("0"), &json!(null))
    );
}
