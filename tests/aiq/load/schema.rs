//! Enough of JSON Schema 2020-12 to hold a report against the published schema: types, properties,
//! required members, items, references, alternatives, enumerations. A member that the schema does
//! not name is a violation too: what is published must be documented.

use serde_json::Value;

/// Everything in `instance` that `root` does not allow, with its place.
pub(super) fn violations(root: &Value, instance: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, root, instance, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, instance: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("no {reference}"));
        check(root, target, instance, at, found);
        return;
    }
    for (word, least) in [("oneOf", 1), ("anyOf", 1)] {
        if let Some(options) = schema[word].as_array() {
            let fits = options.iter().filter(|o| violations_of(root, o, instance).is_empty()).count();
            if fits < least {
                let best = options.iter().map(|o| violations_of(root, o, instance)).min_by_key(Vec::len).unwrap();
                found.push(format!("{at} fits no alternative: {best:?}"));
            }
            return;
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        for part in parts {
            check(root, part, instance, at, found);
        }
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(instance)
    {
        found.push(format!("{at} is {instance}, not one of {values:?}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|t| is_a(instance, t)) {
        found.push(format!("{at} is {instance}, not {types:?}"));
        return;
    }
    if let (Some(items), Some(list)) = (schema.get("items"), instance.as_array()) {
        for (i, item) in list.iter().enumerate() {
            check(root, items, item, &format!("{at}/{i}"), found);
        }
    }
    let Some(object) = instance.as_object().filter(|_| schema.get("properties").is_some()) else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}/{name} is missing"));
        }
    }
    for (name, member) in object {
        match schema["properties"].get(name) {
            Some(property) => check(root, property, member, &format!("{at}/{name}"), found),
            None => found.push(format!("{at}/{name} is not in the schema")),
        }
    }
}

fn violations_of(root: &Value, schema: &Value, instance: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, schema, instance, "", &mut found);
    found
}

fn is_a(instance: &Value, name: &str) -> bool {
    match name {
        "null" => instance.is_null(),
        "boolean" => instance.is_boolean(),
        "integer" => instance.is_u64() || instance.is_i64(),
        "number" => instance.is_number(),
        "string" => instance.is_string(),
        "array" => instance.is_array(),
        "object" => instance.is_object(),
        _ => panic!("type {name}"),
    }
}

#[test]
fn violations_are_found() {
    let schema = serde_json::json!({
        "$ref": "#/components/schemas/A",
        "components": {"schemas": {"A": {
            "type": "object", "required": ["n", "list"],
            "properties": {
                "n": {"type": ["number", "null"]},
                "list": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}},
            },
        }}},
    });
    let wrong = |text: &str| violations(&schema, &serde_json::from_str(text).unwrap()).len();
    assert_eq!(wrong(r#"{"n": null, "list": ["x", "y"]}"#), 0);
    assert_eq!(wrong(r#"{"n": "1", "list": ["z"]}"#), 2);
    assert_eq!(wrong(r#"{"list": [], "more": 1}"#), 2);
}
