//! What each receiver is told, to the byte, and how its answers are read.

use super::receiver::{Request, StandIn};
use super::{Bench, adjustment, settings};
use crate::ledger::samples;
use crate::place::Place;
use farebox::config::ExportFormat::{self, CloudEvents, Lago, Stripe};
use farebox_domain::ledger::AdjustmentKind;

/// One entry, one refund and one credit, as this receiver was told of them.
async fn told(format: ExportFormat) -> Vec<Request> {
    let place = Place::sqlite();
    let bench = Bench::open(&place).await;
    bench.ledger.switch_on().await.unwrap();
    bench.book(8..9).await;
    let money = [
        adjustment(8, AdjustmentKind::Refund),
        adjustment(9, AdjustmentKind::Credit),
    ];
    bench.ledger.adjust(&money).await.unwrap();
    let receiver = StandIn::start([]).await;
    let mut settings = settings(&receiver, format);
    settings.customers = [("acct_a".to_owned(), "cus_1".to_owned())].into();
    let delivering = bench.deliver(&settings);
    bench.until_delivered().await;
    assert_eq!(bench.counts().await.refused, 0);
    delivering.stop().await;
    let mut taken = receiver.taken();
    taken.sort_by_key(|request| request.body.clone());
    taken
}

fn shown(requests: &[Request]) -> String {
    let json: serde_json::Value = serde_json::from_str(&requests[0].body).unwrap();
    serde_json::to_string_pretty(&json).unwrap()
}

