//! The OpenAPI 3.1 document of the admin API, made of the same list as the router: [`routes`].

use crate::admin_api::ErrorAnswer;
use crate::http::admin::error::AdminError;
use crate::http::admin::read::Params;
use crate::http::admin::{Route, routes};
use axum::Json;
use farebox_domain::role::Role;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Where the schemas are in the document.
const SCHEMAS: &str = "/components/schemas";

/// `GET /admin/v1/openapi.json`
pub async fn show(params: Params) -> Result<Json<Value>, AdminError> {
    params.only(&[])?;
    Ok(Json(document()))
}

/// The whole document.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = SCHEMAS.into();
    // Bodies are described as they are read, answers as they are written.
    let mut taken = settings.clone().for_deserialize().into_generator();
    let mut given = settings.for_serialize().into_generator();
    let refusal = given.subschema_for::<ErrorAnswer>();
    let mut paths = Map::new();
    for route in routes() {
        let described = operation(&route, refusal.as_value(), &mut taken, &mut given);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = described;
    }
    let mut schemas = taken.take_definitions(true);
    schemas.append(&mut given.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "farebox admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Each operation says in `x-farebox-role` which role it asks for at least.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas,
        },
    })
}

fn operation(
    route: &Route,
    refusal: &Value,
    taken: &mut SchemaGenerator,
    given: &mut SchemaGenerator,
) -> Value {
    let mut described = json!({
        "operationId": operation_id(route),
        "x-farebox-role": route.least.as_str(),
        "parameters": parameters(route),
        "responses": responses(route, refusal, given),
    });
    if let Some(takes) = route.takes {
        described["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": takes(taken) } },
        });
    }
    described
}

/// `get_accounts_account_limits`, which no other operation is called.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/admin/v1");
    let words = path
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    format!("{}_{}", route.method.to_ascii_lowercase(), words.join("_"))
}

fn parameters(route: &Route) -> Vec<Value> {
    let parameter = |name: &str, place: &str| json!({ "name": name, "in": place, "required": place == "path", "schema": { "type": "string" } });
    let in_path = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| parameter(name, "path"));
    let in_query = route.query.iter().map(|name| parameter(name, "query"));
    in_path.chain(in_query).collect()
}

/// Every status that it may answer. What has a form other than JSON is described as text.
fn responses(route: &Route, refusal: &Value, given: &mut SchemaGenerator) -> Value {
    let content = match route.gives {
        Some(gives) => json!({ "application/json": { "schema": gives(given) } }),
        None if route.path == "/metrics" => json!({ "text/plain": { "schema": { "type": "string" } } }),
        None => json!({ "application/json": {}, "text/csv": {}, "text/html": {} }),
    };
    let done = if route.makes { "201" } else { "200" };
    let mut responses = json!({ done: { "description": "Done.", "content": content } });
    let changes = route.method != "GET";
    let names_something = route.path.contains('{') || route.takes.is_some() || !route.query.is_empty();
    let refusals = [
        (true, "400", "A field or a parameter does not hold."),
        (true, "401", "The token is missing or wrong."),
        (
            route.least > Role::Viewer,
            "403",
            "The token's role is not enough.",
        ),
        (names_something, "404", "What is named is not there."),
        (changes, "409", "It is so already, or stands for something else."),
        (route.takes.is_some(), "413", "The body is too large."),
        (route.takes.is_some(), "415", "The body is not said to be JSON."),
        (true, "500", "A fault of farebox's own."),
    ];
    for (may, status, description) in refusals {
        if may {
            responses[status] = json!({
                "description": description,
                "content": { "application/json": { "schema": refusal } },
            });
        }
    }
    responses
}
