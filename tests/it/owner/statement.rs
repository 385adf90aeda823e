//! Statements: the same month as JSON, CSV and a page, whose parts add up to the picodollar in each.

use super::{EMBEDDING, HOUR_MS, LARGE, Owner};
use crate::admin::harness::NOW_MS;
use farebox_domain::ledger::{AdjustmentKind, Endpoint, EntryState};
use farebox_domain::money::Picodollars;
use farebox_domain::month::Month;
use farebox_domain::price::PriceVersion;
use farebox_domain::tokens::Usage;
use serde_json::Value;

const NASTY: &str = "<script>alert('x')</script> & \"Söhne\"";

fn starts(month: &str) -> u64 {
    Month::parse(month).unwrap().starts_at_ms()
}

/// October and November of an account whose name is no name for HTML: two price versions, failed requests, entries that
/// tokens alone do not explain, and adjustments of each kind.
async fn billed() -> Owner {
    let owner = Owner::named(NASTY).await;
    let (october, november) = (starts("2026-10"), starts("2026-11"));
    let (second, price) = owner
        .price(LARGE, [123_457, 20_001, 320_003], Some(november))
        .await;
    let mut entries = vec![
        owner.entry(LARGE, october - 1, 1),
        owner.entry(LARGE, october, 2),
        owner.entry(LARGE, november - 1, 3),
        owner.entry(EMBEDDING, november, 4),
        owner.entry(LARGE, november + HOUR_MS, 5),
    ];
    for number in 6..9 {
        let mut entry = owner.entry(LARGE, NOW_MS - u64::from(number), number);
        entry.price_version = second;
        entry.cost = entry.cost_at(&price).unwrap();
        entries.push(entry);
    }
    let mut failed = owner.entry(LARGE, NOW_MS - 20, 20);
    (failed.state, failed.usage, failed.cost) = (EntryState::Failed, Usage::default(), Picodollars::ZERO);
    let mut unexplained = owner.entry(LARGE, NOW_MS - 21, 21);
    (unexplained.endpoint, unexplained.cost) = (Endpoint::Completions, Picodollars::new(777));
    let mut unknown_price = owner.entry(LARGE, NOW_MS - 22, 22);
    (unknown_price.price_version, unknown_price.cost) = (PriceVersion(77), Picodollars::new(5));
    entries.extend([failed, unexplained, unknown_price]);
    owner.book(&entries).await;

    let mut correction = owner.adjustment(AdjustmentKind::Correction, -4_321, NOW_MS - 30, 1);
    (correction.request, correction.price_version) = (Some(entries[1].id), Some(second));
    let mut refund = owner.adjustment(AdjustmentKind::Refund, 10_000_000, NOW_MS - 29, 2);
    (refund.request, refund.note) = (Some(entries[4].id), "=1+1, \"sorry\" <b>".into());
    owner
        .adjust(&[
            owner.adjustment(AdjustmentKind::Credit, 20_000_000_000_000, october - 5, 3),
            owner.adjustment(AdjustmentKind::Credit, 1_500_000_000_000, october + 5, 4),
            correction,
            refund,
        ])
        .await;
    owner
}

/// Whole picodollars.
fn digits(value: &Value) -> i128 {
    value["picodollars"].as_str().unwrap().parse().unwrap()
}

/// The sums that a statement is made of, read from one of its forms.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    opening: i128,
    /// Of what was used, one by one.
    items: i128,
    usage: i128,
    /// One by one.
    adjustments: i128,
    adjusted: i128,
    closing: i128,
}

impl Sums {
    fn check(&self) {
        assert_eq!(self.items, self.usage, "{self:?}");
        assert_eq!(self.adjustments, self.adjusted, "{self:?}");
        assert_eq!(
            self.opening - self.usage + self.adjusted,
            self.closing,
            "{self:?}"
        );
    }

