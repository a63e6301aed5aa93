//! Features of one entity, read through the API server: who may proxy to Services needs no other way in.

use std::fmt::Write as _;

use crds::FeatureView;
use kube::{Api, Client};
use operator::names::{SERVING_PORT, server};
use serde_json::{Map, Value, json};

use crate::args::GetFeatures;
use crate::error::CliError;

/// Reads and prints them.
pub async fn run(client: &Client, namespace: &str, asked: &GetFeatures) -> Result<(), CliError> {
    let api: Api<FeatureView> = Api::namespaced(client.clone(), namespace);
    let doing = CliError::api(format!("reading featureview {namespace}/{}", asked.view));
    let view = api.get(&asked.view).await.map_err(doing)?;
    let server = server(&view.spec.architecture_ref.name);
    let path = format!("/api/v1/namespaces/{namespace}/services/{server}:{SERVING_PORT}/proxy/get-online-features");
    let body = request(&view, asked).to_string().into_bytes();
    let request = http::Request::post(path).header("content-type", "application/json").body(body);
    let request = request.map_err(|error| CliError::Nothing(format!("the request cannot be made: {error}")))?;
    let doing = CliError::api(format!("asking the feature server {namespace}/{server}"));
    let answer: Value = client.request(request).await.map_err(doing)?;
    print!("{}", told(&answer));
    Ok(())
}

/// Feast's request.
fn request(view: &FeatureView, asked: &GetFeatures) -> Value {
    let all = view.spec.features.iter().map(|feature| feature.name.clone());
    let features: Vec<String> = if asked.features.is_empty() { all.collect() } else { asked.features.clone() };
    let features: Vec<String> = features.iter().map(|feature| format!("{}:{feature}", asked.view)).collect();
    let entities: Map<String, Value> =
        asked.entity.iter().map(|(key, value)| (key.clone(), json!([typed(view, key, value)]))).collect();
    let mut request = json!({"features": features, "entities": entities});
    if let Some(as_of) = &asked.as_of {
        request["as_of"] = json!(as_of);
    }
    request
}

/// A key's value as its column has it: numbers and truth values as such, and all else as text.
fn typed(view: &FeatureView, key: &str, value: &str) -> Value {
    let column = view.spec.source.schema.iter().find(|column| column.name == key);
    let type_name = column.and_then(|column| serde_json::to_value(column.type_).ok());
    let text = matches!(type_name.as_ref().and_then(Value::as_str), None | Some("String" | "Timestamp" | "Decimal"));
    if text { json!(value) } else { serde_json::from_str(value).unwrap_or_else(|_| json!(value)) }
}

/// A line a feature: its value, or why there is none; then as of when.
fn told(answer: &Value) -> String {
    let names = answer["metadata"]["feature_names"].as_array().cloned().unwrap_or_default();
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    let width = names.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0);
    let mut text = String::new();
    for (name, result) in names.iter().zip(results) {
        let value = match result["statuses"][0].as_str() {
            Some("PRESENT") => result["values"][0].to_string(),
            Some(status) => status.to_owned(),
            None => continue,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<width$}  {value}", name.as_str().unwrap_or_default());
    }
    let degraded = if answer["metadata"]["degraded"] == json!(true) { ", degraded" } else { "" };
    let said = |key: &str| answer["metadata"][key].as_str().unwrap_or("not known").to_owned();
    text + &format!("as of {}, complete to {}{degraded}\n", said("t"), said("complete_to"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn view() -> FeatureView {
        serde_json::from_value(json!({
            "apiVersion": "featuremill.dev/v1alpha1", "kind": "FeatureView", "metadata": {"name": "shopper"},
            "spec": {
                "architectureRef": {"name": "realtime"}, "entity": {"keys": ["user", "shop"]},
                "features": [{"name": "views", "aggregate": "Count", "window": "1h"}],
                "source": {
                    "timestamp": {"field": "at", "unit": "Milliseconds"},
                    "schema": [{"name": "user", "type": "String"}, {"name": "shop", "type": "Int64"}],
                },
            },
        }))
        .unwrap()
    }

    #[test]
    fn keys_are_asked_for_in_their_columns_types() {
        let entity = vec![("user".to_owned(), "7".to_owned()), ("shop".to_owned(), "7".to_owned())];
        let asked = GetFeatures { view: "shopper".into(), entity, features: vec![], as_of: None };
        let expected = json!({"features": ["shopper:views"], "entities": {"user": ["7"], "shop": [7]}});
        assert_eq!(request(&view(), &asked), expected);
    }

    #[test]
    fn an_answer_is_told_with_what_is_missing() {
        let answer = json!({
            "metadata": {"feature_names": ["user", "views", "ratio"], "t": "2026-01-01T12:00:00Z", "complete_to": null, "degraded": true},
            "results": [
                {"values": ["u1"], "statuses": ["PRESENT"]},
                {"values": [3], "statuses": ["PRESENT"]},
                {"values": [null], "statuses": ["NULL_VALUE"]},
            ],
        });
        let expected =
            "user   \"u1\"\nviews  3\nratio  NULL_VALUE\nas of 2026-01-01T12:00:00Z, complete to not known, degraded\n";
        assert_eq!(told(&answer), expected);
    }
}
