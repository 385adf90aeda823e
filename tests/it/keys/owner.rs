//! An account's keys, by whoever has one with the scope `dashboard`.

use super::{Key, Keys, LET_IN};
use crate::admin::harness::NOW_MS;
use serde_json::{Value, json};

const MINE: &str = "/v1/me/keys";

async fn dashboard(keys: &Keys, more: Value) -> Key {
    let mut said = json!({ "scopes": ["inference", "dashboard"] });
    said.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    keys.key(said).await
}

#[tokio::test]
async fn an_owner_makes_sees_rotates_and_ends_keys() {
    let keys = Keys::start().await;
    let own = dashboard(&keys, json!({})).await;
    let made = keys
        .post(
            &own.secret,
            MINE,
            json!({ "name": "ci", "expires_in_seconds": 60 }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.headers["cache-control"], "no-store");
    assert_eq!(
        made.json()["scopes"],
        json!(["inference"]),
        "as far as the key has them"
    );
    let secret = made.field("secret");
    assert_eq!(keys.chat(&secret).await, LET_IN);

    let listed = keys.get(&own.secret, MINE).await;
    let names: Vec<_> = listed.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&"ci".to_owned()));
    assert!(!listed.text.contains("fb_"), "no secret: {}", listed.text);

    let path = format!("{MINE}/{}/rotate", made.field("id"));
    let rotated = keys
        .post(&own.secret, &path, json!({ "overlap_seconds": 5 }))
        .await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    assert_eq!(keys.chat(&secret).await, LET_IN);
    assert_eq!(keys.chat(&rotated.field("secret")).await, LET_IN);
    let at_once = keys.gateway.ask_as(&own.secret, "POST", &path, "").await;
    assert_eq!(at_once.status, 200, "a body may be left out: {}", at_once.text);
    assert_eq!(keys.chat(&rotated.field("secret")).await, "invalid_api_key");

    let path = format!("{MINE}/{}", made.field("id"));
    let ended = keys.gateway.ask_as(&own.secret, "DELETE", &path, "").await;
    assert_eq!(ended.field("status"), "revoked");
    assert_eq!(keys.chat(&at_once.field("secret")).await, "invalid_api_key");
    let Keys { gateway, account } = keys;
    let keys = Keys {
        gateway: gateway.restart().await,
        account,
    };
    assert_eq!(keys.chat(&at_once.field("secret")).await, "invalid_api_key");
}

#[tokio::test]
async fn a_key_makes_none_that_may_do_more_than_itself() {
    let keys = Keys::start().await;
    let bounds = json!({
        "allowed_models": ["org/l*"], "allowed_ips": ["192.0.2.0/24"],
        "concurrent_requests": 5, "expires_in_seconds": 100,
    });
    let own = dashboard(&keys, bounds).await;
    let mut refusals = Vec::new();
    for more in [
        json!({ "scopes": ["usage"] }),
        json!({ "scopes": ["inference", "admin"] }),
        json!({ "allowed_models": [] }),
        json!({ "allowed_models": ["org/*"] }),
        json!({ "allowed_ips": ["192.0.2.1", "0.0.0.0/0"] }),
        json!({ "allowed_ips": [] }),
        json!({ "concurrent_requests": 6 }),
        json!({ "expires_in_seconds": 101 }),
    ] {
        let mut new = json!({ "name": "more" });
        new.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        refusals.push(keys.post(&own.secret, MINE, new).await.refusal());
    }
    insta::assert_snapshot!(refusals.join("\n"), @"
    403 key_not_allowed [-] this would give the scope `usage`, which the key that asks has not itself
    403 key_not_allowed [-] this would give the scope `admin`, which the key that asks has not itself
    403 key_not_allowed [-] this would give every model, which the key that asks has not itself
    403 key_not_allowed [-] this would give models of `org/*`, which the key that asks has not itself
    403 key_not_allowed [-] this would give addresses of 0.0.0.0/0, which the key that asks has not itself
    403 key_not_allowed [-] this would give every address, which the key that asks has not itself
    403 key_not_allowed [-] this would give 6 requests at once where it has 5, which the key that asks has not itself
    403 key_not_allowed [-] the key would hold longer than the one that asks
    ");
    let same = keys
        .post(&own.secret, MINE, json!({ "name": "same" }))
        .await
        .json();
    assert_eq!(same["allowed_models"], json!(["org/l*"]));
    assert_eq!(same["allowed_ips"], json!(["192.0.2.0/24"]));
    assert_eq!(same["concurrent_requests"], 5);
    assert_eq!(same["expires_at"], "2026-11-01T12:01:40Z");
    let less = json!({ "name": "less", "allowed_models": ["org/large"], "allowed_ips": ["192.0.2.9"], "expires_in_seconds": 5 });
    assert_eq!(keys.post(&own.secret, MINE, less).await.status, 201);
}

#[tokio::test]
async fn a_key_gets_no_secret_of_one_that_may_do_more() {
    let keys = Keys::start().await;
    let own = dashboard(&keys, json!({})).await;
    let stronger = keys.key(json!({ "scopes": ["usage"] })).await;
    let path = format!("{MINE}/{}/rotate", stronger.id);
    let refused = keys.post(&own.secret, &path, json!({})).await;
    insta::assert_snapshot!(refused.refusal(), @"403 key_not_allowed [-] this would give the scope `usage`, which the key that asks has not itself");
    assert_eq!(keys.get(&stronger.secret, "/v1/me/balance").await.status, 200);
    let path = format!("{MINE}/{}/rotate", own.id);
    let itself = keys.post(&own.secret, &path, json!({})).await;
    assert_eq!(itself.status, 200);
    assert_eq!(keys.get(&own.secret, MINE).await.code(), "invalid_api_key");
    let own = itself.field("secret");

    let limit = r#"{"monthly_usd":"1"}"#;
    let of_key = format!("/admin/v1/keys/{}/spending", itself.field("id"));
    assert_eq!(keys.gateway.ask("PUT", &of_key, limit).await.status, 200);
    let refused = keys.post(&own, MINE, json!({ "name": "free" })).await;
    insta::assert_snapshot!(refused.refusal(), @"403 key_not_allowed [-] this API key has a monthly limit of its own, so it makes no other keys and gives none a new secret: what they spend would not count against it");
}

#[tokio::test]
async fn another_account_s_keys_are_not_there() {
    let keys = Keys::start().await;
    let own = dashboard(&keys, json!({})).await;
    let other = keys.gateway.account("Other").await;
    let (id, secret) = keys.gateway.key(&other).await;
    let listed = keys.get(&own.secret, MINE).await;
    assert!(!listed.text.contains(&id), "{}", listed.text);
    let mut told = std::collections::BTreeSet::new();
    for key in [id.as_str(), "key_0"] {
        let rotated = keys
            .post(&own.secret, &format!("{MINE}/{key}/rotate"), json!({}))
            .await;
        let path = format!("{MINE}/{key}");
        let ended = keys.gateway.ask_as(&own.secret, "DELETE", &path, "").await;
        told.extend([rotated.refusal(), ended.refusal()]);
    }
    assert_eq!(told.len(), 1, "the same for what is not there: {told:?}");
    insta::assert_snapshot!(told.first().unwrap(), @"404 not_found [-] there is no such key in this account; GET /v1/me/keys lists its keys");
    assert!(keys.gateway.app.directory.find_key(&secret, NOW_MS).is_ok());
}
