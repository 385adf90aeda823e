//! The ceilings on money: held before an engine is called, never passed, and never in the way while the money is there.

use super::{ACCOUNT, Gateway, engine, eventually, models};
use farebox::admission::wallet::{Wallet, WalletReading};
use farebox::ledger::{EntryPage, Ledger, MAX_PAGE};
use farebox::simulate::Settings;
use farebox_domain::ids::KeyId;
use farebox_domain::ledger::{Entry, EntryState};
use farebox_domain::money::{PICODOLLARS_PER_USD, Picodollars};
use farebox_domain::month::Month;
use farebox_domain::tokens::Usage;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A hundredth of a cent a token of answer: a hundred tokens are a cent. The prompt is free.
const OUTPUT_USD_PER_MILLION: &str = "100";
const TOKEN: i128 = PICODOLLARS_PER_USD / 10_000;

fn priced(engines: &[&str]) -> String {
    models(engines, "").replace(
        r#"{ input: "0.10", cached_input: "0.02", output: "0.32" }"#,
        &format!(r#"{{ input: "0", output: "{OUTPUT_USD_PER_MILLION}" }}"#),
    )
}

fn quick() -> Settings {
    Settings {
        decode_rate: 20_000,
        slots: 1_000,
        ..Settings::default()
    }
}

fn wallet(gateway: &Gateway) -> Arc<Wallet> {
    Arc::clone(&gateway.app.directory.account(&ACCOUNT.into()).unwrap().wallet)
}

fn this_month(gateway: &Gateway) -> Month {
    Month::of_ms(gateway.app.clock.unix_ms())
}

fn reading(gateway: &Gateway) -> WalletReading {
    wallet(gateway).read(this_month(gateway))
}

/// Prepaid, with so much in it.
fn prepaid(gateway: &Gateway, tokens: i128) {
    wallet(gateway).set_credit_limit(Some(Picodollars::ZERO));
    wallet(gateway).adjust(Picodollars::new(tokens * TOKEN));
}

fn chat(more: Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

pub(super) async fn entries(ledger: &dyn Ledger) -> Vec<Entry> {
    let mut page = EntryPage {
        limit: MAX_PAGE,
        ..EntryPage::default()
    };
    let mut all = Vec::new();
    loop {
        let entries = ledger.entries(&page).await.unwrap();
        let Some(last) = entries.last() else { return all };
        page.after = Some(last.id);
        all.extend(entries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dollar_is_spent_to_the_last_cent_by_five_hundred_at_once() {
    let simulated = engine(quick()).await;
    let gateway = Arc::new(Gateway::start(&priced(&[&simulated.url])).await);
    prepaid(&gateway, 10_000);
    gateway
        .app
        .directory
        .account(&ACCOUNT.into())
        .unwrap()
        .gate
        .set_limit(None, Some(500));
    let refused = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..500usize {
        let (gateway, refused) = (Arc::clone(&gateway), Arc::clone(&refused));
        clients.spawn(async move {
            // Up to a cent; some finish long before it, and give back what they held.
            let mut more = json!({ "max_tokens": 100, "stream": number.is_multiple_of(2) });
            if number.is_multiple_of(3) {
                more["response_format"] = json!({ "type": "json_object" });
            }
            loop {
                let response = gateway.chat(&chat(more.clone())).send().await.unwrap();
                let status = response.status().as_u16();
                let text = response.text().await.unwrap();
                assert!(reading(&gateway).balance() >= Picodollars::ZERO);
                match status {
                    200 => return,
                    402 => {
                        refused.fetch_add(1, Ordering::SeqCst);
                        assert!(text.contains("insufficient_balance"), "{text}");
                        // It wants on while there is a cent that is not spent.
                        if reading(&gateway).balance().get() < 100 * TOKEN {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    _ => panic!("{status}: {text}"),
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(refused.load(Ordering::SeqCst) > 0);
    let spent: i128 = entries(&*gateway.app.ledger)
        .await
        .iter()
        .map(|entry| entry.cost.get())
        .sum();
    let (dollar, cent) = (PICODOLLARS_PER_USD, PICODOLLARS_PER_USD / 100);
    assert!(
        (dollar - cent..=dollar).contains(&spent),
        "spent {}",
        Picodollars::new(spent)
    );
    let reading = reading(&gateway);
    assert_eq!((reading.spent.get(), reading.held), (spent, Picodollars::ZERO));
}

/// The same with numbers drawn by chance: requests, what they ask for, what there is, and three ceilings at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_mixes_pass_no_ceiling() {
    let simulated = engine(quick()).await;
    let gateway = Arc::new(Gateway::start(&priced(&[&simulated.url])).await);
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let wallet = wallet(&gateway);
    wallet.set_credit_limit(Some(Picodollars::ZERO));
    let key = KeyId::from("key_test");
    for _ in 0..100 {
        let before = reading(&gateway);
        let spent_by_key = wallet.read_key(&key, this_month(&gateway)).spent;
        let tokens = |count: u64| Picodollars::new(i128::from(count) * TOKEN);
        let (credit, month, of_key) = (draw(200), draw(400), draw(400));
        wallet.adjust(tokens(credit).saturating_sub(before.balance()));
        let account_limit = (draw(2) == 0).then(|| before.month.spent.saturating_add(tokens(month)));
        wallet.set_monthly_limit(account_limit);
        let key_limit = (draw(2) == 0).then(|| spent_by_key.saturating_add(tokens(of_key)));
        wallet.set_key_monthly_limit(&key, key_limit);
        let mut requests = JoinSet::new();
        for _ in 0..8 {
            let mut more = json!({ "stream": draw(2) == 0, "n": 1 + draw(3) });
            if draw(3) > 0 {
                more["max_tokens"] = (1 + draw(60)).into();
            }
            if draw(3) == 0 {
                more["response_format"] = json!({ "type": "json_object" });
            }
            let gateway = Arc::clone(&gateway);
            requests.spawn(async move {
                gateway
                    .chat(&chat(more))
                    .send()
                    .await
                    .unwrap()
                    .text()
                    .await
                    .unwrap()
            });
        }
        while let Some(request) = requests.join_next().await {
            request.unwrap();
        }
        let after = reading(&gateway);
        assert!(after.balance() >= Picodollars::ZERO, "{after:?}");
        assert!(
            account_limit.is_none_or(|limit| after.month.spent <= limit),
            "{after:?}"
        );
        let spent = wallet.read_key(&key, this_month(&gateway)).spent;
        assert!(
            key_limit.is_none_or(|limit| spent <= limit),
            "{spent} of {key_limit:?}"
        );
        assert_eq!(after.held, Picodollars::ZERO);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_it_could_cost_and_what_is_there_and_reaches_no_engine() {
    let simulated = engine(quick()).await;
    let gateway = Gateway::start(&priced(&[&simulated.url])).await;
    prepaid(&gateway, 50);
    let response = gateway
        .chat(&chat(json!({ "max_tokens": 100 })))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 402);
    assert_eq!(response.headers()["x-should-retry"], "false");
    assert!(!response.headers().contains_key("retry-after"));
    insta::assert_snapshot!(response.text().await.unwrap(), @r#"{"error":{"code":"insufficient_balance","message":"this request could cost up to 0.01 USD, and the account has 0.005 USD available. Ask for fewer `max_tokens`, or add credit.","param":null,"type":"insufficient_quota"}}"#);

    let wallet = wallet(&gateway);
    wallet.set_credit_limit(None);
    let in_november = wallet.read(this_month(&gateway)).month.spent;
    assert_eq!(in_november, Picodollars::ZERO);
    wallet.set_key_monthly_limit(&"key_test".into(), Some(Picodollars::new(7 * TOKEN)));
    let response = gateway
        .chat(&chat(json!({ "max_tokens": 8 })))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 402);
    let text = response
        .text()
        .await
        .unwrap()
        .replace(&this_month(&gateway).to_string(), "MONTH");
    insta::assert_snapshot!(text, @r#"{"error":{"code":"spending_limit_reached","message":"this request could cost up to 0.0008 USD, and 0.0007 USD are left of the 0.0007 USD that this API key may spend in MONTH (UTC). Ask for fewer `max_tokens`, or ask your administrator for a higher limit.","param":null,"type":"insufficient_quota"}}"#);

    assert_eq!(simulated.engine.peak_in_flight(), 0);
    assert_eq!(gateway.in_flight(), (0, 0, 0));
    assert_eq!(reading(&gateway).held, Picodollars::ZERO);
    // What fits is served.
    let response = gateway
        .chat(&chat(json!({ "max_tokens": 7 })))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_max_tokens_runs_up_to_what_is_there_and_ends_with_length() {
    let simulated = engine(Settings {
        default_output_tokens: 500,
        ..quick()
    })
    .await;
    let gateway = Gateway::start(&priced(&[&simulated.url])).await;
    prepaid(&gateway, 40);
    let body = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let text = gateway.chat(&body).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r#""finish_reason":"length""#), "{text}");
    assert!(text.contains(r#""completion_tokens":40"#), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let booked = entries(&*gateway.app.ledger).await;
    assert_eq!(
        (booked[0].state, booked[0].cost.get()),
        (EntryState::Capped, 40 * TOKEN)
    );

    // In one piece it is the same; and `max_tokens: null` is not written twice.
    prepaid(&gateway, 30);
    let body = chat(json!({ "max_tokens": null }));
    let answer: Value = gateway.chat(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 30);
    assert_eq!(entries(&*gateway.app.ledger).await[1].state, EntryState::Capped);
    let response = gateway.chat(&body).send().await.unwrap();
    assert_eq!(response.status(), 402, "nothing is left");
}

/// An engine that does not listen to `max_tokens`, and goes on for ever.
async fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = [0; 4096];
                let _ = socket.read(&mut read).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let mut sent = socket.write_all(head.as_bytes()).await;
                let mut number = 0;
                while sent.is_ok() {
                    number += 1;
                    let chunk = format!(
                        r#"data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"simulated","choices":[{{"index":0,"delta":{{"content":"t{number} "}},"finish_reason":null}}],"usage":{{"prompt_tokens":9,"completion_tokens":{number}}}}}"#
                    );
                    sent = socket.write_all(format!("{chunk}\n\n").as_bytes()).await;
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_would_pass_the_ceiling_is_ended_cleanly() {
    let url = endless().await;
    let gateway = Gateway::start(&priced(&[&url])).await;
    prepaid(&gateway, 3);
    let body = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let text = gateway.chat(&body).send().await.unwrap().text().await.unwrap();
    insta::assert_snapshot!(text, @r#"
    data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"t1 "},"finish_reason":null}],"usage":null}

    data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"t2 "},"finish_reason":null}],"usage":null}

    data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"t3 "},"finish_reason":null}],"usage":null}

    data: {"created":1,"id":"c","model":"m","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}

    data: {"created":1,"id":"c","model":"m","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0},"estimated_cost":0.0003}}

    data: [DONE]
    "#);
    let booked = entries(&*gateway.app.ledger).await;
    assert_eq!(
        (booked[0].state, booked[0].usage, booked[0].cost.get()),
        (EntryState::Capped, Usage::new(9, 0, 3), 3 * TOKEN)
    );
    assert_eq!(reading(&gateway).balance(), Picodollars::ZERO);
    eventually("the engine is left", || gateway.in_flight() == (0, 0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_shrinks_to_what_can_still_be_spent() {
    let slow = engine(Settings {
        decode_rate: 1,
        ..quick()
    })
    .await;
    let gateway = Gateway::start(&models(&[&slow.url], "")).await;
    wallet(&gateway).set_credit_limit(Some(Picodollars::new(PICODOLLARS_PER_USD)));
    let body = chat(json!({ "stream": true, "max_tokens": 100 }));
    let mut response = gateway.chat(&body).send().await.unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    assert!(!first.is_empty());
    // The prompt's bound has given way to what the engine counted.
    let most = |prompt: i128| prompt * 100_000 + 100 * 320_000;
    eventually("the hold has shrunk", || reading(&gateway).held.get() < most(100)).await;
    drop(response);
    eventually("nothing is held", || reading(&gateway).held == Picodollars::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_ledger_cannot_be_written_nothing_is_let_in_and_nothing_is_lost() {
    let simulated = engine(quick()).await;
    let gateway = Gateway::start(&priced(&[&simulated.url])).await;
    let raw = |sql: &'static str| {
        let path = gateway.data.path().join("farebox.sqlite");
        async move {
            use sqlx::{ConnectOptions as _, Executor as _};
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            options.connect().await.unwrap().execute(sql).await.unwrap();
        }
    };
    raw("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END").await;
    let body = chat(json!({ "max_tokens": 5 }));
    let served = gateway.chat(&body).send().await.unwrap();
    assert_eq!(served.status(), 500, "it may not be told that it is complete");
    let refused = gateway.chat(&body).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    insta::assert_snapshot!(refused.text().await.unwrap(), @r#"{"error":{"code":"ledger_unavailable","message":"the ledger cannot be written, so that nothing can be billed; try again in 5 s","param":null,"type":"api_error"}}"#);
    raw("DROP TRIGGER full").await;
    eventually("the ledger is back", || {
        !gateway.app.pipeline.settler.is_failing()
    })
    .await;
    let response = gateway.chat(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let booked = entries(&*gateway.app.ledger).await;
    assert_eq!(booked.len(), 2, "what was served is kept");
}
