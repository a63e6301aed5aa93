//! What is asked, what is to come back, and whether it did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The values of every entity in every revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// The view.
    pub view: String,
    /// Its UID.
    pub uid: String,
    /// Its one entity key.
    pub key: String,
    /// The features that are asked for.
    pub features: Vec<String>,
    /// By revision, then by entity, the values in the order of the features.
    pub revisions: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
}

/// What of an answer is looked at.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    results: Vec<Column>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    feature_names: Vec<&'a str>,
    #[serde(borrow)]
    views: BTreeMap<&'a str, Note<'a>>,
}

#[derive(Deserialize)]
struct Note<'a> {
    revision: &'a str,
}

#[derive(Deserialize)]
struct Column {
    values: Vec<Value>,
}

impl Expected {
    /// Why answers could not be told apart by their values, if so: every feature of every entity must differ between any two
    /// revisions, or a mixture would go unseen.
    ///
    /// # Errors
    /// The first entity and feature that could not tell.
    pub fn telling(&self) -> Result<(), String> {
        let sides: Vec<_> = self.revisions.iter().collect();
        if sides.len() < 2 {
            return Err(format!("{} revision is no two", sides.len()));
        }
        for (number, (one, left)) in sides.iter().enumerate() {
            for (other, right) in &sides[number + 1..] {
                for (entity, values) in *left {
                    let theirs = right.get(entity).ok_or_else(|| format!("{other} has nothing of {entity}"))?;
                    let same = values.iter().zip(theirs).position(|(a, b)| equal(a, b));
                    if let Some(at) = same {
                        let name = &self.features[at];
                        return Err(format!("{name} of {entity} is {} both in {one} and in {other}", values[at]));
                    }
                }
            }
        }
        Ok(())
    }

    /// The body of a request for one entity.
    #[must_use]
    pub fn ask(&self, entity: &str) -> String {
        let features: Vec<String> = self.features.iter().map(|name| format!("{}:{name}", self.view)).collect();
        json!({"features": features, "entities": {&self.key: [entity]}}).to_string()
    }

    /// The revision of an answer for one entity, all of whose values are of that revision.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn check<'a>(&self, entity: &str, body: &'a [u8]) -> Result<&'a str, String> {
        let answer: Answer<'a> = serde_json::from_slice(body).map_err(|error| format!("it does not read: {error}"))?;
        let note = answer.metadata.views.get(self.view.as_str()).ok_or("it names no revision")?;
        let revision = note.revision;
        let known = self.revisions.get(revision).ok_or_else(|| format!("revision {revision} was not expected"))?;
        let values = known.get(entity).ok_or_else(|| format!("{entity} was not expected of {revision}"))?;
        let mut columns = answer.metadata.feature_names.iter().zip(&answer.results);
        for (name, wanted) in self.features.iter().zip(values) {
            // In the order asked, behind the entity's own column.
            let column = columns.find(|(found, _)| *found == name).map(|(_, column)| &column.values);
            match column.map(Vec::as_slice) {
                Some([found]) if equal(found, wanted) => {}
                found => return Err(format!("{revision}: {name} of {entity} is {found:?}, not {wanted}")),
            }
        }
        Ok(revision)
    }
}

/// Whether two values are the same; doubles but for rounding.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) if a.is_f64() || b.is_f64() => (x - y).abs() <= 1e-9 * x.abs().max(y.abs()),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn expected() -> Expected {
        let of = |sum: i64, mean: f64| BTreeMap::from([("ada".to_owned(), vec![json!(sum), json!(mean)])]);
        Expected {
            view: "v".to_owned(),
            uid: "u".to_owned(),
            key: "user".to_owned(),
            features: vec!["sum".to_owned(), "mean".to_owned()],
            revisions: BTreeMap::from([("r1".to_owned(), of(3, 1.5)), ("r2".to_owned(), of(30, 15.0))]),
        }
    }

    fn answer(revision: &str, sum: i64, mean: f64) -> Vec<u8> {
        json!({
            "metadata": {"feature_names": ["user", "sum", "mean"], "t": "now", "views": {"v": {"revision": revision}}},
            "results": [{"values": ["ada"]}, {"values": [sum]}, {"values": [mean]}],
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn an_answer_is_right_only_if_every_value_is_of_its_revision() {
        let expected = expected();
        assert_eq!(expected.check("ada", &answer("r1", 3, 1.5)), Ok("r1"));
        assert_eq!(expected.check("ada", &answer("r2", 30, 15.0)), Ok("r2"));
        for mixed in [answer("r1", 3, 15.0), answer("r1", 30, 1.5), answer("r2", 3, 1.5)] {
            assert!(expected.check("ada", &mixed).unwrap_err().contains("not"));
        }
        assert!(expected.check("ada", &answer("r3", 3, 1.5)).unwrap_err().contains("r3"));
        assert!(expected.check("bob", &answer("r1", 3, 1.5)).is_err());
        assert!(expected.check("ada", b"{}").is_err());
    }

    #[test]
    fn revisions_that_share_a_value_could_hide_a_mixture() {
        let mut expected = expected();
        expected.telling().unwrap();
        expected.revisions.get_mut("r2").unwrap().get_mut("ada").unwrap()[1] = json!(1.5);
        assert!(expected.telling().unwrap_err().contains("mean of ada"));
    }
}
