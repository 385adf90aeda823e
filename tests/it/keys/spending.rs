//! A signed token's own limit, against a simulated engine: all that is served fits under it.

use crate::gateway::{ACCOUNT, ADMIN_TOKEN, Gateway, engine, models};
use farebox::admission::jwt::sign;
use farebox::simulate::Settings;
use farebox_domain::money::Picodollars;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_spent_with_a_token_than_it_says() {
    let engine = engine(Settings::default()).await;
    let gateway = Gateway::start(&models(&[&engine.url], "")).await;
    let made: Value = gateway
        .client
        .post(format!("{}/admin/v1/keys", gateway.admin_url))
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({ "account": ACCOUNT, "name": "ci", "jwt": true }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let limit = Picodollars::parse_usd("0.0003").unwrap();
    let claims = json!({ "exp": 4_000_000_000_u64, "spending_limit": "0.0003" });
    let token = sign(secret, id, &claims.to_string());
    let body = json!({ "model": "m", "max_tokens": 20, "messages": [{ "role": "user", "content": "hi" }] });
    let ask = || gateway.chat_as(&token, &body).send();
    // Each could cost 0.00006 at the most and costs less, so the limit is met after a while, and not at once.
    let mut served = 0;
    let refused = loop {
        let at_once = futures_util::future::join_all([ask(), ask(), ask()]).await;
        let mut refused = None;
        for answer in at_once {
            let answer = answer.unwrap();
            if answer.status() == 200 {
                answer.bytes().await.unwrap();
                served += 1;
            } else {
                refused = Some(answer);
            }
        }
        if let Some(refused) = refused {
            break refused;
        }
        assert!(served < 1000, "no limit");
    };
    assert_eq!(refused.status(), 402);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["code"], "spending_limit_reached");
    assert!(served > 5, "{served} were served before {refused}");
    let spent = gateway.app.directory.account(&ACCOUNT.into()).unwrap();
    let month = farebox_domain::month::Month::of_ms(gateway.app.clock.unix_ms());
    let spent = spent.wallet.read(month).spent;
    assert!(spent > Picodollars::ZERO && spent <= limit, "{spent} of {limit}");
    gateway.stop().await;
}
