//! Entries for the owner, a page at a time.

use super::{EMBEDDING, LARGE, Owner};
use crate::admin::harness::{NOW_MS, id_at};

#[tokio::test]
async fn entries_come_in_pages_and_none_is_left_out() {
    let owner = Owner::named("Acme").await;
    let entries: Vec<_> = (1..=25)
        .map(|number| owner.entry(LARGE, NOW_MS, number))
        .collect();
    owner.book(&entries).await;
    let other = owner.gateway.account("Other").await;
    owner.gateway.book(&other, "key_other", NOW_MS, 26..30).await;

    let (mut seen, mut path) = (Vec::new(), "/v1/me/entries?limit=10".to_owned());
    loop {
        let page = owner.get(&path).await.json();
        let data = page["data"].as_array().unwrap();
        seen.extend(
            data.iter()
                .map(|entry| entry["request_id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!(data.len(), 10);
        path = format!("/v1/me/entries?limit=10&after={next}");
    }
    let booked: Vec<_> = entries.iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(seen, booked);

    let csv = owner.get("/v1/me/entries?limit=20&format=csv").await;
    assert_eq!(csv.headers["x-farebox-next-page"], id_at(NOW_MS, 20).to_string());
    assert_eq!(csv.text.lines().count(), 21);
}

#[tokio::test]
async fn an_entry_has_what_was_booked() {
    let owner = Owner::named("Acme").await;
    let mut first = owner.entry(LARGE, NOW_MS, 1);
    first.client_request_id = Some("=HYPERLINK(1)".into());
    owner.book(&[first, owner.entry(EMBEDDING, NOW_MS + 5, 2)]).await;
    let page = owner.get("/v1/me/entries?until=2026-11-01T12:00:00.001Z").await;
    insta::assert_snapshot!(page.shown(), @r#"
    200
    {
      "data": [
        {
          "admitted_at": "2026-11-01T12:00:00Z",
          "cached_tokens": 40,
          "client_request_id": "=HYPERLINK(1)",
          "completion_tokens": 10,
          "cost": {
            "picodollars": "10000000",
            "usd": "0.00001"
          },
          "endpoint": "chat_completions",
          "key": "key_e06bb0bc4f577df3",
          "model": "org/large",
          "price_version": 1,
          "prompt_tokens": 100,
          "queue_us": 20,
          "reasoning_tokens": 4,
          "request_id": "req_01a196fb160000000000000000000001",
          "service_tier": "default",
          "state": "completed",
          "total_us": 900000,
          "ttft_us": 40000,
          "usage_source": "engine"
        }
      ],
      "has_more": false,
      "next": null
    }
    "#);
    let csv = owner.get("/v1/me/entries?format=csv").await;
    insta::assert_snapshot!(csv.shown().replace("\r\n", "\n"), @"
    200
    request_id,client_request_id,admitted_at,key,model,endpoint,state,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,units,service_tier,usage_source,price_version,cost_picodollars,cost_usd,queue_us,ttft_us,total_us
    req_01a196fb160000000000000000000001,'=HYPERLINK(1),2026-11-01T12:00:00Z,key_e06bb0bc4f577df3,org/large,chat_completions,completed,100,40,10,4,,default,engine,1,10000000,0.00001,20,40000,900000
    req_01a196fb160500000000000000000002,,2026-11-01T12:00:00Z,key_e06bb0bc4f577df3,org/embedding,embeddings,completed,7,0,0,0,,default,engine,2,70000,0.00000007,20,40000,900000
    ");
}

#[tokio::test]
async fn what_does_not_hold_is_said() {
    let owner = Owner::named("Acme").await;
    let mut told = Vec::new();
    for query in [
        "limit=0",
        "limit=5001",
        "limit=1&limit=2",
        "after=mine-7",
        "since=soon",
        "since=2026-11-02&until=2026-11-01",
        "format=html",
        "untill=7d",
    ] {
        told.push(owner.get(&format!("/v1/me/entries?{query}")).await.refusal());
    }
    insta::assert_snapshot!(told.join("\n"), @"
    400 invalid_request_error [limit] `limit`: write a whole number from 1 to 5000
    400 invalid_request_error [limit] `limit`: write a whole number from 1 to 5000
    400 invalid_request_error [limit] `limit`: this parameter is given twice
    400 invalid_request_error [after] `after`: this is not an id: `req_` and 32 lower-case hex digits
    400 invalid_request_error [since] `since`: write a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or a span such as 7d, 12h or 30m
    400 invalid_request_error [until] `until`: this is before `since`
    400 invalid_request_error [format] `format`: write one of json, csv
    400 invalid_request_error [untill] unknown parameter `untill`; this route takes since, until, limit, after, format
    ");
}
