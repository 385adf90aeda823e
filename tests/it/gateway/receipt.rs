//! A request's receipt while it runs and after it, by its own account and by another.

use super::{Gateway, SECRET, engine, models};
use farebox::admission::directory::hash_secret;
use farebox::simulate::Settings;
use farebox::store::{AccountRow, KeyRow};
use serde_json::{Value, json};

/// The secret of another account's key.
fn other_account(gateway: &Gateway) -> String {
    let (secret, account) = ("fb_another".to_owned(), "acct_other");
    let row = AccountRow::new(account.into(), "other".into(), 1);
    gateway.app.directory.add_account(row);
    let (id, account, hash) = ("key_other".into(), account.into(), hash_secret(&secret));
    let key = KeyRow::new(id, account, "other".into(), hash, 1);
    gateway.app.directory.add_key(key);
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_says_so_and_has_a_receipt_once_it_has_ended() {
    let paced = engine(Settings {
        decode_rate: 50,
        ..Settings::default()
    })
    .await;
    let gateway = Gateway::start(&models(&[&paced.url], "")).await;
    let body = json!({
        "model": "m", "stream": true, "max_tokens": 20, "messages": [{ "role": "user", "content": "Hello" }],
        "stream_options": { "include_usage": true },
    });
    let streamed = gateway
        .chat(&body)
        .header("x-request-id", "mine-7")
        .send()
        .await
        .unwrap();
    let id = streamed.headers()["x-farebox-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let receipt = async |secret: &str| {
        let url = format!("{}/v1/receipts/{id}", gateway.url);
        let answer = gateway.client.get(url).bearer_auth(secret).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let other = other_account(&gateway);

    let (status, in_flight) = receipt(SECRET).await;
    assert_eq!(
        (status, &in_flight["status"], &in_flight["client_request_id"]),
        (200, &json!("in_flight"), &json!("mine-7"))
    );
    assert_eq!(receipt(&other).await.0, 404);

    let text = streamed.text().await.unwrap();
    let (status, settled) = receipt(SECRET).await;
    assert_eq!((status, &settled["status"]), (200, &json!("settled")));
    let cost = settled["cost"]["usd"].as_str().unwrap();
    assert!(
        text.contains(&format!("\"estimated_cost\":{cost}}}")),
        "the receipt is what the answer said: {cost}: {text}"
    );
    assert_eq!(receipt(&other).await.0, 404);
    gateway.stop().await;
}
