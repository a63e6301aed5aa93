//! What differs between two objects, and what `kubectl apply` makes of a file. Pure.

use serde_json::{Map, Value};

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where: `spec.source.schema[price].type`.
    pub path: String,
    /// What stands; none if nothing does.
    pub before: Option<Value>,
    /// What would.
    pub after: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "unset".to_owned(), Value::to_string);
        write!(f, "{}: {} -> {}", self.path, text(&self.before), text(&self.after))
    }
}

/// The merge patch of `kubectl apply`: what the file says, and nothing of what only the file before said.
pub fn applied(last: &Value, file: &Value) -> Value {
    let (Value::Object(last), Value::Object(file)) = (last, file) else { return file.clone() };
    let gone = last.keys().filter(|key| !file.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let said = file.iter().map(|(key, value)| {
        let value = last.get(key).map_or_else(|| value.clone(), |last| applied(last, value));
        (key.clone(), value)
    });
    Value::Object(gone.chain(said).collect())
}

/// What differs, field by field; of lists whose items have names, item by item.
pub fn differences(path: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let fields = |value: Option<&Value>| value.and_then(|value| value.as_object().cloned().or_else(|| named(value)));
    let inner = |key: &str| match before.or(after) {
        Some(Value::Array(_)) => format!("{path}[{key}]"),
        _ => format!("{path}.{key}"),
    };
    match (fields(before), fields(after)) {
        _ if before == after => Vec::new(),
        (Some(before), Some(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            let keys = before.keys().chain(added);
            keys.flat_map(|key| differences(&inner(key), before.get(key), after.get(key))).collect()
        }
        _ => vec![Difference { path: path.to_owned(), before: before.cloned(), after: after.cloned() }],
    }
}

/// The items of a list by their names, if all of them have one.
fn named(value: &Value) -> Option<Map<String, Value>> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    items.iter().map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_only_the_file_before_said_is_taken_away_and_what_others_said_stays() {
        let last = json!({"spec": {"replicas": 2, "archive": true, "rollout": {"paused": true, "x": 1}}});
        let file = json!({"spec": {"replicas": 3, "rollout": {"x": 1}, "list": [1]}});
        let patch = json!({"spec": {"replicas": 3, "archive": null, "rollout": {"paused": null, "x": 1}, "list": [1]}});
        assert_eq!(applied(&last, &file), patch);
    }

    #[test]
    fn differences_name_fields_and_items() {
        let before = json!({"a": 1, "b": {"c": true}, "list": [{"name": "x", "w": "1h"}, {"name": "y"}], "plain": [1]});
        let after =
            json!({"b": {"c": false}, "list": [{"name": "y"}, {"name": "x", "w": "2h"}], "plain": [1, 2], "d": null});
        let told: Vec<String> =
            differences("spec", Some(&before), Some(&after)).iter().map(ToString::to_string).collect();
        let expected = [
            "spec.a: 1 -> unset",
            "spec.b.c: true -> false",
            r#"spec.list[x].w: "1h" -> "2h""#,
            "spec.plain: [1] -> [1,2]",
            "spec.d: unset -> null",
        ];
        assert_eq!(told, expected);
        assert!(differences("spec", Some(&before), Some(&before)).is_empty());
    }
}
