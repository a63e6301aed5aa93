//! Spans in the JSON encoding of OpenTelemetry's protocol (OTLP). Pure.

use serde_json::{Value, json};

use super::span::{Kind, Span};

/// A request to a collector: `spans`, all of one process.
#[must_use]
pub fn request(resource: &[(String, String)], spans: &[Span]) -> Value {
    let resource: Vec<Value> = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    let spans: Vec<Value> = spans.iter().map(encoded).collect();
    let scope = json!({"name": "featuremill", "version": env!("CARGO_PKG_VERSION")});
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }]})
}

/// Ids in hexadecimal, times as text, enumerations by number: so the protocol has it.
fn encoded(span: &Span) -> Value {
    let Span { trace, parent, name, kind, began_ns, ended_ns, attributes, failure } = span;
    let attributes: Vec<Value> = attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut encoded = json!({
        "traceId": trace.trace_id(),
        "spanId": trace.span_id(),
        "name": name,
        "kind": match kind { Kind::Internal => 1, Kind::Server => 2 },
        "startTimeUnixNano": began_ns.to_string(),
        "endTimeUnixNano": ended_ns.to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = parent {
        encoded["parentSpanId"] = json!(format!("{parent:016x}"));
    }
    if let Some(message) = failure {
        encoded["status"] = json!({"code": 2, "message": message});
    }
    encoded
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}
