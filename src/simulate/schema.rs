//! A small JSON value that satisfies a simple JSON schema: objects, arrays, scalars, enums, unions, references.
//!
//! Patterns, formats and arithmetic constraints beyond a minimum are not looked at.

use serde_json::{Map, Value, json};

const MAX_DEPTH: usize = 24;

/// A value for `schema`; every property of an object is given, needed or not.
pub(super) fn satisfy(schema: &Value) -> Value {
    value_for(schema, schema, 0)
}

fn value_for(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let inner = |schema: &Value| value_for(schema, root, depth + 1);
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return target
            .strip_prefix('#')
            .and_then(|path| root.pointer(path))
            .map_or(Value::Null, inner);
    }
    if let Some(only) = schema.get("const").or_else(|| schema.get("default")) {
        return only.clone();
    }
    for list in ["enum", "examples"] {
        if let Some(first) = schema.get(list).and_then(|values| values.get(0)) {
            return first.clone();
        }
    }
    for union in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(union).and_then(|values| values.get(0)) {
            return inner(first);
        }
    }
    match type_of(schema) {
        "object" => Value::Object(object_for(schema, inner)),
        "array" => {
            let length = schema
                .get("minItems")
                .and_then(Value::as_u64)
                .unwrap_or(1)
                .min(16);
            let item = schema.get("items").map_or(json!("item"), inner);
            (0..length).map(|_| item.clone()).collect()
        }
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(7)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => {
            let length = schema
                .get("minLength")
                .and_then(Value::as_u64)
                .unwrap_or(0)
                .min(4096);
            let mut text = "größe 世界".to_owned();
            while (text.chars().count() as u64) < length {
                text.push('x');
            }
            if let Some(most) = schema.get("maxLength").and_then(Value::as_u64) {
                text = text
                    .chars()
                    .take(usize::try_from(most).unwrap_or(usize::MAX))
                    .collect();
            }
            json!(text)
        }
    }
}

fn object_for(schema: &Value, inner: impl Fn(&Value) -> Value) -> Map<String, Value> {
    let mut object = Map::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            object.insert(name.clone(), inner(property));
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        object.entry(name).or_insert_with(|| json!("text"));
    }
    object
}

/// The first type that the schema allows, or the one that its other keys tell of.
fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => names.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() || schema.get("required").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_their_properties_and_references_are_followed() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 5},
                "count": {"type": "integer", "minimum": 3},
                "unit": {"enum": ["c", "f"]},
                "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
                "next": {"$ref": "#/$defs/stop"},
            },
            "required": ["city", "other"],
            "$defs": {"stop": {"anyOf": [{"type": "null"}, {"type": "string"}]}},
        });
        assert_eq!(
            satisfy(&schema),
            json!({"city": "größe", "count": 3, "unit": "c", "tags": [true, true], "next": null, "other": "text"})
        );
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
        assert!(satisfy(&schema).is_object());
    }
}
