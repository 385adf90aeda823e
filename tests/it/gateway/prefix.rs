//! Routing by what the engines' caches hold.

use super::{ADMIN_TOKEN, Gateway, Listening, SECRET, engine, eventually, models};
use farebox::simulate::Settings;
use serde_json::{Value, json};

/// Text that is some blocks long, and its own.
fn text(seed: usize, words: usize) -> String {
    (0..words).map(|word| format!("w{seed}x{word} ")).collect()
}

fn routed(engines: &[&Listening], more_of_model: &str) -> String {
    let urls: Vec<&str> = engines.iter().map(|engine| engine.url.as_str()).collect();
    models(&urls, "").replace(
        "    task: chat\n",
        &format!("    task: chat\n    routing: prefix\n{more_of_model}"),
    )
}

async fn fleet(count: usize, settings: &Settings) -> Vec<Listening> {
    let mut engines = Vec::new();
    for _ in 0..count {
        engines.push(engine(settings.clone()).await);
    }
    engines
}

fn conversation(turns: &[String]) -> Value {
    let messages: Vec<Value> = turns
        .iter()
        .enumerate()
        .map(|(index, text)| json!({ "role": if index % 2 == 0 { "user" } else { "assistant" }, "content": text }))
        .collect();
    json!({ "model": "m", "max_tokens": 4, "messages": messages })
}

/// Prompt tokens that each engine was sent, and those that its cache held.
fn cached(engines: &[Listening]) -> (u64, u64) {
    let counts = engines.iter().flat_map(|one| one.engine.counts());
    counts.fold((0, 0), |(prompt, cached), count| {
        (prompt + count.prompt_tokens, cached + count.cached_tokens)
    })
}