#[tokio::test]
async fn cloudevents() {
    insta::assert_snapshot!(shown(&told(CloudEvents).await), @r#"
    [
      {
        "data": {
          "account": "acct_a",
          "cached_tokens": 8,
          "completion_tokens": 18,
          "cost_picodollars": "15220000",
          "cost_usd": "0.00001522",
          "endpoint": "chat_completions",
          "key": "key_2",
          "model": "test/model-1",
          "price_version": 1,
          "prompt_tokens": 101,
          "reasoning_tokens": 3,
          "service_tier": "default",
          "state": "completed",
          "usage_source": "engine"
        },
        "datacontenttype": "application/json",
        "id": "req_019ab697e80000000000000000000008",
        "source": "farebox-test",
        "specversion": "1.0",
        "subject": "cus_1",
        "time": "2025-11-24T16:00:00.098Z",
        "type": "com.farebox.request.settled"
      },
      {
        "data": {
          "account": "acct_a",
          "amount_picodollars": "9000000",
          "amount_usd": "0.000009",
          "kind": "refund",
          "reference": "reference-8",
          "request": "req_019ab697e80000000000000000000008"
        },
        "datacontenttype": "application/json",
        "id": "adj_019ab697e8000000000000000000ff08",
        "source": "farebox-test",
        "specversion": "1.0",
        "subject": "cus_1",
        "time": "2025-11-24T16:00:00.008Z",
        "type": "com.farebox.balance.adjusted"
      },
      {
        "data": {
          "account": "acct_a",
          "amount_picodollars": "10000000",
          "amount_usd": "0.00001",
          "kind": "credit",
          "reference": "reference-9"
        },
        "datacontenttype": "application/json",
        "id": "adj_019ab697e8000000000000000000ff09",
        "source": "farebox-test",
        "specversion": "1.0",
        "subject": "cus_1",
        "time": "2025-11-24T16:00:00.009Z",
        "type": "com.farebox.balance.adjusted"
      }
    ]
    "#);
}

#[tokio::test]
async fn lago() {
    insta::assert_snapshot!(shown(&told(Lago).await), @r#"
    {
      "events": [
        {
          "code": "farebox_request",
          "external_subscription_id": "cus_1",
          "properties": {
            "account": "acct_a",
            "cached_tokens": 8,
            "completion_tokens": 18,
            "cost_picodollars": "15220000",
            "cost_usd": "0.00001522",
            "endpoint": "chat_completions",
            "key": "key_2",
            "model": "test/model-1",
            "price_version": 1,
            "prompt_tokens": 101,
            "reasoning_tokens": 3,
            "service_tier": "default",
            "state": "completed",
            "usage_source": "engine"
          },
          "timestamp": 1764000000,
          "transaction_id": "req_019ab697e80000000000000000000008"
        },
        {
          "code": "farebox_adjustment",
          "external_subscription_id": "cus_1",
          "properties": {
            "account": "acct_a",
            "amount_picodollars": "9000000",
            "amount_usd": "0.000009",
            "kind": "refund",
            "reference": "reference-8",
            "request": "req_019ab697e80000000000000000000008"
          },
          "timestamp": 1764000000,
          "transaction_id": "adj_019ab697e8000000000000000000ff08"
        },
        {
          "code": "farebox_adjustment",
          "external_subscription_id": "cus_1",
          "properties": {
            "account": "acct_a",
            "amount_picodollars": "10000000",
            "amount_usd": "0.00001",
            "kind": "credit",
            "reference": "reference-9"
          },
          "timestamp": 1764000000,
          "transaction_id": "adj_019ab697e8000000000000000000ff09"
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn stripe() {
    let told = told(Stripe).await;
    let bodies: Vec<_> = told
        .iter()
        .map(|request| {
            let fields = url::form_urlencoded::parse(request.body.as_bytes());
            let fields: Vec<_> = fields.map(|(key, value)| format!("{key}={value}")).collect();
            fields.join(" ")
        })
        .collect();
    insta::assert_snapshot!(bodies.join("\n"), @"
    event_name=farebox_cached_input_tokens identifier=req_019ab697e80000000000000000000008:cached_input_tokens timestamp=1764000000 payload[stripe_customer_id]=cus_1 payload[value]=8
    event_name=farebox_cost_picodollars identifier=adj_019ab697e8000000000000000000ff08:cost_picodollars timestamp=1764000000 payload[stripe_customer_id]=cus_1 payload[value]=-9000000
    event_name=farebox_cost_picodollars identifier=req_019ab697e80000000000000000000008:cost_picodollars timestamp=1764000000 payload[stripe_customer_id]=cus_1 payload[value]=15220000
    event_name=farebox_input_tokens identifier=req_019ab697e80000000000000000000008:input_tokens timestamp=1764000000 payload[stripe_customer_id]=cus_1 payload[value]=93
    event_name=farebox_output_tokens identifier=req_019ab697e80000000000000000000008:output_tokens timestamp=1764000000 payload[stripe_customer_id]=cus_1 payload[value]=18
    ");
}

#[tokio::test]
async fn nothing_that_a_client_or_an_operator_wrote_for_itself_leaves() {
    for format in ExportFormat::ALL {
        for request in told(format).await {
            for word in ["client-8", "vllm-a", "between us", "queue_us", "http://"] {
                assert!(!request.body.contains(word), "{word} in {}", request.body);
            }
        }
    }
}

#[tokio::test]
async fn a_repetition_that_lago_or_stripe_refuses_is_delivered() {
    let lago = r#"{"status":422,"code":"validation_errors","error_details":{"0":{"transaction_id":["value_already_exist"]}}}"#;
    let stripe = r#"{"error":{"message":"An event already exists with identifier req_x.","type":"invalid_request_error"}}"#;
    for (format, status, saying) in [(Lago, 422, lago), (Stripe, 400, stripe)] {
        let place = Place::sqlite();
        let bench = Bench::open(&place).await;
        bench.ledger.switch_on().await.unwrap();
        bench.book(0..5).await;
        let receiver = StandIn::start([]).await;
        receiver.refuse(samples::id(2).to_string(), status, saying);
        let mut settings = settings(&receiver, format);
        settings.customers = [("acct_a".to_owned(), "cus_1".to_owned())].into();
        let delivering = bench.deliver(&settings);
        bench.until_delivered().await;
        assert_eq!(bench.counts().await.refused, 0, "{format:?}");
        let told = receiver.taken_ids();
        assert!(told.iter().all(|id| !id.contains(&samples::id(2).to_string())));
        // Sample 0 has no cached tokens, and so three meters in place of four.
        assert_eq!(told.len(), if format == Lago { 4 } else { 15 }, "{told:?}");
        delivering.stop().await;
    }
}

#[tokio::test]
async fn an_account_that_stripe_does_not_know_is_set_aside() {
    let place = Place::sqlite();
    let bench = Bench::open(&place).await;
    bench.ledger.switch_on().await.unwrap();
    bench.book(0..2).await;
    let receiver = StandIn::start([]).await;
    let mut settings = settings(&receiver, Stripe);
    settings.customers = [("acct_b".to_owned(), "cus_2".to_owned())].into();
    let delivering = bench.deliver(&settings);
    bench.until_delivered().await;
    let counts = bench.counts().await;
    assert_eq!((counts.refused, receiver.requests()), (2, 0));
    assert_eq!(
        counts.first_refused[0].1.reason,
        "`export.customers` has no customer for the account acct_a"
    );
    delivering.stop().await;
}
