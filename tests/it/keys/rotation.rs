//! A key's new secret, and the old one beside it for a while.

use super::{Key, Keys, LET_IN};
use crate::admin::harness::{Answer, NOW_MS};
use serde_json::{Value, json};

async fn rotate(keys: &Keys, key: &Key, overlap_seconds: u64) -> Answer {
    let path = format!("/admin/v1/keys/{}/rotate", key.id);
    let body = json!({ "overlap_seconds": overlap_seconds }).to_string();
    keys.gateway.ask("POST", &path, &body).await
}

#[tokio::test]
async fn both_secrets_hold_until_the_overlap_is_over() {
    let keys = Keys::start().await;
    let key = keys.key(json!({ "scopes": ["inference"] })).await;
    let rotated = rotate(&keys, &key, 3600).await;
    assert_eq!(rotated.status, 200);
    assert_eq!(rotated.headers["cache-control"], "no-store");
    assert_eq!(rotated.field("id"), key.id, "it is the same key");
    assert_eq!(rotated.field("overlap_until"), "2026-11-01T13:00:00Z");
    let new = rotated.field("secret");
    assert_ne!(new, key.secret);
    for secret in [&key.secret, &new] {
        assert_eq!(keys.chat(secret).await, LET_IN);
    }
    let Keys { gateway, account } = keys;
    let keys = Keys {
        gateway: gateway.restart().await,
        account,
    };
    for secret in [&key.secret, &new] {
        assert_eq!(keys.chat(secret).await, LET_IN, "after a restart");
    }
    keys.gateway.clock.set_unix_ms(NOW_MS + 3_600_000);
    assert_eq!(keys.chat(&key.secret).await, "invalid_api_key");
    assert_eq!(keys.chat(&new).await, LET_IN);
    let listed = keys.gateway.get("/admin/v1/keys").await.json();
    assert_eq!(listed["data"][0]["overlap_until"], Value::Null);
}

#[tokio::test]
async fn without_an_overlap_and_before_the_last_one_nothing_holds() {
    let keys = Keys::start().await;
    let key = keys.key(json!({})).await;
    let second = rotate(&keys, &key, 60).await.field("secret");
    let third = rotate(&keys, &key, 60).await.field("secret");
    assert_eq!(keys.chat(&key.secret).await, "invalid_api_key", "two back");
    assert_eq!(keys.chat(&second).await, LET_IN);
    let fourth = rotate(&keys, &key, 0).await.field("secret");
    assert_eq!(keys.chat(&second).await, "invalid_api_key");
    assert_eq!(keys.chat(&third).await, "invalid_api_key");
    assert_eq!(keys.chat(&fourth).await, LET_IN);

    let revoked = format!("/admin/v1/keys/{}/revoke", key.id);
    assert_eq!(keys.gateway.ask("POST", &revoked, "").await.status, 200);
    assert_eq!(keys.chat(&fourth).await, "invalid_api_key");
    let refused = rotate(&keys, &key, 0).await.refusal().replace(&key.id, "KEY");
    insta::assert_snapshot!(refused, @"400 invalid_request_error [-] the key `KEY` is revoked or expired; make a new one");
    let refused = rotate(&keys, &key, 2_592_001).await.refusal();
    insta::assert_snapshot!(refused, @"400 invalid_request_error [overlap_seconds] `overlap_seconds`: at most 2592000 seconds, which are thirty days");
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_with_both_secrets() {
    let keys = Keys::start().await;
    let key = keys.key(json!({})).await;
    let new = rotate(&keys, &key, 60).await.field("secret");
    let path = format!("/admin/v1/keys/{}", key.id);
    keys.gateway.ask("DELETE", &path, "").await;
    for secret in [&key.secret, &new] {
        assert_eq!(keys.chat(secret).await, "invalid_api_key");
    }
}
