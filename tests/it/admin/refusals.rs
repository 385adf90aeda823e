//! Who is not let in, and what is not taken.

use super::harness::{Gateway, TOKEN};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use farebox::http::admin::{Route, routes};

pub(crate) fn filled(path: &str) -> String {
    path.replace("{account}", "acct_0")
        .replace("{key}", "key_0")
        .replace("{month}", "2026-11")
        .replace("{token}", "tok_0")
        .replace("{engine}", "vllm-b")
        .replace("{request}", "ask_0")
        .replace("{request_id}", "req_0")
}

fn with_authorization(method: &str, path: &str, authorization: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn every_route_wants_the_token_and_tells_a_stranger_nothing() {
    let gateway = Gateway::start().await;
    let nowhere = [
        ("GET", "/admin/v1/nothing"),
        ("DELETE", "/metrics"),
        ("GET", "/nothing"),
    ];
    let served = routes().into_iter().map(|route| (route.method, route.path));
    let mut told = std::collections::BTreeSet::new();
    for (method, path) in served.chain(nowhere) {
        for authorization in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some(TOKEN),
            Some("Basic dGhlLWFkbWlu"),
        ] {
            let answer = gateway
                .send(with_authorization(method, &filled(path), authorization))
                .await;
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} {authorization:?}"
            );
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
            told.insert(answer.shown());
        }
        let in_query = format!("{}?token={TOKEN}&authorization=Bearer%20{TOKEN}", filled(path));
        let answer = gateway.send(with_authorization(method, &in_query, None)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {in_query}");
    }
    assert_eq!(told.len(), 1, "the same for all: {told:?}");
    insta::assert_snapshot!(told.first().unwrap(), @r#"
    401
    {
      "error": {
        "code": "invalid_admin_token",
        "message": "the admin token is missing or wrong: send `Authorization: Bearer <admin token>`",
        "param": null,
        "type": "invalid_request_error"
      }
    }
    "#);
}

