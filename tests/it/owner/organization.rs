//! Usage and costs in OpenAI's shapes.

use super::{DAY_MS, EMBEDDING, HOUR_MS, LARGE, Owner, key};
use crate::admin::harness::NOW_MS;
use farebox_domain::money::Picodollars;
use serde_json::Value;

const NOW_S: u64 = NOW_MS / 1000;

/// Three days: two requests today at noon, one an hour before, one two days ago, and an embedding yesterday.
async fn used() -> Owner {
    let owner = Owner::named("Acme").await;
    let (second_key, _) = owner.gateway.key(&owner.account).await;
    let mut of_second_key = owner.entry(LARGE, NOW_MS, 2);
    of_second_key.key = second_key.as_str().into();
    owner
        .book(&[
            owner.entry(LARGE, NOW_MS - 2 * DAY_MS, 1),
            owner.entry(EMBEDDING, NOW_MS - DAY_MS, 3),
            owner.entry(LARGE, NOW_MS - HOUR_MS, 4),
            of_second_key,
            owner.entry(LARGE, NOW_MS, 5),
        ])
        .await;
    // Another account's, at the same time.
    let other = owner.gateway.account("Other").await;
    owner.gateway.book(&other, "key_other", NOW_MS, 6..9).await;
    owner
}

async fn buckets(owner: &Owner, path: &str) -> Vec<Value> {
    let page = owner.get(path).await.json();
    assert_eq!(page["object"], "page", "{page:#}");
    page["data"].as_array().unwrap().clone()
}

