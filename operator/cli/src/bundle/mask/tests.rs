//! A secret that is planted in every place that is known to hold one never comes out, in any byte.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// As part of a URL.
fn encoded(secret: &str) -> String {
    secret.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}

/// Objects and texts with `secret` wherever secrets are, and beside them what must stay.
fn planted(secret: &str) -> Vec<(String, Raw)> {
    let encoded = encoded(secret);
    let url = format!("redis://default:{encoded}@redis:6379/0");
    let container = json!({
        "name": "stream", "image": "featuremill:dev",
        "args": ["--topic=clicks", format!("--redis-url={url}"), "--sasl-password", secret],
        "env": [{"name": "ANYTHING", "value": secret}, {"name": "URL", "value": url}, {"name": "PASSWORD", "value": secret},
            {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "redis-client", "key": "password"}}}],
        "livenessProbe": {"httpGet": {"path": "/livez", "httpHeaders": [{"name": "X-Any", "value": secret}]}},
    });
    let applied = json!({"kind": "Pod", "spec": {"containers": [container]}}).to_string();
    let plan = json!({"kafka": {"sasl.password": secret}, "redis": url, "topic": "clicks"}).to_string();
    let objects = vec![
        json!({
            "kind": "Pod",
            "metadata": {"name": "clicks-stream", "namespace": "shop", "managedFields": [{"v": secret}], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": applied, "somebody/note": secret, "featuremill.dev/plan": "9b1c07de42",
            }},
            "spec": {"containers": [container], "volumes": [{"name": "redis", "secret": {"secretName": "redis-client"}}]},
            "status": {"containerStatuses": [{"lastState": {"terminated": {"message": format!("NOAUTH {secret} is wrong")}}}]},
        }),
        json!({
            "kind": "ConfigMap", "metadata": {"name": "clicks-plan"}, "binaryData": {"x": secret},
            "data": {"plan.json": plan, "client.properties": format!("a=b\nsasl.password={secret}\n")},
        }),
        json!({"kind": "Erasure", "metadata": {"name": "request-17"}, "spec": {"entity": {"user_id": secret}}}),
        json!({"kind": "Secret", "metadata": {"name": "none"}, "data": {"k": secret}, "stringData": {"k": secret}}),
        json!({"kind": "Event", "message": format!("cannot connect to {url}: {secret} is refused")}),
    ];
    let quoted = serde_json::Value::from(secret).to_string();
    let log = [
        json!({"level": "INFO", "message": format!("saw {secret}"), "auth": {"api_key": secret, "tries": 3}})
            .to_string(),
        format!("WARN redis: password={quoted} topic=clicks"),
        format!("nobody knows why {secret} is here"),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----"),
    ];
    vec![
        ("objects.yaml".to_owned(), Raw::Objects(objects)),
        ("a.log".to_owned(), Raw::Text(log.join("\n") + "\n")),
        ("metrics.txt".to_owned(), Raw::Text(format!("up{{url=\"{url}\",topic=\"clicks\"}} 1\n"))),
        ("not-read.txt".to_owned(), Raw::Text(format!("logs of clicks: forbidden for {secret}\n"))),
    ]
}

fn whole(files: Vec<(String, Raw)>) -> String {
    let names = ["redis-client", "clicks", "shop", "redis", "stream"].map(str::to_owned);
    let masked = all(files, names).unwrap();
    masked.iter().fold(String::new(), |text, (name, masked)| text + name + "\n" + masked.text())
}

proptest! {
    // Each looks for everything in everything.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_planted_secret_is_in_no_byte(secret in "[!-~]{0,20}[A-Za-z0-9]{8,24}[ -~]{0,20}") {
        let secret = secret.trim();
        let text = whole(planted(secret));
        let encoded = encoded(secret);
        let written = serde_json::Value::from(secret).to_string();
        for form in [secret, &encoded, written.trim_matches('"')] {
            prop_assert!(!text.contains(form), "{form} in\n{text}");
        }
        for stays in ["clicks-stream", "--topic=clicks", "redis-client", "9b1c07de42", "livez", "tries", "nobody knows why", "request-17"] {
            prop_assert!(text.contains(stays), "{stays} not in\n{text}");
        }
    }

    #[test]
    fn nothing_but_secrets_is_taken(word in "[a-z]{1,20}", number in 0_u32..100_000) {
        let view = json!({"kind": "FeatureView", "metadata": {"name": word, "generation": number}, "spec": {
            "source": {"topic": word, "schema": [{"name": word, "type": "String"}]}, "features": [{"name": word, "where": format!("{word} = {number}")}],
        }});
        let expected = serde_yaml_ng::to_string(&vec![view.clone()]).unwrap();
        prop_assume!(!key::is_secret(&word));
        let masked = all(vec![("a".to_owned(), Raw::Objects(vec![view]))], []).unwrap();
        prop_assert_eq!(masked[0].1.text(), expected);
    }
}

/// Who plants a secret where nothing says that it is one is not found out; what a person is to look through is said at the end.
#[test]
fn what_is_masked_is_seen_to_be() {
    let text = whole(planted("hunter2hunter2"));
    insta::assert_snapshot!(text);
}
