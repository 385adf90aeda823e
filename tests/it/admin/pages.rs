//! Long lists, a page at a time: each row once though rows are made meanwhile, what a search finds, and bounds.

use super::harness::{Gateway, NOW_MS};
use farebox::admission::directory::hash_secret;
use farebox::store::KeyRow;
use farebox_domain::ids::AccountId;
use serde_json::{Value, json};

const LISTS: [&str; 5] = [
    "/admin/v1/accounts",
    "/admin/v1/keys",
    "/admin/v1/limit-requests",
    "/admin/v1/audit",
    "/admin/v1/accounts/Bank/adjustments",
];

/// With an account of which rows are booked.
async fn start() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.account("Bank").await;
    gateway
}

async fn page(gateway: &Gateway, path: &str, params: &str) -> Value {
    let answer = gateway.get(&format!("{path}?{params}")).await;
    assert_eq!(answer.status, 200, "{path} {params}: {}", answer.text);
    answer.json()
}

/// The ids of a page; a change has a number.
fn ids(page: &Value) -> Vec<String> {
    let id = |row: &Value| {
        row["id"]
            .as_str()
            .map_or(row["number"].to_string(), str::to_owned)
    };
    page["data"].as_array().unwrap().iter().map(id).collect()
}

fn names(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap()).collect()
}

/// One more account, with a key that asks for more, and one more credit: a row in each of the lists.
async fn one_more(gateway: &Gateway, name: &str) {
    let account = gateway.account(name).await;
    let (_, secret) = gateway.key(&account).await;
    let ask = json!({ "rate_limit": 300, "reason": format!("{name} grows") }).to_string();
    let asked = gateway
        .ask_as(&secret, "POST", "/v1/me/rate_limit/request", &ask)
        .await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    let credit = json!({ "usd": "1", "reference": name, "note": "paid" }).to_string();
    let booked = gateway
        .ask("POST", "/admin/v1/accounts/Bank/credit", &credit)
        .await;
    assert_eq!(booked.status, 200, "{}", booked.text);
}

/// Whether the clock goes on or not, as rows of one moment have an order, too.
#[tokio::test]
async fn a_list_is_gone_through_once_though_rows_are_made_meanwhile() {
    for step_ms in [0, 1000] {
        let gateway = start().await;
        let mut at_ms = NOW_MS;
        for number in 0..7 {
            at_ms += step_ms;
            gateway.clock.set_unix_ms(at_ms);
            one_more(&gateway, &format!("Acme {number}")).await;
        }
        for (turn, path) in LISTS.into_iter().enumerate() {
            let before = ids(&page(&gateway, path, "limit=1000").await);
            let (mut seen, mut after) = (Vec::new(), String::new());
            // Some end, if the list has none.
            for number in 0..50 {
                let now = page(&gateway, path, &format!("limit=3&after={after}")).await;
                assert!(ids(&now).len() <= 3, "{path}");
                seen.extend(ids(&now));
                assert_eq!(now["has_more"], json!(now["next"].is_string()), "{now}");
                let Some(next) = now["next"].as_str() else { break };
                after = next.to_owned();
                at_ms += step_ms;
                gateway.clock.set_unix_ms(at_ms);
                one_more(&gateway, &format!("late {turn} {number}")).await;
            }
            // In their order. What is made in the same moment may stand anywhere.
            let meant: Vec<_> = seen.iter().filter(|id| before.contains(id)).collect();
            assert_eq!(meant, before.iter().collect::<Vec<_>>(), "{path}");
            assert!(step_ms == 0 || seen == before, "{path} shows what is newer");
        }
    }
}

#[tokio::test]
async fn the_newest_come_first() {
    let gateway = Gateway::start().await;
    for (number, name) in (0..).zip(["first", "second", "third"]) {
        gateway.clock.set_unix_ms(NOW_MS + number);
        gateway.account(name).await;
    }
    let accounts = page(&gateway, "/admin/v1/accounts", "limit=2").await;
    assert_eq!(names(&accounts), ["third", "second"]);
    assert_eq!(accounts["next"], accounts["data"][1]["id"]);
}

async fn named_key(gateway: &Gateway, account: &str, name: &str) -> String {
    let body = json!({ "account": account, "name": name }).to_string();
    gateway.ask("POST", "/admin/v1/keys", &body).await.field("id")
}

