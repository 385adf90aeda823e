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
    insta::assert_snapshot!(page.shown(), @"");
    let csv = owner.get("/v1/me/entries?format=csv").await;
    insta::assert_snapshot!(csv.shown().replace("\r\n", "\n"), @"");
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
    insta::assert_snapshot!(told.join("\n"), @"");
}
