//! The OpenAPI document: it has every route, nothing in it dangles, and each of its operations is tried with each role,
//! with an owner's key and with nothing.

use super::harness::{Answer, Gateway};
use super::refusals::filled;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use farebox::http::admin::{openapi, routes};
use farebox_domain::role::Role;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An operation of the document: its method, its path, the least role, and its statuses.
struct Operation {
    method: String,
    path: String,
    least: Role,
    statuses: BTreeSet<u16>,
    has_body: bool,
}

fn operations() -> Vec<Operation> {
    let document = openapi::document();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let responses = described["responses"].as_object().unwrap();
            operations.push(Operation {
                method: method.to_ascii_uppercase(),
                path: path.clone(),
                least: described["x-farebox-role"].as_str().unwrap().parse().unwrap(),
                statuses: responses.keys().map(|status| status.parse().unwrap()).collect(),
                has_body: described.get("requestBody").is_some(),
            });
        }
    }
    operations
}

async fn send(gateway: &Gateway, operation: &Operation, token: Option<&str>, body: &str) -> Answer {
    let mut request = Request::builder()
        .method(operation.method.as_str())
        .uri(filled(&operation.path));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if operation.has_body {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    gateway
        .send(request.body(Body::from(body.to_owned())).unwrap())
        .await
}

#[tokio::test]
async fn the_document_has_every_route_and_nothing_in_it_dangles() {
    let gateway = Gateway::start().await;
    let served = gateway.get("/admin/v1/openapi.json").await;
    let document = openapi::document();
    assert_eq!(served.json(), document);
    let described: BTreeSet<_> = operations()
        .into_iter()
        .map(|operation| (operation.method, operation.path))
        .collect();
    let all = routes();
    let listed: BTreeSet<_> = all
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(described, listed);
    assert_eq!(listed.len(), all.len(), "no route is listed twice");

    let (mut references, mut ids) = (BTreeSet::new(), BTreeSet::new());
    collect(&document, &mut references, &mut ids);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert_eq!(ids.len(), all.len(), "each operation has an id of its own");
    let limits = &document["components"]["schemas"]["LimitChange"];
    assert_eq!(limits["additionalProperties"], false);
    assert_eq!(limits["required"], json!(["concurrent_requests"]));
}

fn collect(value: &Value, references: &mut BTreeSet<String>, ids: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_str()) {
                    ("$ref", Some(text)) => drop(references.insert(text.to_owned())),
                    ("operationId", Some(text)) => drop(ids.insert(text.to_owned())),
                    _ => collect(value, references, ids),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references, ids)),
        _ => {}
    }
}

#[tokio::test]
async fn each_operation_is_open_from_its_role_on_and_to_nobody_else() {
    let gateway = Gateway::start().await;
    let acme = gateway.account("Acme").await;
    let (_, owners_key) = gateway.key(&acme).await;
    let mut callers = vec![
        (None, None),
        (None, Some(owners_key)),
        (None, Some("fba_wrong".into())),
    ];
    for role in Role::ALL {
        let body = json!({ "name": role, "role": role }).to_string();
        let made = gateway.ask("POST", "/admin/v1/tokens", &body).await;
        callers.push((Some(role), Some(made.field("secret"))));
    }
    for operation in operations() {
        for (role, secret) in &callers {
            for body in ["", "{}", r#"{"unknown":1}"#] {
                let answer = send(&gateway, &operation, secret.as_deref(), body).await;
                let Operation {
                    method,
                    path,
                    least,
                    statuses,
                    ..
                } = &operation;
                let told = format!(
                    "{role:?} {method} {path} {body}: {} {}",
                    answer.status, answer.text
                );
                let status = answer.status;
                assert!(statuses.contains(&status.as_u16()), "not documented: {told}");
                assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{told}");
                assert_eq!(status == StatusCode::UNAUTHORIZED, role.is_none(), "{told}");
                let is_forbidden = role.is_some_and(|role| role < *least);
                assert_eq!(status == StatusCode::FORBIDDEN, is_forbidden, "{told}");
            }
        }
    }
}