async fn say(gateway: &Gateway, secret: &str, body: &Value) -> Value {
    let response = gateway.chat_as(secret, body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

pub(super) async fn explain(gateway: &Gateway, account: &str, request: &Value) -> Value {
    let response = gateway
        .client
        .post(format!("{}/admin/v1/route/explain", gateway.admin_url))
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({ "account": account, "request": request }))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

pub(super) fn predicted(explained: &Value, engine: usize) -> u64 {
    explained["engines"][engine]["estimate"]["predicted_cached_tokens"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn each_conversation_goes_back_to_the_engine_that_holds_it_and_none_gets_them_all() {
    let engines = fleet(4, &Settings::default()).await;
    let all: Vec<&Listening> = engines.iter().collect();
    let gateway = Gateway::start(&routed(&all, "")).await;
    let mut conversations: Vec<Vec<String>> = (0..12).map(|seed| vec![text(seed, 200)]).collect();
    let mut again = 0;
    for turn in 0..4 {
        for (seed, conversation_so_far) in conversations.iter_mut().enumerate() {
            let answer = say(&gateway, SECRET, &conversation(conversation_so_far)).await;
            if turn > 0 {
                let usage = &answer["usage"];
                let (prompt, held) = (
                    &usage["prompt_tokens"],
                    &usage["prompt_tokens_details"]["cached_tokens"],
                );
                again += u64::from(2 * held.as_u64().unwrap_or(0) > prompt.as_u64().unwrap());
            }
            let said = answer["choices"][0]["message"]["content"]
                .as_str()
                .unwrap()
                .to_owned();
            conversation_so_far.extend([said, text(100 * (turn + 1) + seed, 40)]);
        }
    }
    assert_eq!(again, 36, "each later turn finds the turns before it");
    let sent: Vec<usize> = engines.iter().map(|one| one.engine.counts().len()).collect();
    assert!(sent.iter().all(|&requests| requests >= 4), "{sent:?}");
    let (prompt, held) = cached(&engines);
    assert!(held * 10 > prompt * 6, "{held} of {prompt}");
    let metrics = gateway.app.render_metrics();
    let said = |who: &str| -> u64 {
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("farebox_prefix_cached_tokens_total"));
        lines
            .filter(|line| line.contains(&format!("said=\"{who}\"")))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    let (foretold, reported) = (said("predicted"), said("reported"));
    assert_eq!(reported, held);
    assert!(
        foretold.abs_diff(reported) * 10 < reported,
        "{foretold} foretold, {reported} reported"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_prefix_spreads_before_it_queues() {
    let slow = Settings {
        prefill_rate: 4_000,
        decode_rate: 50,
        ..Settings::default()
    };
    let engines = fleet(4, &slow).await;
    let all: Vec<&Listening> = engines.iter().collect();
    let gateway = std::sync::Arc::new(Gateway::start(&routed(&all, "")).await);
    let hot = text(7, 300);
    let mut clients = Vec::new();
    for client in 0..48 {
        let (gateway, body) = (
            std::sync::Arc::clone(&gateway),
            conversation(&[format!("{hot}{}", text(1_000 + client, 60))]),
        );
        clients.push(tokio::spawn(async move { say(&gateway, SECRET, &body).await }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let sent: Vec<usize> = engines.iter().map(|one| one.engine.counts().len()).collect();
    assert!(
        sent.iter().all(|&requests| (6..=18).contains(&requests)),
        "{sent:?} of 48"
    );
    for listening in &engines {
        let registry = gateway.app.registry();
        let load = registry.engines().iter().map(|engine| &engine.load);
        let left: Vec<_> = load
            .map(|load| (load.prefill_tokens(), load.waiting(), load.streams()))
            .collect();
        assert!(
            left.iter().all(|left| *left == (0, 0, 0)),
            "{left:?} at {}",
            listening.url
        );
    }
}

#[tokio::test]
async fn what_an_account_asked_is_not_found_by_another_where_the_operator_says_so() {
    let engines = fleet(2, &Settings::default()).await;
    let all: Vec<&Listening> = engines.iter().collect();
    let gateway = Gateway::start(&routed(&all, "    isolate_cache: account\n")).await;
    gateway.add_account("other", super::OTHER_SECRET).await;
    let body = conversation(&[text(1, 300)]);
    say(&gateway, SECRET, &body).await;
    let again = say(&gateway, SECRET, &body).await;
    assert!(
        again["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
            > 200
    );
    let foretold = async |account: &str| {
        let explained = explain(&gateway, account, &body).await;
        predicted(&explained, 0).max(predicted(&explained, 1))
    };
    assert!(foretold(super::ACCOUNT).await > 200);
    assert_eq!(foretold("acct_other").await, 0);
    let other = say(&gateway, super::OTHER_SECRET, &body).await;
    assert_eq!(
        other["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap_or(0),
        0
    );
    // A salt that is guessed does not help: the account is in it.
    let mut guess = body.clone();
    guess["cache_salt"] = json!("tenant");
    say(&gateway, SECRET, &guess).await;
    let guessed = say(&gateway, super::OTHER_SECRET, &guess).await;
    assert_eq!(
        guessed["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap_or(0),
        0
    );
}

#[tokio::test]
async fn a_cache_key_brings_new_prompts_together() {
    let engines = fleet(4, &Settings::default()).await;
    let all: Vec<&Listening> = engines.iter().collect();
    let gateway = Gateway::start(&routed(&all, "")).await;
    for seed in 0..6 {
        let mut body = conversation(&[text(seed, 100)]);
        body["prompt_cache_key"] = json!("one customer");
        let explained = explain(&gateway, super::ACCOUNT, &body).await;
        assert_eq!(
            explained["chosen"],
            explain(&gateway, super::ACCOUNT, &body).await["chosen"],
            "asking changes nothing"
        );
        say(&gateway, SECRET, &body).await;
    }
    let most = engines.iter().map(|one| one.engine.counts().len()).max().unwrap();
    assert!(most >= 3, "a hint, not a rule: {most} of 6");
}

#[tokio::test]
async fn the_way_is_explained_and_told_to_an_administrators_key_alone() {
    let engines = fleet(2, &Settings::default()).await;
    let all: Vec<&Listening> = engines.iter().collect();
    let gateway = Gateway::start(&routed(&all, "")).await;
    let body = conversation(&[text(3, 200)]);
    let before = explain(&gateway, super::ACCOUNT, &body).await;
    assert_eq!((predicted(&before, 0), predicted(&before, 1)), (0, 0));
    assert!(
        before["why"]
            .as_str()
            .unwrap()
            .starts_with("no engine holds any of the prompt")
    );
    let response = gateway.chat(&body).send().await.unwrap();
    assert!(!response.headers().contains_key("x-farebox-engine"));
    let after = explain(&gateway, super::ACCOUNT, &body).await;
    let winner = after["chosen"].as_str().unwrap().to_owned();
    assert!(after["why"].as_str().unwrap().starts_with("it holds"), "{after}");
    let asked = json!({ "account": super::ACCOUNT, "name": "staff", "scopes": ["inference", "admin"] });
    let made = gateway
        .client
        .post(format!("{}/admin/v1/keys", gateway.admin_url))
        .bearer_auth(ADMIN_TOKEN)
        .json(&asked);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let admin = made["secret"].as_str().unwrap().to_owned();
    let response = gateway.chat_as(&admin, &body).send().await.unwrap();
    assert_eq!(response.headers()["x-farebox-engine"], winner.as_str());
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let response = gateway.chat_as(&admin, &streamed).send().await.unwrap();
    assert_eq!(response.headers()["x-farebox-engine"], winner.as_str());
}

#[tokio::test]
async fn an_engine_that_went_down_is_not_thought_to_hold_what_it_held() {
    let engines = fleet(2, &Settings::default()).await;
    let all: Vec<&Listening> = engines.iter().collect();
    let gateway = Gateway::start(&routed(&all, "")).await;
    let body = conversation(&[text(5, 200)]);
    say(&gateway, SECRET, &body).await;
    let registry = &gateway.app.registry();
    let held = || {
        let seats = registry.find("m").unwrap().deployments.iter();
        seats
            .map(|one| one.seat.as_ref().unwrap().view.blocks())
            .sum::<usize>()
    };
    assert!(held() > 0);
    for one in &engines {
        one.engine.set_healthy(false);
    }
    for engine in registry.engines() {
        engine.probe().await;
    }
    eventually("nothing is held", || held() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_one_piece_is_not_taken_for_a_slow_first_token() {
    let slow = Settings {
        decode_rate: 40,
        ..Settings::default()
    };
    let engines = fleet(1, &slow).await;
    let gateway = std::sync::Arc::new(Gateway::start(&routed(&[&engines[0]], "")).await);
    let mut clients = Vec::new();
    for client in 0..24 {
        let (gateway, body) = (std::sync::Arc::clone(&gateway), conversation(&[text(client, 5)]));
        clients.push(tokio::spawn(async move { say(&gateway, SECRET, &body).await }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let explained = explain(&gateway, super::ACCOUNT, &conversation(&[text(99, 400)])).await;
    let (tokens, estimate) = (
        explained["prompt_tokens"].as_u64().unwrap(),
        &explained["engines"][0]["estimate"],
    );
    assert!(
        estimate["prefill_ms"].as_u64().unwrap() <= tokens / 10,
        "{tokens} tokens, and no first token was seen: {estimate}"
    );
}
