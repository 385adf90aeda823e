//! The command line against a running gateway: what it prints, and with which exit code it ends.

use crate::admin::harness::{Gateway, NOW_MS, TOKEN, id_at};
use farebox::admission::directory::hash_secret;
use farebox::cli;
use farebox::store::KeyRow;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Running {
    gateway: Gateway,
    admin: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let gateway = Gateway::start().await;
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = admin_listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (app, stopped) = (gateway.app.clone(), stop.clone().cancelled_owned());
        let serving =
            TaskTracker::new().spawn(async move { app.serve(public, admin_listener, stopped).await });
        Self {
            gateway,
            admin,
            stop,
            serving,
        }
    }

    /// Runs a command line as a shell would, but for quotes: `~` stands for a space within an argument.
    async fn run(&self, line: &str) -> String {
        farebox(line, self.admin, TOKEN).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

async fn farebox(line: &str, admin: SocketAddr, token: &str) -> String {
    let url = format!("http://{admin}");
    let mut args: Vec<String> = vec!["farebox".into()];
    args.extend(line.split_whitespace().map(|arg| arg.replace('~', " ")));
    args.extend([
        "--admin-url".into(),
        url.clone(),
        "--admin-token".into(),
        token.into(),
    ]);
    // A command has a runtime of its own.
    let told = tokio::task::spawn_blocking(move || plain(args)).await.unwrap();
    told.replace(&url, "http://GATEWAY")
}

/// Output, errors and exit code, one after the other.
pub(crate) fn plain(args: Vec<String>) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli::run(args.into_iter().map(Into::into), &mut out, &mut err);
    let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
    format!("{out}{err}[{code}]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_and_limits() {
    let running = Running::start().await;
    insta::assert_snapshot!(running.run("account list").await, @"
    There are no such accounts. Next: farebox account create NAME
    [0]
    ");
    insta::assert_snapshot!(running.run("account create Acme").await, @"
    Account Acme (acct_befba86ae9e0c207) is made.
    It may have 200 requests in flight.

    Next: farebox key create --account acct_befba86ae9e0c207
    [0]
    ");
    insta::assert_snapshot!(running.run("account create Acme").await, @"
    error: there is already an account named `Acme`; account names are unique
    [1]
    ");
    running.run("account create Söhne~&~Co/1").await;
    insta::assert_snapshot!(running.run("account list").await, @"
    ID                     NAME          CREATED               IN FLIGHT  LIMIT  OWED (USD)
    acct_cdbc8b0f46328424  Söhne & Co/1  2026-11-01T12:00:00Z          0    200           0
    acct_befba86ae9e0c207  Acme          2026-11-01T12:00:00Z          0    200           0
    [0]
    ");
    insta::assert_snapshot!(running.run("account show Söhne~&~Co/1").await, @"
    ID                     NAME          CREATED               IN FLIGHT  LIMIT  OWED (USD)
    acct_cdbc8b0f46328424  Söhne & Co/1  2026-11-01T12:00:00Z          0    200           0
    [0]
    ");
    insta::assert_snapshot!(running.run("account show Nobody").await, @"
    error: there is no account `Nobody`; `farebox account list` lists them
    [1]
    ");
    insta::assert_snapshot!(running.run("account show Nobody --json").await, @r#"
    {"error":{"message":"there is no account `Nobody`; `farebox account list` lists them","type":"invalid_request_error","param":null,"code":"account_not_found"}}
    [1]
    "#);
    insta::assert_snapshot!(running.run("limit show --account Acme").await, @"
    Concurrent requests of Acme (acct_befba86ae9e0c207):

    SCOPE       IN FLIGHT  LIMIT  SET BY
    all models          0    200  models.yaml

    No limit by the minute of acct_befba86ae9e0c207.
    [0]
    ");
    insta::assert_snapshot!(running.run("limit set --account Acme --concurrent-requests 300").await, @"
    Changed; the very next request is held to it.

    Concurrent requests of Acme (acct_befba86ae9e0c207):

    SCOPE       IN FLIGHT  LIMIT  SET BY
    all models          0    300  limit set

    No limit by the minute of acct_befba86ae9e0c207.
    [0]
    ");
    let higher = running
        .run("limit set --account Acme --model large --concurrent-requests 400")
        .await;
    insta::assert_snapshot!(higher, @"
    Changed; the very next request is held to it.

    Concurrent requests of Acme (acct_befba86ae9e0c207):

    SCOPE       IN FLIGHT  LIMIT  SET BY
    all models          0    300  limit set
    org/large           0    400  limit set

    Note: the account's own number still holds: 300 requests in flight over all models, though org/large may have more. Raise the account's number too for the model's to be reached.

    No limit by the minute of acct_befba86ae9e0c207.
    [0]
    ");
    let unknown = running
        .run("limit set --account Acme --model unsold --concurrent-requests 400")
        .await;
    insta::assert_snapshot!(unknown, @"
    error: there is no model `unsold` in models.yaml; give an id or an alias
    [1]
    ");
    running
        .run("limit set --account Acme --concurrent-requests default")
        .await;
    insta::assert_snapshot!(running.run("limit show --account Acme --json").await, @r#"
    {
      "account": "acct_befba86ae9e0c207",
      "account_name": "Acme",
      "concurrent_requests": 200,
      "in_flight": 0,
      "is_default": true,
      "models": [
        {
          "concurrent_requests": 400,
          "in_flight": 0,
          "model": "org/large"
        }
      ],
      "note": "the account's own number still holds: 200 requests in flight over all models, though org/large may have more. Raise the account's number too for the model's to be reached.",
      "rates": {
        "account": "acct_befba86ae9e0c207",
        "key": null,
        "models": [],
        "requests": null,
        "tokens": null
      }
    }
    [0]
    "#);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys() {
    let running = Running::start().await;
    running.run("account create Acme").await;
    insta::assert_snapshot!(running.run("key list").await, @"
    There are no such keys. Next: farebox key create --account ACCOUNT
    [0]
    ");
    let made = running
        .run("key create --account Acme --name laptop --expires 30d")
        .await;
    let start = made.find("fb_").unwrap();
    let secret = made[start..].split_whitespace().next().unwrap().to_owned();
    assert!(running.gateway.app.directory.find_key(&secret, NOW_MS).is_ok());
    insta::assert_snapshot!(made.replace(&secret, "fb_..."), @"
    Key laptop (key_e06bb0bc4f577df3) of account Acme is made:

        fb_...

    It is shown this once; the gateway keeps only its hash. It ends at 2026-12-01T12:00:00Z.
    Use it as any OpenAI key, with the gateway's URL and /v1 as the base URL:

        export OPENAI_BASE_URL=http://127.0.0.1:8080/v1
        export OPENAI_API_KEY=fb_...
    [0]
    ");
    insta::assert_snapshot!(running.run("key list --account Acme").await, @"
    ID                    ACCOUNT  NAME    STATUS  SCOPES           CREATED               EXPIRES               REVOKED
    key_e06bb0bc4f577df3  Acme     laptop  active  inference,usage  2026-11-01T12:00:00Z  2026-12-01T12:00:00Z  -
    [0]
    ");
    let id = running.gateway.app.directory.newest_keys(None, None, 1)[0]
        .id
        .clone();
    insta::assert_snapshot!(running.run(&format!("key revoke {id}")).await, @"
    Key laptop (key_e06bb0bc4f577df3) of account Acme is revoked since 2026-11-01T12:00:00Z.
    It opens nothing any more. What it had in flight goes on to its end.
    [0]
    ");
    assert!(running.gateway.app.directory.find_key(&secret, NOW_MS).is_err());
    insta::assert_snapshot!(running.run("key revoke nothing").await, @"
    error: there is no key `nothing`; give its id (`key_...`), which `farebox key list` shows
    [1]
    ");
    insta::assert_snapshot!(running.run("key create --account Acme --expires 2020-01-01").await, @"
    error: `expires_at`: the key would be over already; give a time ahead
    [64]
    ");
    insta::assert_snapshot!(running.run("key create --account Acme --expires soon").await, @"
    error: invalid value 'soon' for '--expires <WHEN>': write a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or a span such as 7d, 12h or 30m

    For more information, try '--help'.
    [64]
    ");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_and_the_ledger() {
    let running = Running::start().await;
    insta::assert_snapshot!(running.run("usage").await, @"
    From the start until now:

    Nothing was used.
    [0]
    ");
    let acme = running.gateway.account("Acme").await;
    let (key, _) = running.gateway.key(&acme).await;
    running.gateway.book(&acme, &key, NOW_MS, 0..3).await;
    running.gateway.book(&acme, &key, NOW_MS - 86_400_000, 3..4).await;
    insta::assert_snapshot!(running.run("usage --by day,key --since 7d").await, @"
    From 2026-10-25T12:00:00Z until now:

    DAY (UTC)   KEY                            REQUESTS  PROMPT  CACHED  COMPLETION  REASONING  COST (USD)
    2026-10-31  laptop (key_e06bb0bc4f577df3)         1     100      40          10          4     0.00001
    2026-11-01  laptop (key_e06bb0bc4f577df3)         3     300     120          30         12     0.00003
    total                                             4     400     160          40         16     0.00004
    [0]
    ");
    insta::assert_snapshot!(running.run("usage --since 2026-11-01 --account Acme --csv").await, @"
    account,account_name,model,requests,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,cost_usd,cost_picodollars
    acct_befba86ae9e0c207,Acme,org/large,3,300,120,30,12,0.00003,30000000
    [0]
    ");
    insta::assert_snapshot!(running.run("usage --since yesterday").await, @"
    error: `since`: write a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or a span such as 7d, 12h or 30m
    [64]
    ");
    insta::assert_snapshot!(running.run("ledger verify").await, @"
    The ledger adds up. Entries recomputed: 4, together 0.00004 USD. Every roll-up is the sum of its entries.

    COUNTED            ENTRIES
    state completed          4
    usage from engine        4
    [0]
    ");
    let mut raw = SqliteConnectOptions::new()
        .filename(running.gateway.database())
        .connect()
        .await
        .unwrap();
    raw.execute("UPDATE usage_rollups SET cost_low = 5")
        .await
        .unwrap();
    insta::assert_snapshot!(running.run("ledger verify").await, @"
    The ledger does NOT add up. Entries recomputed: 4, booked at 0.00004 USD. Discrepancies: 2.

    WHAT    WHERE                                                                      BOOKED                                            EXPECTED
    rollup  acct_befba86ae9e0c207 2026-10-31T12:00:00Z key_e06bb0bc4f577df3 org/large  0.000000000005 USD, 100 + 10 tokens in 1 entries  0.00001 USD, 100 + 10 tokens in 1 entries
    rollup  acct_befba86ae9e0c207 2026-11-01T12:00:00Z key_e06bb0bc4f577df3 org/large  0.000000000005 USD, 300 + 30 tokens in 3 entries  0.00003 USD, 300 + 30 tokens in 3 entries

    COUNTED            ENTRIES
    state completed          4
    usage from engine        4
    error: 2 discrepancies found
    [2]
    ");
    insta::assert_snapshot!(running.run("engine list").await, @"
    ENGINE  KIND  STATUS  IN FLIGHT  AT MOST  RUNS  WAITS  KV CACHE
    vllm-a  vllm  down            0       64     -      -         -
    [0]
    ");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_says_what_to_do() {
    let running = Running::start().await;
    let admin = running.admin;
    insta::assert_snapshot!(farebox("engine list", admin, "wrong").await, @"
    error: the gateway at http://GATEWAY does not take this admin token. Set FAREBOX_ADMIN_TOKEN to the one that `farebox serve` printed when it first started, or that it was started with
    [1]
    ");
    insta::assert_snapshot!(farebox("engine list --json", admin, "wrong").await, @r#"
    {"error":{"message":"the gateway at http://GATEWAY does not take this admin token. Set FAREBOX_ADMIN_TOKEN to the one that `farebox serve` printed when it first started, or that it was started with","type":"cli_error","param":null,"code":null}}
    [1]
    "#);
    insta::assert_snapshot!(farebox("engine list", admin, "two\nlines").await, @"
    error: the admin token has characters that no token has; check FAREBOX_ADMIN_TOKEN
    [1]
    ");
    running.end().await;
    insta::assert_snapshot!(farebox("engine list", admin, TOKEN).await, @"
    error: no gateway answers at http://GATEWAY (Connection refused (os error 111)). Start one with `farebox serve`, or name another with --admin-url or FAREBOX_ADMIN_URL
    [1]
    ");
    insta::assert_snapshot!(farebox("engine list", another_server().await, TOKEN).await, @"
    error: http://GATEWAY answered 200 with something that farebox's admin API does not say. Is it its admin URL?
    [1]
    ");
}

/// A server that is no farebox: it answers every connection with a page.
async fn another_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let page = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>";
        let _ = stream.write_all(page.as_bytes()).await;
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements() {
    let running = Running::start().await;
    let account = running.gateway.account("Acme").await;
    let (key, _) = running.gateway.key(&account).await;
    let nothing = running.run("statement --account Acme --month 2026-11").await;
    insta::assert_snapshot!(nothing, @"
    Statement of Acme (acct_befba86ae9e0c207) for 2026-11: from 2026-11-01T00:00:00Z until 2026-11-01T12:00:00Z, the month is not over.

    Nothing was used.

    TOGETHER                      USD
    opening balance                 0
    less usage                      0
    credit, refunds, corrections    0
    balance so far                  0
    [0]
    ");
    running.gateway.book(&account, &key, NOW_MS - 1, 1..4).await;
    running
        .run("credit add --account Acme --usd 20 --reference invoice-7 --note paid~by~card")
        .await;
    running.gateway.clock.set_unix_ms(NOW_MS + 1000);
    let shown = running.run("statement --account Acme --month 2026-11").await;
    insta::assert_snapshot!(shown, @"
    Statement of Acme (acct_befba86ae9e0c207) for 2026-11: from 2026-11-01T00:00:00Z until 2026-11-01T12:00:01Z, the month is not over.

    MODEL      ENDPOINT          PRICE  USED                    QUANTITY  USD A MILLION        USD
    org/large  chat_completions      1  requests                       3
    org/large  chat_completions      1  uncached_prompt_tokens       180           0.1   0.000018
    org/large  chat_completions      1  cached_prompt_tokens         120           0.02  0.0000024
    org/large  chat_completions      1  completion_tokens             30           0.32  0.0000096

    BOOKED                WHAT    REFERENCE  NOTE          USD
    2026-11-01T12:00:00Z  credit  invoice-7  paid by card   20

    TOGETHER                           USD
    opening balance                0
    less usage                     0.00003
    credit, refunds, corrections  20
    balance so far                19.99997
    [0]
    ");
    let soon = running.run("statement --account Acme --month 2026-12").await;
    insta::assert_snapshot!(soon, @"
    error: `month`: it has not begun
    [64]
    ");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("statement.html");
    let written = running
        .run(&format!(
            "statement --account Acme --month 2026-11 --html --out {}",
            file.display()
        ))
        .await;
    assert_eq!(written, format!("Written to {}\n[0]", file.display()));
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    let csv = running
        .run("statement --account Acme --month 2026-11 --csv")
        .await;
    assert!(csv.starts_with("row,month,model,"), "{csv}");
    running.end().await;
}

#[test]
fn bad_usage_ends_with_64_and_help_with_0() {
    let run = |line: &str| {
        plain(
            std::iter::once("farebox")
                .chain(line.split_whitespace())
                .map(Into::into)
                .collect(),
        )
    };
    let code = |line: &str| {
        run(line)
            .rsplit_once('[')
            .unwrap()
            .1
            .trim_end_matches(']')
            .to_owned()
    };
    for line in [
        "",
        "frobnicate",
        "limit set --account a",
        "limit set --monthly-usd 5",
        "limit set --account a --monthly-usd -5",
        "limit set --key k --postpaid-usd 5",
        "limit set --account a --model m --monthly-usd 5",
        "credit add --account a --usd 5",
        "usage --by colour",
        "usage --csv --json",
        "statement --account a",
        "statement --account a --month 2026-11 --csv --html",
        "account",
        "count --model m",
        "count body.json",
    ] {
        assert_eq!(code(line), "64", "{line}");
    }
    let count = "limit set --account a --concurrent-requests many";
    assert_eq!(code(count), "64");
    for line in ["--help", "--version", "key --help", "help usage"] {
        assert_eq!(code(line), "0", "{line}");
    }
    insta::assert_snapshot!(run("--help"), @"
    An OpenAI-compatible gateway that meters, caps and bills the engines that you run

    Usage: farebox <COMMAND>

    Commands:
      serve        Run the gateway
      check        Check a configuration file and say everything that is wrong with it
      count        Say how many prompt tokens request bodies have, by a model's tokenizer and chat template
      migrate      Bring the PostgreSQL that replicas share to this version's form
      simulate     Run a simulated engine: an engine, not a model, for a first look and for tests
      account      Make and show accounts
      key          Make, list, change, rotate and revoke API keys, and sign tokens with one
      limit        Show and set how many requests an account may have in flight
      credit       Give accounts credit
      balance      Show an account's balance, what is held of it and what is left
      price        Show and change what models cost
      usage        Show what was used and what it costs
      statement    Show an account's month: what it had, what it used, what it has
      ledger       Check the ledger, and put right what was billed wrong
      export       Show and steer what a receiver is told of entries
      engine       Show the engines
      reload       Read models.yaml again, and put it in force if it holds
      route        Show why a request goes to the engine that it goes to
      model        Show the models that are sold
      replica      Show the gateways that run
      admin-token  Make, list and revoke the tokens of those who administer
      audit        Show who changed what
      watch        Show what happens on all replicas, a line a second
      series       Show what happened on all replicas, in steps
      in-flight    Show the requests that are being served
      refusals     Show the last requests that were refused, and why
      receipt      Show what became of a request, and how its cost was computed
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Exit codes: 0 done; 1 fault; 2 `ledger verify` found discrepancies, `ledger reconcile` what it cannot explain, or `migrate --check` an old form; 64 bad usage or a bad configuration file.
    [0]
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_rerates_and_refunds() {
    let running = Running::start().await;
    insta::assert_snapshot!(running.run("price list").await, @r#"
    MODEL          VERSION  STATUS   FROM                  INPUT  CACHED  OUTPUT  BESIDES
    org/large            1  current  2026-11-01T12:00:00Z   0.1     0.02    0.32
    org/embedding        2  current  2026-11-01T12:00:00Z   0.01    -       0
    [0]
    "#);
    let set = "price set --model large --input 0.20 --output 0.40 --per-request 0.001 --priority 1.5";
    insta::assert_snapshot!(running.run(set).await, @r#"
    The very next request for org/large has this price. What is in flight keeps the one before.

    USD           BEFORE  NOW
    input         0.1     0.2
    cached input  0.02    -
    output        0.32    0.4
    a request     -       0.001
    priority x    -       1.5
    [0]
    "#);
    let later = "price set --model large --input 0.30 --output 0.40 --from 2h";
    insta::assert_snapshot!(running.run(later).await, @r#"
    From 2026-11-01T14:00:00Z on org/large has this price, by itself.

    USD         BEFORE  NOW
    input       0.2     0.3
    output      0.4     0.4
    a request   0.001   -
    priority x  1.5     -
    [0]
    "#);
    let tiers = r#"price set --model large --price {"input":"0.10","output":"0.32","context_tiers":[{"above_prompt_tokens":4000,"input":"0.20","output":"0.48"}]} --from 3h"#;
    running.run(tiers).await;
    insta::assert_snapshot!(running.run("price list --model large").await, @r#"
    MODEL      VERSION  STATUS     FROM                  INPUT  CACHED  OUTPUT  BESIDES
    org/large        1  past       2026-11-01T12:00:00Z    0.1    0.02    0.32
    org/large        3  current    2026-11-01T12:00:00Z    0.2    -       0.4   a request 0.001, priority x 1.5
    org/large        4  scheduled  2026-11-01T14:00:00Z    0.3    -       0.4
    org/large        5  scheduled  2026-11-01T15:00:00Z    0.1    -       0.32  long prompts 0.2/0.48 above 4000
    [0]
    "#);
    insta::assert_snapshot!(running.run("price set --model large --input 0.1 --output 0.3 --from 2026-10-01").await, @r#"
    error: `from`: a price cannot begin in the past, as requests were billed by another: leave it out to have it hold at once, and correct what was billed with `farebox ledger rerate`
    [64]
    "#);
    insta::assert_snapshot!(running.run("price set --model large --output 0.3").await, @r#"
    error: the following required arguments were not provided:
      --input <USD>

    Usage: farebox price set --model <MODEL> --output <USD> --admin-url <URL> --admin-token <TOKEN> --input <USD>

    For more information, try '--help'.
    [64]
    "#);

    let account = running.gateway.account("Acme").await;
    let (key, _) = running.gateway.key(&account).await;
    running.gateway.book(&account, &key, NOW_MS - 60_000, 0..3).await;
    let rerate = "ledger rerate --model large --since 1d --input 0.05 --cached-input 0.02 --output 0.32";
    insta::assert_snapshot!(running.run(rerate).await, @r#"
    org/large from 2026-10-31T12:00:00Z until 2026-11-01T12:00:00Z: 3 entries, of which 3 cost something else at this price.
    Nothing is booked; add --book --reference NAME to book it.

    ACCOUNT  ENTRIES  COST (USD)  CORRECTED (USD)  GIVEN BACK (USD)
    Acme           3     0.00003         0.000021          0.000009
    total          3     0.00003         0.000021          0.000009
    [0]
    "#);
    let book = format!("{rerate} --book --reference ticket-7 --note typed~wrong");
    insta::assert_snapshot!(running.run(&book).await, @r#"
    org/large from 2026-10-31T12:00:00Z until 2026-11-01T12:00:00Z: 3 entries, of which 3 cost something else at this price.
    Booked now under price version 6: 3. Booked before: 0.

    ACCOUNT  ENTRIES  COST (USD)  CORRECTED (USD)  GIVEN BACK (USD)
    Acme           3     0.00003         0.000021          0.000009
    total          3     0.00003         0.000021          0.000009
    [0]
    "#);
    insta::assert_snapshot!(running.run(&book).await, @r#"
    org/large from 2026-10-31T12:00:00Z until 2026-11-01T12:00:00Z: 3 entries, of which 0 cost something else at this price.
    Booked now under price version 6: 0. Booked before: 3.
    [0]
    "#);
    insta::assert_snapshot!(running.run(&format!("{rerate} --book")).await, @r#"
    error: the following required arguments were not provided:
      --reference <REFERENCE>

    Usage: farebox ledger rerate --model <MODEL> --since <WHEN> --reference <REFERENCE> --input <USD> --cached-input <USD> --output <USD> --book --admin-url <URL> --admin-token <TOKEN>

    For more information, try '--help'.
    [64]
    "#);
    let refund = format!(
        "ledger refund --request {} --reference r-1 --note slow",
        id_at(NOW_MS - 60_000, 1)
    );
    insta::assert_snapshot!(running.run(&format!("{refund} --usd 0.000002")).await, @r#"
    0.000002 USD are given back to acct_befba86ae9e0c207.
    The request cost 0.00001 USD; corrections gave back 0.000003, refunds 0.000002; it still costs 0.000005.
    [0]
    "#);
    insta::assert_snapshot!(running.run(&format!("{refund} --usd 0.000002")).await, @r#"
    Nothing was booked: this refund of 0.000002 USD was there already.
    The request cost 0.00001 USD; corrections gave back 0.000003, refunds 0.000002; it still costs 0.000005.
    [0]
    "#);
    insta::assert_snapshot!(running.run(&format!("{refund} --all --json")).await, @r#"
    {
      "account": "acct_befba86ae9e0c207",
      "booked": false,
      "corrected": {
        "picodollars": "3000000",
        "usd": "0.000003"
      },
      "cost": {
        "picodollars": "10000000",
        "usd": "0.00001"
      },
      "left": {
        "picodollars": "5000000",
        "usd": "0.000005"
      },
      "refund": {
        "amount": {
          "picodollars": "2000000",
          "usd": "0.000002"
        },
        "booked_at": "2026-11-01T12:00:00Z",
        "id": "adj_01a196fb16007c648da30520c364b5c7",
        "kind": "refund",
        "note": "slow",
        "reference": "r-1",
        "request": "req_01a196fa2ba000000000000000000001"
      },
      "refunded": {
        "picodollars": "2000000",
        "usd": "0.000002"
      }
    }
    [0]
    "#);
    insta::assert_snapshot!(running.run(&refund).await, @r#"
    error: the following required arguments were not provided:
      --usd <USD>

    Usage: farebox ledger refund --request <REQUEST> --reference <REFERENCE> --note <NOTE> --admin-url <URL> --admin-token <TOKEN> --usd <USD>

    For more information, try '--help'.
    [64]
    "#);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_changed_rotated_and_signs() {
    let running = Running::start().await;
    running.run("account create Acme").await;
    let made = running
        .run(
            "key create --account Acme --name ci --jwt --scope inference --model org/*,large --ip 10.0.0.0/8",
        )
        .await;
    let secret_of = |text: &str| {
        let start = text.find("fb_").unwrap();
        text[start..].split_whitespace().next().unwrap().to_owned()
    };
    let first = secret_of(&made);
    let id = running.gateway.app.directory.newest_keys(None, None, 1)[0]
        .id
        .clone();
    let line =
        format!("key change {id} --scope usage,dashboard --any-ip --expires 30d --concurrent-requests 3");
    insta::assert_snapshot!(running.run(&line).await, @"
    Key ci (key_e06bb0bc4f577df3) of account Acme, from the next request on:
      scopes   usage, dashboard
      models   org/*, large
      from     anywhere
      at once  3 requests
      ends     2026-12-01T12:00:00Z
    [0]
    ");
    let line = format!("key change {id} --any-model --expires never --concurrent-requests default");
    insta::assert_snapshot!(running.run(&line).await, @"
    Key ci (key_e06bb0bc4f577df3) of account Acme, from the next request on:
      scopes   usage, dashboard
      models   every model
      from     anywhere
      at once  as many requests as its account may have
      ends     when it is revoked
    [0]
    ");
    let rotated = running.run(&format!("key rotate {id} --overlap 1h")).await;
    let second = secret_of(&rotated);
    insta::assert_snapshot!(rotated.replace(&second, "fb_..."), @"
    Key ci (key_e06bb0bc4f577df3) of account Acme has a new secret:

        fb_...

    It is shown this once; the gateway keeps only its hash. The old one holds until 2026-11-01T13:00:00Z.
    [0]
    ");
    let directory = &running.gateway.app.directory;
    for secret in [&first, &second] {
        assert!(directory.find_key(secret, NOW_MS).is_ok());
        let line =
            format!("key jwt --api-key {secret} --owner {id} --expires 2099-01-01 --model large --jti a");
        let token = running.run(&line).await;
        let token = token.lines().next().unwrap();
        assert!(directory.find_token(token, NOW_MS).is_ok(), "{token}");
    }
    insta::assert_snapshot!(running.run("key change x --scope root").await, @"
    error: invalid value 'root' for '--scope <SCOPE>': the scopes are inference, usage, dashboard and admin

    For more information, try '--help'.
    [64]
    ");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_come_in_pages() {
    let running = Running::start().await;
    for number in 0..5 {
        running.gateway.clock.set_unix_ms(NOW_MS + 1000 * number);
        running.run(&format!("account create Acme~{number}")).await;
        running
            .run(&format!("key create --account Acme~{number} --name ci"))
            .await;
    }
    let page = running.run("account list --limit 2").await;
    insta::assert_snapshot!(page, @"
    ID                     NAME    CREATED               IN FLIGHT  LIMIT  OWED (USD)
    acct_4a81291f895ffa3b  Acme 4  2026-11-01T12:00:04Z          0    200           0
    acct_822d5fe3b5885a80  Acme 3  2026-11-01T12:00:03Z          0    200           0

    There are more: --after acct_822d5fe3b5885a80
    [0]
    ");
    let next = page.split("--after ").nth(1).unwrap().lines().next().unwrap();
    insta::assert_snapshot!(running.run(&format!("account list --limit 2 --after {next}")).await, @"
    ID                     NAME    CREATED               IN FLIGHT  LIMIT  OWED (USD)
    acct_d87cde17876ac515  Acme 2  2026-11-01T12:00:02Z          0    200           0
    acct_d2f49798ab0deb2c  Acme 1  2026-11-01T12:00:01Z          0    200           0

    There are more: --after acct_d2f49798ab0deb2c
    [0]
    ");
    insta::assert_snapshot!(running.run("account list --search ACME~4").await, @"
    ID                     NAME    CREATED               IN FLIGHT  LIMIT  OWED (USD)
    acct_4a81291f895ffa3b  Acme 4  2026-11-01T12:00:04Z          0    200           0
    [0]
    ");
    insta::assert_snapshot!(running.run("key list --search acme~3 --status active").await, @"
    ID                    ACCOUNT  NAME  STATUS  SCOPES           CREATED               EXPIRES  REVOKED
    key_07c7695c301479c9  Acme 3   ci    active  inference,usage  2026-11-01T12:00:03Z  -        -
    [0]
    ");
    // All of them, a thousand at once, and as one answer.
    let directory = &running.gateway.app.directory;
    let account = directory.account_named("Acme 0").unwrap().id.clone();
    for number in 0..2100_u64 {
        let (id, hash) = (
            format!("key_{number:016x}").into(),
            hash_secret(&number.to_string()),
        );
        directory.add_key(KeyRow::new(id, account.clone(), "more".into(), hash, number));
    }
    let all = running.run("key list --all").await;
    assert_eq!(all.lines().count(), 1 + 2105 + 1, "{all}");
    let json = running.run("key list --all --json").await;
    let json: serde_json::Value = serde_json::from_str(json.trim_end_matches("[0]")).unwrap();
    assert_eq!(json["data"].as_array().unwrap().len(), 2105);
    assert_eq!(
        (&json["has_more"], &json["next"]),
        (&false.into(), &serde_json::Value::Null)
    );
    insta::assert_snapshot!(running.run("key list --limit 0").await, @"
    error: `limit`: write a whole number from 1 to 1000
    [64]
    ");
    insta::assert_snapshot!(running.run("audit --limit 1").await, @"
    AT                    WHO   ACTION      TARGET                CHANGED
    2026-11-01T12:00:04Z  root  key.create  key_4445fc10580477ed  -

    There are more: --after 10
    [0]
    ");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_dashboard_shows_is_told_here_too() {
    let running = Running::start().await;
    running.run("account create Acme").await;
    running.run("key create --account Acme --name ci").await;
    let id = running.gateway.app.directory.newest_keys(None, None, 1)[0]
        .id
        .clone();
    running
        .run(&format!("limit set --key {id} --monthly-usd 5"))
        .await;
    insta::assert_snapshot!(running.run(&format!("limit show --key {id}")).await, @"
    Key key_e06bb0bc4f577df3: 5 USD a month; spent in 2026-11: 0 USD.

    No limit by the minute of key_e06bb0bc4f577df3.
    [0]
    ");
    insta::assert_snapshot!(running.run("limit defaults").await, @"
    EACH ACCOUNT, BY MODELS.YAML     LIMIT
    requests in flight                 200
    requests a minute             no limit
    tokens a minute               no limit
    [0]
    ");
    insta::assert_snapshot!(running.run("model list").await, @"
    MODEL          TASK       CONTEXT  ENGINES UP  TTFT P50 MS  INPUT  CACHED  OUTPUT
    org/large      chat          8192  0 of 1                -   0.1     0.02    0.32
    org/embedding  embedding      512  0 of 1                -   0.01    -       0
    [0]
    ");
    insta::assert_snapshot!(running.run("admin-token whoami").await, @"
    root (root), admin
    [0]
    ");
    let replicas = running.run("replica list").await;
    assert!(replicas.contains("answers you"), "{replicas}");
    let once = running.run("watch --once").await;
    assert_eq!(once.lines().count(), 3, "{once}");
    assert!(once.starts_with("AT ") && once.ends_with("[0]"), "{once}");
    let json = running.run("watch --once --json").await;
    let event: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(event["overview"]["in_flight"], 0);
    let series = running.run("series --span 24h").await;
    assert_eq!(series.lines().count(), 1 + 24 * 4 + 1, "{series}");
    insta::assert_snapshot!(running.run("series --span 2h").await, @"
    error: invalid value '2h' for '--span <SPAN>'
      [possible values: 1h, 24h, 7d, 30d]

    For more information, try '--help'.
    [64]
    ");
    running.end().await;
}

/// docs/CLI.md has every command of the command line and every route of the admin API.
#[test]
fn the_documentation_leaves_nothing_out() {
    use clap::CommandFactory;
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CLI.md")).unwrap();
    for command in cli::Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(text.contains(&format!("farebox {name}")), "farebox {name}");
        for action in command.get_subcommands() {
            let line = format!("farebox {name} {}", action.get_name());
            assert!(text.contains(&line), "{line}");
        }
    }
    for farebox::http::admin::Route { method, path, .. } in farebox::http::admin::routes() {
        assert!(text.contains(&format!("{method} {path}")), "{method} {path}");
    }
}
