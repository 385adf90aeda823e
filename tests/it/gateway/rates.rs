//! Rates: what is refused over a minute's requests and tokens, what its headers say, and that a refusal takes nothing.

use super::{ACCOUNT, Gateway, OTHER_SECRET, SECRET, engine, limited_models, models};
use crate::replicas::admin;
use farebox::simulate::Settings;
use farebox_domain::limits::RateLimits;
use farebox_domain::money::Picodollars;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// What the limit is and what is left of it.
    fn rate(&self, unit: &str) -> Option<(u64, u64)> {
        let of = |what: &str| {
            let value = self.header(&format!("x-ratelimit-{what}-{unit}"))?;
            Some(value.parse().unwrap())
        };
        assert_eq!(
            of("limit").is_some(),
            self.header(&format!("x-ratelimit-reset-{unit}")).is_some()
        );
        Some((of("limit")?, of("remaining")?))
    }
}

async fn send(gateway: &Gateway, max_tokens: u64) -> Answer {
    send_to(gateway, SECRET, "m", max_tokens).await
}

async fn send_to(gateway: &Gateway, secret: &str, model: &str, max_tokens: u64) -> Answer {
    let body = json!({ "model": model, "max_tokens": max_tokens, "messages": [{ "role": "user", "content": "hi" }] });
    let response = gateway.chat_as(secret, &body).send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.json().await.unwrap(),
    }
}