#[tokio::test]
async fn every_route_that_is_listed_is_served() {
    let gateway = Gateway::start().await;
    for Route { method, path, .. } in routes() {
        let answer = gateway.ask(method, &filled(path), "").await;
        let is_missing =
            !answer.status.is_success() && ["unknown_url", "method_not_allowed"].contains(&&*answer.code());
        assert!(!is_missing, "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_does_not_hold_is_named() {
    let gateway = Gateway::start().await;
    let acme = gateway.account("Acme").await;
    let limits = format!("/admin/v1/accounts/{acme}/limits");
    let key = |fields: &str| format!(r#"{{"account":"Acme","name":"k",{fields}}}"#);
    let long_name = format!(r#"{{"name":"{}"}}"#, "x".repeat(101));
    let asked = [
        ("POST", "/admin/v1/accounts", r#"{"name":"Acme"}"#.to_owned()),
        ("POST", "/admin/v1/accounts", r#"{"name":""}"#.into()),
        ("POST", "/admin/v1/accounts", long_name),
        ("POST", "/admin/v1/accounts", r#"{"name":"a\nb"}"#.into()),
        ("POST", "/admin/v1/accounts", r#"{"name":"acct_mine"}"#.into()),
        ("POST", "/admin/v1/accounts", r#"{"name":7}"#.into()),
        ("POST", "/admin/v1/accounts", r#"{"nmae":"x"}"#.into()),
        ("POST", "/admin/v1/accounts", "{}".into()),
        ("POST", "/admin/v1/accounts", "[1]".into()),
        ("POST", "/admin/v1/accounts", r#"{"name":"#.into()),
        (
            "POST",
            "/admin/v1/accounts",
            format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000)),
        ),
        ("GET", "/admin/v1/defaults?nmae=x", String::new()),
        ("GET", "/admin/v1/accounts/nobody", String::new()),
        (
            "POST",
            "/admin/v1/keys",
            r#"{"account":"nobody","name":"k"}"#.into(),
        ),
        ("POST", "/admin/v1/keys", r#"{"account":"Acme"}"#.into()),
        ("POST", "/admin/v1/keys", key(r#""expires_in_seconds":0"#)),
        (
            "POST",
            "/admin/v1/keys",
            key(r#""expires_in_seconds":18446744073709551615"#),
        ),
        ("POST", "/admin/v1/keys", key(r#""expires_at":"2026-11-01""#)),
        ("POST", "/admin/v1/keys", key(r#""expires_at":"soon""#)),
        (
            "POST",
            "/admin/v1/keys",
            key(r#""expires_at":"2027-01-01","expires_in_seconds":5"#),
        ),
        ("GET", "/admin/v1/keys?account=nobody", String::new()),
        ("POST", "/admin/v1/keys/key_0/revoke", String::new()),
        ("DELETE", "/admin/v1/keys/fb_a-secret-by-mistake", String::new()),
        ("PUT", &limits, r#"{}"#.into()),
        ("PUT", &limits, r#"{"concurrent_requests":-1}"#.into()),
        ("PUT", &limits, r#"{"concurrent_requests":"300"}"#.into()),
        (
            "PUT",
            &limits,
            r#"{"concurrent_requests":1,"model":"org/unsold"}"#.into(),
        ),
        (
            "PUT",
            "/admin/v1/accounts/nobody/limits",
            r#"{"concurrent_requests":1}"#.into(),
        ),
        ("GET", "/admin/v1/accounts/nobody/limits", String::new()),
        ("GET", "/admin/v1/usage?group_by=account,colour", String::new()),
        ("GET", "/admin/v1/usage?since=yesterday", String::new()),
        (
            "GET",
            "/admin/v1/usage?since=2026-11-02&until=2026-11-01",
            String::new(),
        ),
        ("GET", "/admin/v1/usage?since=1d&since=2d", String::new()),
        ("GET", "/admin/v1/usage?account=nobody", String::new()),
        ("GET", "/admin/v1/usage?format=xml", String::new()),
        ("GET", "/admin/v1/nothing", String::new()),
        ("PATCH", "/admin/v1/accounts", String::new()),
    ];
    let mut told = Vec::new();
    for (method, path, body) in asked {
        told.push(gateway.ask(method, path, &body).await.refusal());
    }
    let unsaid = Request::post("/admin/v1/accounts")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Body::from(r#"{"name":"x"}"#));
    told.push(gateway.send(unsaid.unwrap()).await.refusal());
    insta::assert_snapshot!(told.join("\n"), @r#"
    409 name_taken [name] there is already an account named `Acme`; account names are unique
    400 invalid_request_error [name] `name`: a name has 1 to 100 characters, and this has 0
    400 invalid_request_error [name] `name`: a name has 1 to 100 characters, and this has 101
    400 invalid_request_error [name] `name`: a name has printable characters only, and no spaces at its ends
    400 invalid_request_error [name] `name`: a name that begins with `acct_` would be taken for an id
    400 invalid_request_error [name] `name`: invalid type: integer `7`, expected a string
    400 invalid_request_error [nmae] `nmae`: unknown field `nmae`, expected `name`
    400 invalid_request_error [name] `name`: this field is required
    400 invalid_request_error [-] the body must be a JSON object: `{...}`
    400 invalid_request_error [-] the body is not valid JSON: EOF while parsing a value at line 1 column 8
    413 request_too_large [-] the body is over the limit of 65536 bytes
    400 invalid_request_error [nmae] `nmae`: this route takes no parameters
    404 account_not_found [-] there is no account `nobody`; `farebox account list` lists them
    404 account_not_found [account] there is no account `nobody`; `farebox account list` lists them
    400 invalid_request_error [name] `name`: this field is required
    400 invalid_request_error [expires_in_seconds] `expires_in_seconds`: the key would be over already; give a time ahead
    400 invalid_request_error [expires_in_seconds] `expires_in_seconds`: this is beyond the year 9999; leave it out for a key without end
    400 invalid_request_error [expires_at] `expires_at`: the key would be over already; give a time ahead
    400 invalid_request_error [expires_at] `expires_at`: write a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or a span such as 7d, 12h or 30m
    400 invalid_request_error [expires_at] `expires_at`: give `expires_in_seconds` or `expires_at`, not both
    404 account_not_found [account] there is no account `nobody`; `farebox account list` lists them
    404 key_not_found [-] there is no key `key_0`; give its id (`key_...`), which `farebox key list` shows
    404 key_not_found [-] there is no key `fb_...`; give its id (`key_...`), which `farebox key list` shows
    400 invalid_request_error [concurrent_requests] `concurrent_requests`: this field is required
    400 invalid_request_error [concurrent_requests] `concurrent_requests`: invalid value: integer `-1`, expected a whole number from 0 to 4294967295
    400 invalid_request_error [concurrent_requests] `concurrent_requests`: invalid type: string "300", expected a whole number from 0 to 4294967295
    404 model_not_found [model] there is no model `org/unsold` in models.yaml; give an id or an alias
    404 account_not_found [-] there is no account `nobody`; `farebox account list` lists them
    404 account_not_found [-] there is no account `nobody`; `farebox account list` lists them
    400 invalid_request_error [group_by] `group_by`: write some of account, model, key, day, with commas between them
    400 invalid_request_error [since] `since`: write a date such as 2026-11-01, a time such as 2026-11-01T12:00:00Z, or a span such as 7d, 12h or 30m
    400 invalid_request_error [until] `until`: this is before `since`
    400 invalid_request_error [since] `since`: this parameter is given twice
    404 account_not_found [account] there is no account `nobody`; `farebox account list` lists them
    400 invalid_request_error [format] `format`: write json or csv
    404 unknown_url [-] there is nothing at /admin/v1/nothing; the admin API's routes are listed in docs/CLI.md
    405 method_not_allowed [-] /admin/v1/accounts does not take PATCH
    415 unsupported_media_type [-] the body must be JSON: send `content-type: application/json`
    "#);
    assert_eq!(
        gateway.app.directory.accounts().len(),
        1,
        "no refusal left anything behind"
    );
    assert!(gateway.app.directory.newest_keys(None, None, 1).is_empty());
}
