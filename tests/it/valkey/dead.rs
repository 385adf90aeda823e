//! A replica that is killed: what it had counts no more, and the others may have it.

use super::server::Server;
use crate::crash::{Process, admin, find_secret};
use crate::gateway::{client, engine, models};
use crate::postgres;
use farebox::simulate::Settings;
use serde_json::json;
use std::time::{Duration, Instant};

/// A stream that has begun, if it was let in.
async fn stream(client: &reqwest::Client, url: &str, secret: &str) -> Option<reqwest::Response> {
    let body = json!({
        "model": "m", "stream": true, "max_tokens": 4000, "messages": [{ "role": "user", "content": "hi" }],
    });
    let asked = client
        .post(format!("{url}/v1/chat/completions"))
        .bearer_auth(secret);
    let response = asked.json(&body).send().await.unwrap();
    match response.status().as_u16() {
        200 => Some(response),
        429 => None,
        other => panic!("{other}: {}", response.text().await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seventy_streams_of_a_killed_replica_are_free_for_the_other_within_ten_seconds() {
    let engine = engine(Settings {
        decode_rate: 10,
        slots: 1_000,
        ..Settings::default()
    })
    .await;
    let (database, valkey) = (postgres::Server::shared().database().await, Server::start());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("models.yaml");
    std::fs::write(&config, models(&[&engine.url], "")).unwrap();
    let url = valkey.url();
    let shared = [
        ("FAREBOX_DATABASE_URL", database.url()),
        ("FAREBOX_VALKEY", url.as_str()),
    ];
    let start = |name: &str| {
        Process::start_with(&config, &folder.path().join(name), shared)
            .wait_until_ready()
            .unwrap_or_else(|said| panic!("it did not start: {said}"))
    };
    let (dying, living) = (start("dying"), start("living"));
    let client = client();
    admin(
        &client,
        format!("{}/admin/v1/accounts", living.admin),
        json!({ "name": "a" }),
    )
    .await;
    let key = json!({ "account": "a", "name": "a" });
    let key = admin(&client, format!("{}/admin/v1/keys", living.admin), key).await;
    let secret = find_secret(&key).unwrap();
    crate::replicas::until(async || {
        let models = client
            .get(format!("{}/v1/models", dying.url))
            .bearer_auth(&secret);
        models.send().await.unwrap().status() == 200
    })
    .await;
    valkey.settle().await;

    let (mut at_dying, mut at_living) = (Vec::new(), Vec::new());
    for _ in 0..70 {
        at_dying.push(stream(&client, &dying.url, &secret).await.expect("there is room"));
    }
    for _ in 0..130 {
        at_living.push(
            stream(&client, &living.url, &secret)
                .await
                .expect("there is room"),
        );
    }
    assert!(
        stream(&client, &living.url, &secret).await.is_none(),
        "200 are 200"
    );
    let killed_at = Instant::now();
    drop(dying);
    while at_living.len() < 200 {
        match stream(&client, &living.url, &secret).await {
            Some(begun) => at_living.push(begun),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        let took = killed_at.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "{} after {took:?}",
            at_living.len()
        );
    }
    assert!(
        stream(&client, &living.url, &secret).await.is_none(),
        "200 are 200"
    );
    assert_eq!(engine.engine.peak_in_flight(), 200);
}
