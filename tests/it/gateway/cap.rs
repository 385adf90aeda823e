//! The cap: no more in flight than an account may have, live.

use super::{ACCOUNT, ADMIN_TOKEN, Gateway, engine, eventually, models};
use farebox::simulate::Settings;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_clients_against_two_hundred_and_then_three_hundred() {
    let slow = engine(Settings {
        decode_rate: 1,
        slots: 1000,
        ..Settings::default()
    })
    .await;
    let gateway = Arc::new(Gateway::start(&models(&[&slow.url], "")).await);
    let body = json!({ "model": "m", "stream": true, "max_tokens": 1000, "messages": [{ "role": "user", "content": "hi" }] });

    let (entered, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let send = |clients: usize| -> Vec<_> {
        let clients = (0..clients).map(|_| {
            let (gateway, body) = (Arc::clone(&gateway), body.clone());
            let (entered, refused) = (Arc::clone(&entered), Arc::clone(&refused));
            tokio::spawn(async move {
                let mut response = gateway.chat(&body).send().await.unwrap();
                if response.status() == 200 {
                    entered.fetch_add(1, Ordering::SeqCst);
                    while let Ok(Some(_)) = response.chunk().await {}
                    return;
                }
                assert_eq!(response.status(), 429);
                let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
                assert!(header("retry-after").parse::<u64>().is_ok());
                let limit = header("x-ratelimit-limit-concurrent");
                assert_eq!(header("x-ratelimit-remaining-concurrent"), "0");
                let answer: Value = response.json().await.unwrap();
                assert_eq!(answer["error"]["code"], "concurrency_limit_exceeded");
                assert!(
                    answer["error"]["message"].as_str().unwrap().contains(&limit),
                    "{answer}"
                );
                refused.fetch_add(1, Ordering::SeqCst);
            })
        });
        clients.collect()
    };

    let mut clients = send(400);
    let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    eventually("200 in, 200 refused", || {
        count(&entered) == 200 && count(&refused) == 200
    })
    .await;
    assert_eq!(
        (slow.engine.in_flight(), slow.engine.peak_in_flight()),
        (200, 200)
    );
    assert_eq!(gateway.in_flight(), (200, 200, 200));

    let raised = gateway
        .client
        .put(format!(
            "{}/admin/v1/accounts/{ACCOUNT}/limits",
            gateway.admin_url
        ))
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({ "concurrent_requests": 300 }))
        .send()
        .await
        .unwrap();
    assert_eq!(raised.status(), 200, "{}", raised.text().await.unwrap());
    clients.extend(send(200));
    eventually("100 more in, 100 more refused", || {
        count(&entered) == 300 && count(&refused) == 300
    })
    .await;
    assert_eq!(
        (slow.engine.in_flight(), slow.engine.peak_in_flight()),
        (300, 300)
    );

    for client in &clients {
        client.abort();
    }
    eventually("nothing in flight", || {
        gateway.in_flight() == (0, 0, 0) && slow.engine.in_flight() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_number_of_its_own_and_what_is_in_flight_outlives_a_change_of_it() {
    let slow = engine(Settings {
        decode_rate: 1,
        ..Settings::default()
    })
    .await;
    let gateway = Gateway::start(&models(&[&slow.url], "")).await;
    let body = json!({ "model": "m", "stream": true, "max_tokens": 1000, "messages": [{ "role": "user", "content": "hi" }] });
    let key_may_have = async |number: Value| {
        let url = format!("{}/admin/v1/keys/key_test", gateway.admin_url);
        let change = gateway.client.patch(url).bearer_auth(ADMIN_TOKEN);
        let change = change.json(&json!({ "concurrent_requests": number }));
        assert_eq!(change.send().await.unwrap().status(), 200);
    };
    let refused = async || {
        let response = gateway.chat(&body).send().await.unwrap();
        assert_eq!(response.status(), 429);
        let answer: Value = response.json().await.unwrap();
        answer["error"]["message"].as_str().unwrap().to_owned()
    };

    let open = gateway.chat(&body).send().await.unwrap();
    // What came before the key had a number counts, too.
    key_may_have(json!(1)).await;
    insta::assert_snapshot!(refused().await, @"1 of 1 concurrent requests are in flight for this key. Wait for one to finish, or ask your administrator for a higher limit.");
    key_may_have(json!(2)).await;
    let second = gateway.chat(&body).send().await.unwrap();
    assert_eq!(second.status(), 200);
    assert!(refused().await.starts_with("2 of 2"));
    drop((open, second));
    eventually("nothing in flight", || gateway.in_flight() == (0, 0, 0)).await;
    assert_eq!(gateway.chat(&body).send().await.unwrap().status(), 200);
}