#[tokio::test]
async fn a_search_finds_by_name_and_id_whatever_the_case() {
    let gateway = start().await;
    let acme = gateway.account("Acme GmbH").await;
    let zoe = gateway.account("ZOË").await;
    let ci = named_key(&gateway, &acme, "CI runner").await;
    named_key(&gateway, &zoe, "laptop").await;
    for (search, found) in [
        ("runner", vec!["CI runner"]),
        ("ci%20RUN", vec!["CI runner"]),
        (&ci[4..].to_uppercase(), vec!["CI runner"]),
        ("gmbh", vec!["CI runner"]),
        (&acme, vec!["CI runner"]),
        ("zo%C3%AB", vec!["laptop"]),
        ("nothing", vec![]),
    ] {
        let keys = page(&gateway, "/admin/v1/keys", &format!("search={search}")).await;
        assert_eq!(names(&keys), found, "{search}");
    }
    for (search, found) in [
        ("acme", vec!["Acme GmbH"]),
        ("zo%C3%AB", vec!["ZOË"]),
        (&acme[5..], vec!["Acme GmbH"]),
        ("runner", vec![]),
    ] {
        let accounts = page(&gateway, "/admin/v1/accounts", &format!("search={search}")).await;
        assert_eq!(names(&accounts), found, "{search}");
    }
    one_more(&gateway, "Initech").await;
    one_more(&gateway, "Hooli").await;
    let asked = page(&gateway, "/admin/v1/limit-requests", "search=initech").await;
    assert_eq!(asked["data"][0]["account_name"], "Initech");
    assert_eq!(ids(&asked).len(), 1);
    let booked = page(&gateway, LISTS[4], "search=HOOL").await;
    assert_eq!(booked["data"][0]["reference"], "Hooli");
    assert_eq!(ids(&booked).len(), 1);
}

#[tokio::test]
async fn keys_are_listed_by_status_and_account() {
    let gateway = Gateway::start().await;
    let (acme, other) = (gateway.account("Acme").await, gateway.account("Other").await);
    let revoked = named_key(&gateway, &acme, "old").await;
    named_key(&gateway, &acme, "new").await;
    named_key(&gateway, &other, "other").await;
    gateway
        .ask("DELETE", &format!("/admin/v1/keys/{revoked}"), "")
        .await;
    for (params, found) in [
        ("status=active&account=Acme", vec!["new"]),
        ("status=revoked", vec!["old"]),
        ("status=expired", vec![]),
        ("account=Other", vec!["other"]),
        ("account=Other&search=new", vec![]),
    ] {
        let keys = page(&gateway, "/admin/v1/keys", params).await;
        assert_eq!(names(&keys), found, "{params}");
    }
}

/// More keys than are read at once: those that are found stand in the first batch and in the last.
#[tokio::test]
async fn a_search_goes_through_the_whole_list() {
    let gateway = Gateway::start().await;
    let acme = AccountId::from(gateway.account("Acme").await);
    for number in 0..2500_u64 {
        let name = if [3, 2490].contains(&number) {
            "needle"
        } else {
            "hay"
        };
        let (id, hash) = (format!("key_{number:016x}"), hash_secret(&number.to_string()));
        let row = KeyRow::new(id.as_str().into(), acme.clone(), name.into(), hash, number);
        gateway.app.directory.add_key(row).unwrap();
    }
    let first = page(&gateway, "/admin/v1/keys", "search=needle&limit=1").await;
    assert_eq!(ids(&first), [format!("key_{:016x}", 2490)]);
    let next = first["next"].as_str().unwrap();
    let last = page(
        &gateway,
        "/admin/v1/keys",
        &format!("search=needle&limit=1&after={next}"),
    )
    .await;
    assert_eq!(ids(&last), [format!("key_{:016x}", 3)]);
    assert_eq!((&last["has_more"], &last["next"]), (&json!(false), &Value::Null));
    let longest = page(&gateway, "/admin/v1/keys", "limit=1000").await;
    assert_eq!((ids(&longest).len(), &longest["has_more"]), (1000, &json!(true)));
}