/// `start-end: requests` of each result, `|` between results, one line a bucket.
fn shown(buckets: &[Value]) -> String {
    let lines: Vec<_> = buckets
        .iter()
        .map(|bucket| {
            let results: Vec<_> = bucket["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|result| {
                    let group = result["model"].as_str().unwrap_or("-");
                    format!("{group} {}", result["num_model_requests"])
                })
                .collect();
            let (start, end) = (bucket["start_time"].as_u64(), bucket["end_time"].as_u64());
            let text = format!(
                "{} +{}: {}",
                start.unwrap(),
                end.unwrap() - start.unwrap(),
                results.join(" | ")
            );
            text.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[tokio::test]
async fn a_bucket_of_completions_has_openai_s_fields_and_the_cost() {
    let owner = used().await;
    let path = format!(
        "/v1/organization/usage/completions?start_time={}&group_by[]=model&group_by[]=api_key_id",
        NOW_S / 86_400 * 86_400
    );
    let answer = owner.get(&path).await;
    let text = answer.shown().replace(key(&owner).as_str(), "KEY");
    insta::assert_snapshot!(text, @r#"
    200
    {
      "data": [
        {
          "end_time": 1793534401,
          "object": "bucket",
          "results": [
            {
              "api_key_id": "key_d2367f800c648da3",
              "batch": null,
              "cost": {
                "picodollars": "10000000",
                "usd": "0.00001"
              },
              "input_audio_tokens": 0,
              "input_cached_tokens": 40,
              "input_tokens": 100,
              "input_uncached_tokens": 60,
              "model": "org/large",
              "num_model_requests": 1,
              "object": "organization.usage.completions.result",
              "output_audio_tokens": 0,
              "output_reasoning_tokens": 4,
              "output_tokens": 10,
              "project_id": null,
              "service_tier": null,
              "user_id": null
            },
            {
              "api_key_id": "KEY",
              "batch": null,
              "cost": {
                "picodollars": "20000000",
                "usd": "0.00002"
              },
              "input_audio_tokens": 0,
              "input_cached_tokens": 80,
              "input_tokens": 200,
              "input_uncached_tokens": 120,
              "model": "org/large",
              "num_model_requests": 2,
              "object": "organization.usage.completions.result",
              "output_audio_tokens": 0,
              "output_reasoning_tokens": 8,
              "output_tokens": 20,
              "project_id": null,
              "service_tier": null,
              "user_id": null
            }
          ],
          "start_time": 1793491200
        }
      ],
      "has_more": false,
      "next_page": null,
      "object": "page"
    }
    "#);
}

#[tokio::test]
async fn buckets_are_whole_in_utc_and_empty_ones_are_there() {
    let owner = used().await;
    let days = buckets(
        &owner,
        &format!(
            "/v1/organization/usage/completions?start_time={}",
            NOW_S - 3 * 86_400
        ),
    )
    .await;
    insta::assert_snapshot!(shown(&days), @"
    1793275200 +43200:
    1793318400 +86400: - 1
    1793404800 +86400:
    1793491200 +43201: - 3
    ");
    let hours = buckets(
        &owner,
        &format!(
            "/v1/organization/usage/completions?start_time={}&end_time={}&bucket_width=1h&group_by=model",
            NOW_S - 7_000,
            NOW_S + 1
        ),
    )
    .await;
    insta::assert_snapshot!(shown(&hours), @"
    1793527400 +3400:
    1793530800 +3600: org/large 1
    1793534400 +1: org/large 2
    ");
    let minutes = buckets(
        &owner,
        &format!(
            "/v1/organization/usage/completions?start_time={}&end_time={}&bucket_width=1m",
            NOW_S - 61,
            NOW_S + 30
        ),
    )
    .await;
    insta::assert_snapshot!(shown(&minutes), @"
    1793534339 +1:
    1793534340 +60:
    1793534400 +30: - 2
    ");
    let embeddings = buckets(
        &owner,
        &format!(
            "/v1/organization/usage/embeddings?start_time={}&end_time={NOW_S}",
            NOW_S - 90_000
        ),
    )
    .await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&embeddings[0]).unwrap(), @r#"
    {
      "end_time": 1793491200,
      "object": "bucket",
      "results": [
        {
          "api_key_id": null,
          "cost": {
            "picodollars": "70000",
            "usd": "0.00000007"
          },
          "input_tokens": 7,
          "model": null,
          "num_model_requests": 1,
          "object": "organization.usage.embeddings.result",
          "project_id": null,
          "user_id": null
        }
      ],
      "start_time": 1793444400
    }
    "#);
}

#[tokio::test]
async fn pages_follow_each_other_and_add_up() {
    let owner = used().await;
    let query = format!("/v1/organization/costs?start_time={}&limit=1", NOW_S - 3 * 86_400);
    let (mut path, mut pages, mut sum) = (query.clone(), 0, 0);
    loop {
        let page = owner.get(&path).await.json();
        for bucket in page["data"].as_array().unwrap() {
            for result in bucket["results"].as_array().unwrap() {
                let digits = result["amount"]["picodollars"].as_str().unwrap();
                sum += digits.parse::<i128>().unwrap();
            }
        }
        pages += 1;
        let Some(next) = page["next_page"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!(page["has_more"], true);
        path = format!("{query}&page={next}");
    }
    assert_eq!(pages, 4);
    assert_eq!(sum, 4 * 10_000_000 + 7 * 10_000);
}

#[tokio::test]
async fn filters_leave_out_the_rest() {
    let owner = used().await;
    let since = NOW_S - 3 * 86_400;
    let requests = async |path: &str| {
        let found = buckets(
            &owner,
            &format!("/v1/organization/usage/completions?start_time={since}&{path}"),
        )
        .await;
        let results = found
            .iter()
            .flat_map(|bucket| bucket["results"].as_array().unwrap());
        results
            .map(|result| result["num_model_requests"].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(requests("").await, 4);
    assert_eq!(requests(&format!("api_key_ids={}", owner.key)).await, 3);
    assert_eq!(requests("models[]=org/large&models[]=other").await, 4);
    assert_eq!(requests("models=other").await, 0);
    assert_eq!(
        requests("api_key_ids=key_other").await,
        0,
        "another account's key"
    );
    assert_eq!(requests("batch=false&group_by=day,key").await, 4);
}

#[tokio::test]
async fn costs_are_exact_numbers_and_line_items_add_up() {
    let owner = used().await;
    // A digit more than a float keeps.
    let mut large = owner.entry(LARGE, NOW_MS, 40);
    large.cost = Picodollars::new(1_234_567_890_123_456_789);
    owner.book(&[large]).await;
    let day = NOW_S / 86_400 * 86_400;
    let plain = owner
        .get(&format!("/v1/organization/costs?start_time={day}"))
        .await;
    insta::assert_snapshot!(plain.text, @r#"{"object":"page","data":[{"object":"bucket","start_time":1793491200,"end_time":1793534401,"results":[{"object":"organization.costs.result","amount":{"value":1234567.890153456789,"currency":"usd","picodollars":"1234567890153456789"},"line_item":null,"quantity":null,"quantity_unit":null,"project_id":null,"user_id":null,"api_key_id":null,"model":null}]}],"has_more":false,"next_page":null}"#);

    let items = owner
        .get(&format!(
            "/v1/organization/costs?start_time={}&end_time={day}&limit=180&group_by[]=line_item",
            day - 2 * 86_400
        ))
        .await;
    insta::assert_snapshot!(items.shown(), @r#"
    200
    {
      "data": [
        {
          "end_time": 1793404800,
          "object": "bucket",
          "results": [
            {
              "amount": {
                "currency": "usd",
                "picodollars": "800000",
                "value": 8e-7
              },
              "api_key_id": null,
              "line_item": "org/large, cached_input_tokens",
              "model": null,
              "object": "organization.costs.result",
              "project_id": null,
              "quantity": 40,
              "quantity_unit": "tokens",
              "user_id": null
            },
            {
              "amount": {
                "currency": "usd",
                "picodollars": "6000000",
                "value": 6e-6
              },
              "api_key_id": null,
              "line_item": "org/large, input_tokens",
              "model": null,
              "object": "organization.costs.result",
              "project_id": null,
              "quantity": 60,
              "quantity_unit": "tokens",
              "user_id": null
            },
            {
              "amount": {
                "currency": "usd",
                "picodollars": "3200000",
                "value": 3.2e-6
              },
              "api_key_id": null,
              "line_item": "org/large, output_tokens",
              "model": null,
              "object": "organization.costs.result",
              "project_id": null,
              "quantity": 10,
              "quantity_unit": "tokens",
              "user_id": null
            }
          ],
          "start_time": 1793318400
        },
        {
          "end_time": 1793491200,
          "object": "bucket",
          "results": [
            {
              "amount": {
                "currency": "usd",
                "picodollars": "70000",
                "value": 7e-8
              },
              "api_key_id": null,
              "line_item": "org/embedding, input_tokens",
              "model": null,
              "object": "organization.costs.result",
              "project_id": null,
              "quantity": 7,
              "quantity_unit": "tokens",
              "user_id": null
            }
          ],
          "start_time": 1793404800
        }
      ],
      "has_more": false,
      "next_page": null,
      "object": "page"
    }
    "#);
}

#[tokio::test]
async fn a_spreadsheet_gets_the_same_rows() {
    let owner = used().await;
    let since = NOW_S - 3 * 86_400;
    let usage = owner
        .get(&format!(
            "/v1/organization/usage/completions?start_time={since}&group_by=model&format=csv"
        ))
        .await;
    assert_eq!(usage.headers["content-type"], "text/csv; charset=utf-8");
    insta::assert_snapshot!(usage.text.replace("\r\n", "\n"), @"
    start,end,model,api_key_id,num_model_requests,input_tokens,input_cached_tokens,output_tokens,output_reasoning_tokens,cost_picodollars,cost_usd
    2026-10-30T00:00:00Z,2026-10-31T00:00:00Z,org/large,,1,100,40,10,4,10000000,0.00001
    2026-11-01T00:00:00Z,2026-11-01T12:00:01Z,org/large,,3,300,120,30,12,30000000,0.00003
    ");
    let costs = owner
        .get(&format!(
            "/v1/organization/costs?start_time={since}&group_by=line_item&format=csv&limit=3"
        ))
        .await;
    assert_eq!(
        costs.headers["x-farebox-next-page"],
        format!("page_{}_{}", NOW_S / 86_400 * 86_400, NOW_S + 1)
    );
    insta::assert_snapshot!(costs.text.replace("\r\n", "\n"), @r#"
    start,end,line_item,model,api_key_id,quantity,cost_picodollars,cost_usd
    2026-10-30T00:00:00Z,2026-10-31T00:00:00Z,"org/large, cached_input_tokens",,,40,800000,0.0000008
    2026-10-30T00:00:00Z,2026-10-31T00:00:00Z,"org/large, input_tokens",,,60,6000000,0.000006
    2026-10-30T00:00:00Z,2026-10-31T00:00:00Z,"org/large, output_tokens",,,10,3200000,0.0000032
    2026-10-31T00:00:00Z,2026-11-01T00:00:00Z,"org/embedding, input_tokens",,,7,70000,0.00000007
    "#);
}

#[tokio::test]
async fn what_does_not_hold_is_said() {
    let owner = Owner::named("Acme").await;
    let mut told = Vec::new();
    for (path, query) in [
        ("usage/completions", ""),
        ("usage/completions", "start_time=soon"),
        ("usage/completions", "start_time=5&end_time=5"),
        ("usage/completions", "start_time=99999999999"),
        ("usage/completions", "start_time=1&bucket_width=1w"),
        ("usage/completions", "start_time=1&limit=32"),
        ("usage/completions", "start_time=1&bucket_width=1h&limit=169"),
        ("usage/completions", "start_time=1&bucket_width=1m&limit=1441"),
        ("costs", "start_time=1&limit=181"),
        ("usage/completions", "start_time=1&group_by=service_tier"),
        ("usage/completions", "start_time=1&group_by=line_item"),
        ("costs", "start_time=1&bucket_width=1h&group_by=day"),
        ("costs", "start_time=1&line_items=x"),
        ("usage/completions", "start_time=1&batch=true"),
        ("usage/completions", "start_time=1&project_ids[]=p"),
        ("usage/completions", "start_time=1&page=2"),
        ("usage/completions", "start_time=9&end_time=20&page=page_20_20"),
    ] {
        told.push(
            owner
                .get(&format!("/v1/organization/{path}?{query}"))
                .await
                .refusal(),
        );
    }
    insta::assert_snapshot!(told.join("\n"), @"
    400 invalid_request_error [start_time] `start_time`: this is required: seconds since 1970
    400 invalid_request_error [start_time] `start_time`: write a whole number from 0 to 253402300799
    400 invalid_request_error [start_time] `start_time`: this is not before the end
    400 invalid_request_error [start_time] `start_time`: this is not before the end
    400 invalid_request_error [bucket_width] `bucket_width`: write 1m, 1h or 1d
    400 invalid_request_error [limit] `limit`: write a whole number from 1 to 31
    400 invalid_request_error [limit] `limit`: write a whole number from 1 to 168
    400 invalid_request_error [limit] `limit`: write a whole number from 1 to 1440
    400 invalid_request_error [limit] `limit`: write a whole number from 1 to 180
    400 invalid_request_error [group_by] `group_by`: write some of model, api_key_id, project_id, user_id, batch, day
    400 invalid_request_error [group_by] `group_by`: write some of model, api_key_id, project_id, user_id, batch, day
    400 invalid_request_error [group_by] `group_by`: by day goes with a bucket_width of 1d
    400 invalid_request_error [line_items] `line_items`: group by line_item to choose among them
    400 invalid_request_error [batch] `batch`: there are no batch jobs here; leave it out
    400 invalid_request_error [project_ids] unknown parameter `project_ids`; this route takes start_time, end_time, bucket_width, group_by, models, api_key_ids, batch, limit, page, format
    400 invalid_request_error [page] `page`: write the `next_page` of the page before
    400 invalid_request_error [page] `page`: this is a page of another query
    ");
}