/// A gateway whose accounts have these limits.
async fn limited_to(limits: &str) -> Gateway {
    let engine = engine(Settings::default()).await;
    let limits = format!("limits: {{ {limits} }}\n");
    Gateway::start(&models(&[&engine.url], &limits)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_after_a_minutes_requests_is_told_when_to_come_back() {
    let gateway = limited_to("requests_per_minute: 2").await;
    for left in [1, 0] {
        let answer = send(&gateway, 1).await;
        assert_eq!((answer.status, answer.rate("requests")), (200, Some((2, left))));
        assert_eq!(answer.rate("tokens"), None);
    }
    let answer = send(&gateway, 1).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.rate("requests"), Some((2, 0)));
    assert_eq!(answer.body["error"]["code"], json!("rate_limit_exceeded"));
    assert_eq!(answer.body["error"]["type"], json!("rate_limit_error"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    let message = answer.message();
    let wanted = "2 of 2 requests a minute are used for this account";
    assert!(message.contains(wanted), "{message}");
    assert_eq!(gateway.in_flight().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_held_and_not_used_are_given_back() {
    let limit = "tokens_per_minute: 3000";
    for gateway in [limited_to(limit).await, limited_on_models(limit, "").await] {
        // Each holds more than five hundred tokens and uses a few of them.
        for _ in 0..12 {
            let answer = send(&gateway, 5).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let usage = &answer.body["usage"];
            let (limit, left) = answer.rate("tokens").unwrap();
            assert_eq!(limit, 3000);
            assert!(
                left > 2000 && usage["total_tokens"].as_u64().unwrap() < 100,
                "{left}: {usage}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_failed_takes_nothing_of_a_rate() {
    let refusing = json!({ "model": "m", "max_tokens": 0, "messages": [] });
    let gateway = limited_to("requests_per_minute: 3, concurrent_requests: 1").await;
    for _ in 0..5 {
        let response = gateway.chat(&refusing).send().await.unwrap();
        assert_eq!(response.status(), 400);
    }
    let left = send(&gateway, 1).await.rate("requests");
    assert_eq!(left, Some((3, 2)));

    // An account without the money.
    let account = gateway.app.directory.account(&ACCOUNT.into()).unwrap();
    account.wallet.set_credit_limit(Some(Picodollars::ZERO));
    for _ in 0..5 {
        let answer = send(&gateway, 1).await;
        assert_eq!((answer.status, answer.rate("requests")), (402, left));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_as_many_as_fit_are_let_in() {
    let gateway = std::sync::Arc::new(limited_to("requests_per_minute: 40").await);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..120 {
        let gateway = std::sync::Arc::clone(&gateway);
        all.spawn(async move { send(&gateway, 1).await.status });
    }
    let statuses = all.join_all().await;
    let count = |status| statuses.iter().filter(|each| **each == status).count();
    // The minute's forty, and what leaks while they are sent: one in a second and a half.
    assert!((40..60).contains(&count(200)), "{statuses:?}");
    assert_eq!(count(200) + count(429), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_a_key_have_rates_of_their_own_and_a_change_acts_at_once() {
    let gateway = limited_to("requests_per_minute: 2").await;
    let account = gateway.app.directory.account(&ACCOUNT.into()).unwrap();
    let key = gateway
        .app
        .directory
        .newest_keys(Some(&account.id), None, 1)
        .remove(0);
    for status in [200, 200, 429] {
        assert_eq!(send(&gateway, 1).await.status, status);
    }
    // More, and what was used stays used.
    account.set_rates(None, requests(10));
    assert_eq!(send(&gateway, 1).await.rate("requests"), Some((10, 7)));
    // A key's own, besides: the headers tell of the one with less left.
    account.set_rates(Some(&key.id), requests(1));
    assert_eq!(send(&gateway, 1).await.rate("requests"), Some((1, 0)));
    let refused = send(&gateway, 1).await;
    let message = refused.message();
    assert!(
        message.contains("1 of 1 requests a minute are used for this key"),
        "{message}"
    );
    // The refusal took nothing of the account.
    account.set_rates(Some(&key.id), RateLimits::default());
    assert_eq!(send(&gateway, 1).await.rate("requests"), Some((10, 5)));
}

/// A gateway whose accounts have these limits on each of two models, and these besides.
async fn limited_on_models(limits: &str, besides: &str) -> Gateway {
    let engine = engine(Settings::default()).await;
    let besides = format!("limits: {{ {besides} }}\n");
    Gateway::start(&limited_models(&engine.url, limits, &besides)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_s_rate_on_a_model_is_its_own_and_that_model_s() {
    let gateway = limited_on_models("requests_per_minute: 1", "requests_per_minute: 20").await;
    gateway.add_account("other", OTHER_SECRET).await;
    let account = gateway.app.directory.account(&ACCOUNT.into()).unwrap();
    let key = gateway.app.directory.key(&"key_test".into()).unwrap();
    account.set_rates(Some(&key.id), requests(10));
    assert_eq!(send(&gateway, 1).await.rate("requests"), Some((1, 0)));
    for _ in 0..3 {
        let refused = send(&gateway, 1).await;
        assert_eq!((refused.status, refused.rate("requests")), (429, Some((1, 0))));
        assert_eq!(refused.body["error"]["code"], json!("rate_limit_exceeded"));
        let message = refused.message();
        let wanted = "1 of 1 requests a minute are used for this account on m. Try again in ";
        assert!(message.starts_with(wanted), "{message}");
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    // The other model, and the other account, have all of theirs.
    for (secret, model) in [(SECRET, "n"), (OTHER_SECRET, "m")] {
        let answer = send_to(&gateway, secret, model, 1).await;
        assert_eq!((answer.status, answer.rate("requests")), (200, Some((1, 0))));
    }
    // Of the account and its key two were taken, by those two that were let in; and nothing stayed in flight.
    let left = |view: &Value| view["requests"]["remaining"].clone();
    let of_account = admin(&gateway, Method::GET, "accounts/acct_test/limits", json!({})).await;
    let of_key = admin(&gateway, Method::GET, "keys/key_test/rates", json!({})).await;
    assert!(left(&of_account["rates"]).as_u64() >= Some(18), "{of_account}");
    assert!(left(&of_key).as_u64() >= Some(8), "{of_key}");
    assert_eq!(gateway.in_flight(), (0, 0, 0));
    let of_models = of_account["rates"]["models"].as_array().unwrap();
    let shown = of_models
        .iter()
        .map(|of| (of["model"].as_str().unwrap(), left(of)));
    assert!(shown.eq([("m", json!(0)), ("n", json!(0))]), "{of_models:?}");
    assert_eq!(of_models[0]["requests"]["is_default"], json!(true));
    let me = gateway.client.get(format!("{}/v1/me/rate_limit", gateway.url));
    let me: Value = me.bearer_auth(SECRET).send().await.unwrap().json().await.unwrap();
    let of_model = |model: &str| json!({ "model": model, "rpm_rate_limit": 1, "tpm_rate_limit": null });
    assert_eq!(me["model_rates"], json!([of_model("m"), of_model("n")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_limit_refuses_takes_nothing_of_a_model_s_rate() {
    let gateway = limited_on_models("requests_per_minute: 5, tokens_per_minute: 100000", "").await;
    let account = gateway.app.directory.account(&ACCOUNT.into()).unwrap();
    let key = gateway.app.directory.key(&"key_test".into()).unwrap();
    let first = send(&gateway, 1).await;
    assert_eq!(first.rate("requests"), Some((5, 4)));
    let refused = async |status, why: &str| {
        for _ in 0..6 {
            let answer = send(&gateway, 1).await;
            assert_eq!(answer.status, status);
            assert!(answer.message().contains(why), "{}", answer.message());
        }
    };
    account.gate.set_limit(None, Some(0));
    refused(429, "concurrent requests are in flight for this account").await;
    account.gate.set_limit(None, None);
    for (key, why) in [
        (None, "used for this account."),
        (Some(&key.id), "used for this key."),
    ] {
        account.set_rates(key, requests(1));
        assert_eq!(send(&gateway, 1).await.status, 200);
        refused(429, why).await;
        account.set_rates(key, RateLimits::default());
    }
    account.wallet.set_credit_limit(Some(Picodollars::ZERO));
    refused(402, "the account has 0 USD available").await;
    account.wallet.set_credit_limit(None);
    // Three were let in of the five, and a few may have leaked.
    let (status, rate) = {
        let answer = send(&gateway, 1).await;
        (answer.status, answer.rate("requests"))
    };
    assert!(
        status == 200 && rate.is_some_and(|(limit, left)| limit == 5 && left > 0),
        "{status} {rate:?}"
    );
}

fn requests(per_minute: u64) -> RateLimits {
    RateLimits {
        requests: Some(per_minute),
        tokens: None,
    }
}
