//! What each receiver is told, to the byte, and how its answers are read.

use super::receiver::{Request, StandIn};
use super::{Bench, adjustment, settings};
use crate::ledger::samples;
use farebox::config::ExportFormat::{self, CloudEvents, Lago, Stripe};
use farebox::ledger::{ExportQueue, Ledger};
use farebox_domain::ledger::AdjustmentKind;

/// One entry, one refund and one credit, as this receiver was told of them.
async fn told(format: ExportFormat) -> Vec<Request> {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path()).await;
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
    insta::assert_snapshot!(shown(&told(CloudEvents).await), @"");
}

#[tokio::test]
async fn lago() {
    insta::assert_snapshot!(shown(&told(Lago).await), @"");
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
    insta::assert_snapshot!(bodies.join("\n"), @"");
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
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::open(folder.path()).await;
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
        assert_eq!(told.len(), if format == Lago { 4 } else { 16 }, "{told:?}");
        delivering.stop().await;
    }
}

#[tokio::test]
async fn an_account_that_stripe_does_not_know_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path()).await;
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
