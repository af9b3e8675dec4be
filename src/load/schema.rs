//! The report's JSON schema, from the report's own types: what `docs/load-report.schema.json` holds.

use serde_json::{Value, json};
use utoipa::OpenApi;

use super::report::Report;

/// Collects the report's types; no server has this document.
#[derive(OpenApi)]
#[openapi(components(schemas(Report)))]
struct Types;

/// The schema (JSON Schema 2020-12), as it is published.
pub(super) fn text() -> String {
    let mut types = serde_json::to_value(Types::openapi()).unwrap_or_default();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of aiq load",
        "$ref": "#/components/schemas/Report",
        "components": { "schemas": types.pointer_mut("/components/schemas").map(Value::take) },
    });
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
