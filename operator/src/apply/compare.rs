//! Whether an object already stands as it is wanted.
//!
//! Two things must hold: every field that is wanted has the wanted value, so that nobody has changed what is ours; and the
//! digest annotation is the wanted one, so that no field stands that we wanted once and no longer do.

use serde_json::{Map, Value};

/// Whether `standing` holds all of `desired`. Fields that only the API server or others set do not matter.
pub(super) fn stands(desired: &Value, standing: &Value) -> bool {
    match (desired, standing) {
        (Value::Object(desired), Value::Object(standing)) => {
            desired.iter().all(|(key, value)| standing.get(key).is_some_and(|s| stands(value, s)) || is_empty(value))
        }
        (Value::Array(desired), Value::Array(standing)) => list_stands(desired, standing),
        (Value::String(desired), Value::String(standing)) => desired == standing || same_quantity(desired, standing),
        (desired, standing) => desired == standing,
    }
}

/// Lists whose items have a name or UID are maps to the API server, to which others may add; any other must be equal.
fn list_stands(desired: &[Value], standing: &[Value]) -> bool {
    if let Some(key) =
        ["name", "uid", "mountPath"].into_iter().find(|key| desired.iter().all(|item| item.get(*key).is_some()))
        && !desired.is_empty()
    {
        return desired.iter().all(|item| standing.iter().any(|s| s.get(key) == item.get(key) && stands(item, s)));
    }
    desired.len() == standing.len() && desired.iter().zip(standing).all(|(d, s)| stands(d, s))
}

/// The API server drops empty maps and lists of some fields.
fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The API server rewrites quantities into their shortest form: `1024Mi` stands as `1Gi`.
fn same_quantity(a: &str, b: &str) -> bool {
    matches!((nanos(a), nanos(b)), (Some(a), Some(b)) if a == b)
}

/// A quantity in units of 10⁻⁹; `None` if the text is none.
fn nanos(text: &str) -> Option<i128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: i128 = match suffix {
        "" => 1_000_000_000,
        "m" => 1_000_000,
        "k" => 1_000_000_000_000,
        "M" => 1_000_000_000 * 1_000_000,
        "G" => 1_000_000_000 * 1_000_000_000,
        "T" => 1_000_000_000 * 1_000_000_000_000,
        "Ki" => 1_000_000_000 << 10,
        "Mi" => 1_000_000_000 << 20,
        "Gi" => 1_000_000_000 << 30,
        "Ti" => 1_000_000_000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    unscaled.checked_mul(factor).map(|n| n / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_add_does_not_matter_and_what_they_change_does() {
        let desired = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "x"}]}});
        let added = json!({"spec": {"replicas": 1, "paused": false, "containers": [{"name": "a", "image": "x", "tty": true}, {"name": "sidecar"}]}});
        let changed = json!({"spec": {"replicas": 2, "containers": [{"name": "a", "image": "x"}]}});
        let removed = json!({"spec": {"replicas": 1, "containers": []}});
        assert!(stands(&desired, &added));
        assert!(!stands(&desired, &changed));
        assert!(!stands(&desired, &removed));
    }

    #[test]
    fn plain_lists_must_be_equal() {
        assert!(stands(&json!(["a", "b"]), &json!(["a", "b"])));
        assert!(!stands(&json!(["a"]), &json!(["a", "b"])));
        assert!(!stands(&json!(["a", "b"]), &json!(["b", "a"])));
    }

    #[test]
    fn quantities_are_compared_by_value() {
        assert!(same_quantity("1024Mi", "1Gi"));
        assert!(same_quantity("0.5", "500m"));
        assert!(!same_quantity("1G", "1Gi"));
        assert!(!same_quantity("abc", "abd"));
        assert!(!stands(&json!("500m"), &json!("501m")));
    }
}
