//! Addresses as sockets and proxies tell them.

use crate::gateway::{ADMIN_TOKEN, Gateway, SECRET, engine, models};
use farebox::simulate::Settings;
use serde_json::json;

async fn code(gateway: &Gateway, forwarded: Option<&str>) -> String {
    let mut request = gateway
        .client
        .get(format!("{}/v1/models", gateway.url))
        .bearer_auth(SECRET);
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded);
    }
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    answer["error"]["code"].as_str().unwrap_or("let in").to_owned()
}

async fn allow(gateway: &Gateway, ips: &[&str]) {
    let answer = gateway
        .client
        .patch(format!("{}/admin/v1/keys/key_test", gateway.admin_url))
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({ "allowed_ips": ips }))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
}

#[tokio::test]
async fn the_socket_s_address_counts_and_a_stranger_s_header_does_not() {
    let engine = engine(Settings::default()).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    allow(&gateway, &["127.0.0.1"]).await;
    assert_eq!(code(&gateway, None).await, "let in");
    allow(&gateway, &["192.0.2.7"]).await;
    assert_eq!(code(&gateway, None).await, "ip_not_allowed");
    assert_eq!(code(&gateway, Some("192.0.2.7")).await, "ip_not_allowed");
    gateway.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let engine = engine(Settings::default()).await;
    let trusting = format!(
        "{}\nserver:\n  trusted_proxies: [\"127.0.0.0/8\"]\n",
        models(&[&engine.url], "")
    );
    let gateway = Gateway::start(&trusting).await;
    allow(&gateway, &["192.0.2.7"]).await;
    assert_eq!(code(&gateway, None).await, "ip_not_allowed");
    assert_eq!(code(&gateway, Some("192.0.2.7")).await, "let in");
    assert_eq!(
        code(&gateway, Some("192.0.2.7, 192.0.2.8")).await,
        "ip_not_allowed"
    );
    assert_eq!(code(&gateway, Some("192.0.2.7, 127.0.0.3")).await, "let in");
    gateway.stop().await;
}