    fn of_json(json: &Value) -> Self {
        let lines = json["lines"].as_array().unwrap();
        let items = lines.iter().flat_map(|line| line["items"].as_array().unwrap());
        let by_line: i128 = lines.iter().map(|line| digits(&line["amount"])).sum();
        let sums = Self {
            opening: digits(&json["opening_balance"]),
            items: items
                .filter(|item| !item["amount"].is_null())
                .map(|item| digits(&item["amount"]))
                .sum(),
            usage: digits(&json["usage_total"]),
            adjustments: json["adjustments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|adjustment| digits(&adjustment["amount"]))
                .sum(),
            adjusted: digits(&json["adjustments_total"]),
            closing: digits(&json["closing_balance"]),
        };
        assert_eq!(by_line, sums.usage);
        sums
    }

    fn of_csv(text: &str) -> Self {
        let mut rows = text.lines().map(cells);
        let header = rows.next().unwrap();
        let column = |name: &str| header.iter().position(|column| column == name).unwrap();
        let (row_column, amount, usd) = (column("row"), column("amount_picodollars"), column("amount_usd"));
        let mut sums = Self::default();
        for row in rows.filter(|row| !row[amount].is_empty()) {
            let number: i128 = row[amount].parse().unwrap();
            assert_eq!(from_usd(&row[usd]), number, "both units say the same");
            match row[row_column].as_str() {
                "opening_balance" => sums.opening = number,
                "usage" => sums.items += number,
                "usage_total" => sums.usage = number,
                "adjustment" => sums.adjustments += number,
                "adjustments_total" => sums.adjusted = number,
                "closing_balance" | "balance_so_far" => sums.closing = number,
                other => panic!("{other}"),
            }
        }
        sums
    }

    /// From what a person reads, and from what a program does.
    fn of_html(page: &str) -> Self {
        let mut sums = Self::default();
        let mut lines = 0;
        for data in page.split("<data class=\"").skip(1) {
            let (class, rest) = data.split_once("\" value=\"").unwrap();
            let (value, rest) = rest.split_once("\">").unwrap();
            let (shown, _) = rest.split_once("</data>").unwrap();
            let number: i128 = value.parse().unwrap();
            assert_eq!(
                from_usd(&shown.replace(',', "")),
                number,
                "what is read is what is meant"
            );
            match class {
                "opening" => sums.opening = number,
                "usage" | "usage-total" => sums.usage = number,
                "adjustments" | "adjustments-total" => sums.adjusted = number,
                "closing" => sums.closing = number,
                "line" => lines += number,
                "item" => sums.items += number,
                "adjustment" => sums.adjustments += number,
                other => panic!("{other}"),
            }
        }
        assert_eq!(lines, sums.usage);
        sums
    }
}

/// A decimal in USD as whole picodollars, without a float.
fn from_usd(text: &str) -> i128 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    sign * format!("{whole}{decimals:0<12}").parse::<i128>().unwrap()
}

/// A line of CSV without line breaks in its cells.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            _ => cells.last_mut().unwrap().push(letter),
        }
    }
    cells
}

#[tokio::test]
async fn each_form_adds_up_to_the_picodollar_and_all_say_the_same() {
    let owner = billed().await;
    let mut closed_at = None;
    for month in ["2026-09", "2026-10", "2026-11"] {
        let get = async |format: &str| {
            owner
                .get(&format!("/v1/me/statements/{month}?format={format}"))
                .await
        };
        let json = Sums::of_json(&get("json").await.json());
        json.check();
        assert_eq!(Sums::of_csv(&get("csv").await.text), json, "{month}");
        assert_eq!(Sums::of_html(&get("html").await.text), json, "{month}");
        if let Some(closed_at) = closed_at {
            assert_eq!(
                json.opening, closed_at,
                "a month opens as the one before it closed"
            );
        }
        closed_at = Some(json.closing);
    }
    let balances = owner.gateway.app.ledger.balances().await.unwrap();
    assert_eq!(Some(balances[0].balance().unwrap().get()), closed_at);
}

