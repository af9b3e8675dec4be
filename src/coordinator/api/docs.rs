//! `GET /docs`: the OpenAPI document as a page that needs nothing from anywhere else.

use std::fmt::Write;
use std::sync::OnceLock;

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::openapi::api;
use super::reply::text;

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>aiq API</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #2a7de1; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
code, pre { font-family: ui-monospace, monospace; font-size: 13px }
pre { background: var(--soft); padding: .6rem; border-radius: 6px; overflow-x: auto }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: .3rem .7rem }
summary { cursor: pointer } summary b { color: var(--accent); display: inline-block; min-width: 4.5rem }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 }
td, th { border-top: 1px solid var(--line); padding: .2rem .5rem; text-align: left; vertical-align: top }
a { color: var(--accent) }
</style></head><body>
"#;

/// The page, written once.
pub(super) async fn page() -> Response<Body> {
    static PAGE: OnceLock<Bytes> = OnceLock::new();
    let page = PAGE.get_or_init(|| serde_json::to_value(api()).map(|d| write(&d)).unwrap_or_default().into());
    text("text/html; charset=utf-8", page.clone())
}

fn write(document: &Value) -> String {
    let mut out = String::from(HEAD);
    let info = &document["info"];
    let _ = write!(
        out,
        "<h1>{}</h1><p>{} Version {}. The same as data: <a href=\"openapi.json\">openapi.json</a>.</p>\n\
         <pre>curl -s http://127.0.0.1:8000/infer -H 'content-type: application/json' \\\n  \
         -d '{{\"task_type\": \"text_classification\", \"data\": \"I love this product!\"}}'</pre>\n",
        escaped(&info["title"]),
        escaped(&info["description"]),
        escaped(&info["version"])
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "<h2>{}</h2><p>{}</p>", escaped(&tag["name"]), escaped(&tag["description"]));
        for (path, item) in entries(&document["paths"]) {
            for (method, operation) in entries(item) {
                if operation["tags"][0] == tag["name"] {
                    operation_to(&mut out, &method.to_uppercase(), path, operation);
                }
            }
        }
    }
    out.push_str("<h2>Types</h2>\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = writeln!(out, "<details id=\"{name}\"><summary><code>{name}</code> {}</summary>", lead(schema));
        properties_to(&mut out, schema);
        out.push_str("</details>\n");
    }
    out.push_str("</body></html>\n");
    out
}

fn operation_to(out: &mut String, method: &str, path: &str, operation: &Value) {
    let _ = writeln!(
        out,
        "<details><summary><b>{method}</b> <code>{path}</code> {}</summary><p>{}</p>",
        escaped(&operation["summary"]),
        escaped(&operation["description"])
    );
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        out.push_str("<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>\n");
        for p in parameters {
            let (name, place, what) = (escaped(&p["name"]), escaped(&p["in"]), escaped(&p["description"]));
            let kind = type_of(&p["schema"]);
            let _ =
                writeln!(out, "<tr><td><code>{name}</code></td><td>{place}</td><td>{kind}</td><td>{what}</td></tr>");
        }
        out.push_str("</table>\n");
    }
    if let Some((media, body)) = first(&operation["requestBody"]["content"]) {
        let _ = writeln!(out, "<p>Body: {} ({media})</p>", type_of(&body["schema"]));
    }
    out.push_str("<table><tr><th>Status</th><th>Body</th><th></th></tr>\n");
    for (status, response) in entries(&operation["responses"]) {
        let body = first(&response["content"]).map(|(_, c)| type_of(&c["schema"])).unwrap_or_default();
        let _ =
            writeln!(out, "<tr><td>{status}</td><td>{body}</td><td>{}</td></tr>", escaped(&response["description"]));
    }
    out.push_str("</table></details>\n");
}

fn properties_to(out: &mut String, schema: &Value) {
    for key in ["oneOf", "allOf", "anyOf"] {
        for variant in schema[key].as_array().into_iter().flatten() {
            let _ = writeln!(out, "<p>{} {}</p>", type_of(variant), lead(variant));
            properties_to(out, variant);
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|w| format!("<code>{}</code>", escaped(w))).collect();
        let _ = writeln!(out, "<p>{}</p>", words.join(" · "));
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    out.push_str("<table><tr><th>Field</th><th>Type</th><th></th></tr>\n");
    for (name, property) in properties {
        let optional = if required.iter().any(|r| r == name) { "" } else { " (optional)" };
        let what = escaped(&property["description"]);
        let _ = writeln!(
            out,
            "<tr><td><code>{name}</code>{optional}</td><td>{}</td><td>{what}</td></tr>",
            type_of(property)
        );
    }
    out.push_str("</table>\n");
}

/// A type's name, with a link where it has a place of its own on the page.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(variants) = schema[key].as_array() {
            let names: Vec<_> = variants.iter().map(type_of).filter(|n| !n.is_empty()).collect();
            return names.join(" | ");
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(escaped).collect::<Vec<_>>().join(" | "),
        kind => escaped(kind),
    };
    match kind.as_str() {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "string" if schema["enum"].is_array() => {
            let words = schema["enum"].as_array().into_iter().flatten().map(|w| format!("\"{}\"", escaped(w)));
            words.collect::<Vec<_>>().join(" | ")
        }
        _ => kind,
    }
}

/// The first sentence of what a type is.
fn lead(schema: &Value) -> String {
    let text = escaped(&schema["description"]);
    text.split("\n\n").next().unwrap_or_default().to_owned()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn first(value: &Value) -> Option<(&String, &Value)> {
    entries(value).next()
}

fn escaped(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_type_and_fetches_nothing() {
        let document = serde_json::to_value(api()).unwrap();
        let page = write(&document);
        for (path, _) in entries(&document["paths"]) {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
        }
        for (name, _) in entries(&document["components"]["schemas"]) {
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        for reference in page.split("href=\"#").skip(1).map(|r| r.split('"').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{reference}\"")), "dangling {reference}");
        }
        assert!(!page.contains("src=") && !page.contains("https://"), "self-contained");
    }
}