#[tokio::test]
async fn what_is_no_page_is_refused() {
    let gateway = start().await;
    for path in LISTS {
        for limit in ["0", "1001", "-1", "many", "1.5"] {
            let answer = gateway.get(&format!("{path}?limit={limit}")).await;
            assert_eq!(
                answer.refusal(),
                "400 invalid_request_error [limit] `limit`: write a whole number from 1 to 1000",
                "{path} {limit}"
            );
        }
        let answer = gateway.get(&format!("{path}?after=nowhere")).await;
        assert_eq!(
            answer.refusal(),
            "400 invalid_request_error [after] `after`: give what the page before says as `next`",
            "{path}"
        );
    }
    let answer = gateway.get("/admin/v1/keys?status=open").await;
    assert_eq!(
        answer.refusal(),
        "400 invalid_request_error [status] `status`: write active, expired or revoked"
    );
}

#[tokio::test]
async fn an_owner_pages_through_the_keys_of_the_account_and_of_no_other() {
    let gateway = Gateway::start().await;
    let (acme, other) = (gateway.account("Acme").await, gateway.account("Other").await);
    let foreign = named_key(&gateway, &other, "foreign").await;
    let body = json!({ "account": acme, "name": "owner", "scopes": ["dashboard"] }).to_string();
    let secret = gateway.ask("POST", "/admin/v1/keys", &body).await.field("secret");
    for number in 0..4 {
        gateway.clock.set_unix_ms(NOW_MS + 1 + number);
        named_key(&gateway, &acme, &format!("key {number}")).await;
    }
    let mine = async |params: &str| {
        let path = format!("/v1/me/keys?{params}");
        gateway.ask_as(&secret, "GET", &path, "").await
    };
    let first = mine("limit=2").await.json();
    assert_eq!(names(&first), ["key 3", "key 2"]);
    let next = first["next"].as_str().unwrap();
    let rest = mine(&format!("after={next}")).await.json();
    assert_eq!(names(&rest), ["key 1", "key 0", "owner"]);
    assert_eq!(rest["has_more"], false);
    assert_eq!(names(&mine("search=KEY%201").await.json()), ["key 1"]);
    assert_eq!(names(&mine("search=foreign").await.json()), Vec::<&str>::new());
    for (params, field) in [
        ("limit=0".to_owned(), "limit"),
        (format!("after={foreign}"), "after"),
        ("account=Other".to_owned(), "account"),
    ] {
        let refused = mine(&params).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["error"]["param"]),
            (400, &json!(field))
        );
    }
}

#[tokio::test]
async fn usage_with_a_limit_is_the_dearest_of_all_that_was_used() {
    let gateway = Gateway::start().await;
    for (number, name) in (1..).zip(["a", "b", "c"]) {
        let account = gateway.account(name).await;
        let (key, _) = gateway.key(&account).await;
        gateway
            .book(&account, &key, NOW_MS + u64::from(number), 0..number)
            .await;
    }
    let all = page(&gateway, "/admin/v1/usage", "group_by=account").await;
    let dearest = page(&gateway, "/admin/v1/usage", "group_by=account&limit=2").await;
    let accounts = dearest["data"].as_array().unwrap().iter();
    let accounts: Vec<_> = accounts
        .map(|row| row["account_name"].as_str().unwrap())
        .collect();
    assert_eq!(accounts, ["c", "b"]);
    assert_eq!(dearest["total"], all["total"]);
}

#[tokio::test]
async fn defaults_and_a_keys_month_are_told() {
    let gateway = Gateway::start().await;
    insta::assert_snapshot!(gateway.get("/admin/v1/defaults").await.shown(), @r#"
    200
    {
      "concurrent_requests": 200,
      "requests_per_minute": null,
      "tokens_per_minute": null
    }
    "#);
    let acme = gateway.account("Acme").await;
    let (key, _) = gateway.key(&acme).await;
    let path = format!("/admin/v1/keys/{key}/spending");
    assert_eq!(gateway.get(&path).await.json()["month"]["limit"], Value::Null);
    let set = gateway.ask("PUT", &path, r#"{"monthly_usd":"5"}"#).await;
    let shown = gateway.get(&path).await;
    assert_eq!((shown.status.as_u16(), &shown.text), (200, &set.text));
    assert_eq!(shown.json()["month"]["limit"]["usd"], "5");
}