#[tokio::test]
async fn a_statement_names_each_price_version() {
    let owner = billed().await;
    let csv = owner.get("/v1/me/statements/2026-11?format=csv").await;
    assert_eq!(
        csv.headers["content-disposition"],
        "attachment; filename=\"statement-2026-11.csv\""
    );
    insta::assert_snapshot!(csv.text.replace("\r\n", "\n"), @r#"
    row,month,model,endpoint,price_version,price_holds_since,item,quantity,unit_price_picodollars,unit_price_usd_per_million,amount_picodollars,amount_usd,time,kind,id,request_id,reference,note
    opening_balance,2026-11,,,,,,,,,21499970000000,21.49997,2026-11-01T00:00:00Z,,,,,
    usage,2026-11,org/embedding,embeddings,2,2026-11-01T12:00:00Z,requests,1,,,,,,,,,,
    usage,2026-11,org/embedding,embeddings,2,2026-11-01T12:00:00Z,uncached_prompt_tokens,7,10000,0.01,70000,0.00000007,,,,,,
    usage,2026-11,org/large,chat_completions,1,2026-11-01T12:00:00Z,requests,2,,,,,,,,,,
    usage,2026-11,org/large,chat_completions,1,2026-11-01T12:00:00Z,uncached_prompt_tokens,60,100000,0.1,6000000,0.000006,,,,,,
    usage,2026-11,org/large,chat_completions,1,2026-11-01T12:00:00Z,cached_prompt_tokens,40,20000,0.02,800000,0.0000008,,,,,,
    usage,2026-11,org/large,chat_completions,1,2026-11-01T12:00:00Z,completion_tokens,10,320000,0.32,3200000,0.0000032,,,,,,
    usage,2026-11,org/large,chat_completions,3,2026-11-01T00:00:00Z,requests,3,,,,,,,,,,
    usage,2026-11,org/large,chat_completions,3,2026-11-01T00:00:00Z,uncached_prompt_tokens,180,123457,0.123457,22222260,0.00002222226,,,,,,
    usage,2026-11,org/large,chat_completions,3,2026-11-01T00:00:00Z,cached_prompt_tokens,120,20001,0.020001,2400120,0.00000240012,,,,,,
    usage,2026-11,org/large,chat_completions,3,2026-11-01T00:00:00Z,completion_tokens,30,320003,0.320003,9600090,0.00000960009,,,,,,
    usage,2026-11,org/large,chat_completions,77,,requests,1,,,,,,,,,,
    usage,2026-11,org/large,chat_completions,77,,uncached_prompt_tokens,60,,,,,,,,,,
    usage,2026-11,org/large,chat_completions,77,,cached_prompt_tokens,40,,,,,,,,,,
    usage,2026-11,org/large,chat_completions,77,,completion_tokens,10,,,,,,,,,,
    usage,2026-11,org/large,chat_completions,77,,as_booked,,,,5,0.000000000005,,,,,,
    usage,2026-11,org/large,completions,1,2026-11-01T12:00:00Z,requests,1,,,,,,,,,,
    usage,2026-11,org/large,completions,1,2026-11-01T12:00:00Z,uncached_prompt_tokens,60,,,,,,,,,,
    usage,2026-11,org/large,completions,1,2026-11-01T12:00:00Z,cached_prompt_tokens,40,,,,,,,,,,
    usage,2026-11,org/large,completions,1,2026-11-01T12:00:00Z,completion_tokens,10,,,,,,,,,,
    usage,2026-11,org/large,completions,1,2026-11-01T12:00:00Z,as_booked,,,,777,0.000000000777,,,,,,
    usage_total,2026-11,,,,,,,,,44293252,0.000044293252,2026-11-01T12:00:00Z,,,,,
    adjustment,2026-11,,,3,,,,,,-4321,-0.000000004321,2026-11-01T11:59:59Z,correction,adj_01a196fb15e200000000000000000001,req_01a0f4c2c40000000000000000000002,ref-1,
    adjustment,2026-11,,,,,,,,,10000000,0.00001,2026-11-01T11:59:59Z,refund,adj_01a196fb15e300000000000000000002,req_01a1949ed68000000000000000000005,ref-2,"'=1+1, ""sorry"" <b>"
    adjustments_total,2026-11,,,,,,,,,9995679,0.000009995679,2026-11-01T12:00:00Z,,,,,
    balance_so_far,2026-11,,,,,,,,,21499935702427,21.499935702427,2026-11-01T12:00:00Z,,,,,
    price,2026-11,org/embedding,,2,2026-11-01T12:00:00Z,uncached_prompt_tokens,,,0.01,,,,,,,,
    price,2026-11,org/embedding,,2,2026-11-01T12:00:00Z,cached_prompt_tokens,,,0.01,,,,,,,,
    price,2026-11,org/embedding,,2,2026-11-01T12:00:00Z,completion_tokens,,,0,,,,,,,,
    price,2026-11,org/large,,1,2026-11-01T12:00:00Z,uncached_prompt_tokens,,,0.1,,,,,,,,
    price,2026-11,org/large,,1,2026-11-01T12:00:00Z,cached_prompt_tokens,,,0.02,,,,,,,,
    price,2026-11,org/large,,1,2026-11-01T12:00:00Z,completion_tokens,,,0.32,,,,,,,,
    price,2026-11,org/large,,3,2026-11-01T00:00:00Z,uncached_prompt_tokens,,,0.123457,,,,,,,,
    price,2026-11,org/large,,3,2026-11-01T00:00:00Z,cached_prompt_tokens,,,0.020001,,,,,,,,
    price,2026-11,org/large,,3,2026-11-01T00:00:00Z,completion_tokens,,,0.320003,,,,,,,,
    "#);
}

#[tokio::test]
async fn a_month_is_open_then_settling_then_final() {
    let owner = billed().await;
    let standing = async || {
        let json = owner.get("/v1/me/statements/2026-11?format=json").await.json();
        format!("{} until {}", json["standing"], json["until"])
    };
    assert_eq!(standing().await, r#""open" until "2026-11-01T12:00:00Z""#);
    let page = owner.get("/v1/me/statements/2026-11").await;
    assert!(page.text.contains("Open: until 2026-11-01T12:00:00Z"));
    assert!(page.text.contains("Balance so far"));
    owner.gateway.clock.set_unix_ms(starts("2026-12"));
    assert_eq!(standing().await, r#""settling" until "2026-12-01T00:00:00Z""#);
    owner.gateway.clock.set_unix_ms(starts("2026-12") + HOUR_MS);
    assert_eq!(standing().await, r#""final" until "2026-12-01T00:00:00Z""#);
    let page = owner.get("/v1/me/statements/2026-11").await;
    assert!(page.text.contains("Closing balance"));
}

#[tokio::test]
async fn a_page_loads_nothing_and_runs_nothing() {
    let owner = billed().await;
    let page = owner.get("/v1/me/statements/2026-11").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    let body = page.text.split_once("</style>").unwrap().1;
    assert!(body.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;Söhne&quot;"));
    assert!(body.contains("=1+1, &quot;sorry&quot; &lt;b&gt;"));
    for never in ["<script", "<b>", "http:", "https:", "src=", "href=", "url("] {
        assert!(!page.text.contains(never), "{never}");
    }
    assert_eq!(
        page.text.matches('<').count(),
        page.text.matches('>').count(),
        "every tag is closed"
    );
}

#[tokio::test]
async fn the_operator_sees_the_same_statement() {
    let owner = billed().await;
    for format in ["json", "csv", "html"] {
        let theirs = owner
            .get(&format!("/v1/me/statements/2026-11?format={format}"))
            .await;
        let ours = owner
            .gateway
            .get(&format!(
                "/admin/v1/accounts/{}/statements/2026-11?format={format}",
                owner.account
            ))
            .await;
        assert_eq!(ours.text, theirs.text);
    }
    let told = [
        owner.get("/v1/me/statements/2026-13").await,
        owner.get("/v1/me/statements/2026-12").await,
        owner.get("/v1/me/statements/2026-11?format=pdf").await,
        owner
            .gateway
            .get("/admin/v1/accounts/nobody/statements/2026-11")
            .await,
        owner
            .gateway
            .get(&format!("/admin/v1/accounts/{}/statements/soon", owner.account))
            .await,
    ];
    let lines: Vec<_> = told.iter().map(|answer| answer.refusal()).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    400 invalid_request_error [month] `month`: write a month such as 2026-11
    400 invalid_request_error [month] `month`: it has not begun
    400 invalid_request_error [format] `format`: write one of html, csv, json
    404 account_not_found [-] there is no account `nobody`; `farebox account list` lists them
    400 invalid_request_error [month] `month`: write a month such as 2026-11
    ");
}
