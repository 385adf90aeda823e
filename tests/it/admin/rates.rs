//! Rates of accounts and keys: set, shown, audited, and refused where they do not hold.

use super::harness::Gateway;

#[tokio::test]
async fn rates_are_set_shown_taken_back_and_audited() {
    let gateway = Gateway::start().await;
    let account = gateway.account("Acme").await;
    let path = format!("/admin/v1/accounts/{account}/rates");
    assert!(gateway.get(&path).await.json()["requests"].is_null());
    let set = gateway
        .ask(
            "PUT",
            &path,
            r#"{"requests_per_minute":60,"tokens_per_minute":1000}"#,
        )
        .await;
    insta::assert_snapshot!(set.shown(), @r#"
    200
    {
      "account": "acct_befba86ae9e0c207",
      "key": null,
      "models": [],
      "requests": {
        "is_default": false,
        "per_minute": 60,
        "remaining": 60,
        "reset_ms": 0
      },
      "tokens": {
        "is_default": false,
        "per_minute": 1000,
        "remaining": 1000,
        "reset_ms": 0
      }
    }
    "#);
    // What is not said stays.
    let less = gateway.ask("PUT", &path, r#"{"requests_per_minute":null}"#).await;
    assert!(less.json()["requests"].is_null());
    assert_eq!(less.json()["tokens"]["per_minute"], 1000);
    let limits = gateway.get(&format!("/admin/v1/accounts/{account}/limits")).await;
    assert_eq!(limits.json()["rates"], less.json());

    let (key, _) = gateway.key(&account).await;
    let of_key = format!("/admin/v1/keys/{key}/rates");
    let set = gateway.ask("PUT", &of_key, r#"{"tokens_per_minute":9}"#).await;
    assert_eq!(set.json()["tokens"]["per_minute"], 9);
    let audit = gateway.get("/admin/v1/audit?limit=1").await.json();
    assert_eq!(audit["data"][0]["action"], "key.rates");
    assert_eq!(audit["data"][0]["after"]["tokens_per_minute"], 9);

    // They are there after a restart.
    let gateway = gateway.restart().await;
    assert_eq!(gateway.get(&path).await.json()["tokens"]["per_minute"], 1000);
    assert_eq!(gateway.get(&of_key).await.json()["tokens"]["per_minute"], 9);
}

#[tokio::test]
async fn what_is_no_rate_is_refused_and_changes_nothing() {
    let gateway = Gateway::start().await;
    let account = gateway.account("Acme").await;
    let path = format!("/admin/v1/accounts/{account}/rates");
    for body in [
        "{}",
        r#"{"requests_per_minute":0}"#,
        r#"{"tokens_per_minute":1000000001}"#,
        r#"{"requests_per_minute":-1}"#,
        r#"{"requests_per_minute":"60"}"#,
        r#"{"requests_a_minute":60}"#,
    ] {
        let refused = gateway.ask("PUT", &path, body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text);
    }
    assert!(gateway.get(&path).await.json()["requests"].is_null());
    let nobody = gateway
        .ask("PUT", "/admin/v1/keys/key_x/rates", r#"{"tokens_per_minute":9}"#)
        .await;
    assert_eq!(nobody.status, 404);
}
