//! Usage and the ledger's check.

use super::harness::{Gateway, NOW_MS};
use axum::http::StatusCode;
use sqlx::ConnectOptions;
use sqlx::Executor;
use sqlx::sqlite::SqliteConnectOptions;

const DAY_MS: u64 = 86_400_000;

/// Two accounts, one of them with a name that a spreadsheet would run; three days.
async fn billed() -> Gateway {
    let gateway = Gateway::start().await;
    for (name, days_ago, numbers) in [
        ("Acme", 0, 0..2),
        ("Acme", 2, 2..3),
        ("=cmd|' /C calc'!A0", 1, 3..7),
    ] {
        let known = gateway
            .app
            .directory
            .account_named(name)
            .map(|account| account.id.to_string());
        let account = match known {
            Some(id) => id,
            None => gateway.account(name).await,
        };
        let (key, _) = gateway.key(&account).await;
        gateway
            .book(&account, &key, NOW_MS - days_ago * DAY_MS, numbers)
            .await;
    }
    gateway
}

#[tokio::test]
async fn usage_is_summed_by_what_is_asked_for() {
    let gateway = billed().await;
    insta::assert_snapshot!(gateway.get("/admin/v1/usage?since=36h").await.shown(), @r#"
    200
    {
      "data": [
        {
          "account": "acct_0520c364b5c74705",
          "account_name": "=cmd|' /C calc'!A0",
          "cached_tokens": 160,
          "completion_tokens": 40,
          "cost": {
            "picodollars": "40000000",
            "usd": "0.00004"
          },
          "model": "org/large",
          "prompt_tokens": 400,
          "reasoning_tokens": 16,
          "requests": 4
        },
        {
          "account": "acct_befba86ae9e0c207",
          "account_name": "Acme",
          "cached_tokens": 80,
          "completion_tokens": 20,
          "cost": {
            "picodollars": "20000000",
            "usd": "0.00002"
          },
          "model": "org/large",
          "prompt_tokens": 200,
          "reasoning_tokens": 8,
          "requests": 2
        }
      ],
      "group_by": [
        "account",
        "model"
      ],
      "since": "2026-10-31T00:00:00Z",
      "total": {
        "cached_tokens": 240,
        "completion_tokens": 60,
        "cost": {
          "picodollars": "60000000",
          "usd": "0.00006"
        },
        "prompt_tokens": 600,
        "reasoning_tokens": 24,
        "requests": 6
      },
      "until": null
    }
    "#);
    let by_day = gateway
        .get("/admin/v1/usage?group_by=day,key&until=2026-11-01&account=Acme")
        .await;
    insta::assert_snapshot!(by_day.shown(), @r#"
    200
    {
      "data": [
        {
          "cached_tokens": 40,
          "completion_tokens": 10,
          "cost": {
            "picodollars": "10000000",
            "usd": "0.00001"
          },
          "day": "2026-10-30",
          "key": "key_d2367f800c648da3",
          "key_name": "laptop",
          "prompt_tokens": 100,
          "reasoning_tokens": 4,
          "requests": 1
        }
      ],
      "group_by": [
        "day",
        "key"
      ],
      "since": null,
      "total": {
        "cached_tokens": 40,
        "completion_tokens": 10,
        "cost": {
          "picodollars": "10000000",
          "usd": "0.00001"
        },
        "prompt_tokens": 100,
        "reasoning_tokens": 4,
        "requests": 1
      },
      "until": "2026-11-01T00:00:00Z"
    }
    "#);
    let none = gateway.get("/admin/v1/usage?since=2026-11-02").await;
    assert_eq!(none.json()["data"], serde_json::json!([]));
    assert_eq!(none.json()["total"]["cost"]["usd"], "0");
}

#[tokio::test]
async fn a_spreadsheet_gets_cells_that_it_does_not_run() {
    let gateway = billed().await;
    let csv = gateway
        .get("/admin/v1/usage?format=csv&group_by=account,model,key,day")
        .await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    insta::assert_snapshot!(csv.shown().replace("\r\n", "\n"), @"
    200
    account,account_name,model,key,key_name,day,requests,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,cost_usd,cost_picodollars
    acct_0520c364b5c74705,'=cmd|' /C calc'!A0,org/large,key_bdf0aa633b3aa0e3,laptop,2026-10-31,4,400,160,40,16,0.00004,40000000
    acct_befba86ae9e0c207,Acme,org/large,key_d2367f800c648da3,laptop,2026-10-30,1,100,40,10,4,0.00001,10000000
    acct_befba86ae9e0c207,Acme,org/large,key_e06bb0bc4f577df3,laptop,2026-11-01,2,200,80,20,8,0.00002,20000000
    ");
}

#[tokio::test]
async fn the_check_says_what_does_not_add_up() {
    let gateway = billed().await;
    let holds = gateway.ask("POST", "/admin/v1/ledger/verify", "").await;
    insta::assert_snapshot!(holds.shown(), @r#"
    200
    {
      "cost": {
        "picodollars": "70000000",
        "usd": "0.00007"
      },
      "discrepancies": [],
      "discrepancies_total": 0,
      "entries": 7,
      "ok": true,
      "states": {
        "cancelled": 0,
        "capped": 0,
        "completed": 7,
        "failed": 0,
        "interrupted": 0
      },
      "usage_sources": {
        "deltas": 0,
        "engine": 7,
        "engine_continuous": 0,
        "engine_corrected": 0,
        "engine_partial": 0,
        "none": 0,
        "tokenizer": 0
      }
    }
    "#);

    let mut raw = SqliteConnectOptions::new()
        .filename(gateway.database())
        .connect()
        .await
        .unwrap();
    raw.execute("DROP TRIGGER entries_are_not_updated").await.unwrap();
    raw.execute("UPDATE entries SET cost_picodollars = 1 WHERE id = (SELECT min(id) FROM entries)")
        .await
        .unwrap();
    let broken = gateway.ask("POST", "/admin/v1/ledger/verify", "").await;
    assert_eq!(
        broken.status,
        StatusCode::OK,
        "that it does not hold is an answer"
    );
    assert_eq!(broken.json()["ok"], false);
    insta::assert_snapshot!(serde_json::to_string_pretty(&broken.json()["discrepancies"]).unwrap(), @r#"
    [
      {
        "booked": "0.000000000001 USD",
        "expected": "0.00001 USD",
        "kind": "cost",
        "subject": "req_01a18cae5e0000000000000000000002"
      },
      {
        "booked": "0.00001 USD, 100 + 10 tokens in 1 entries",
        "expected": "0.000000000001 USD, 100 + 10 tokens in 1 entries",
        "kind": "rollup",
        "subject": "acct_befba86ae9e0c207 2026-10-30T12:00:00Z key_d2367f800c648da3 org/large"
      }
    ]
    "#);
}
