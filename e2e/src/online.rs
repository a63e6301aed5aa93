//! A client of the feature server, as an application would write it: Feast's request in, Feast's columns out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

/// Why a read gave no answer.
#[derive(Debug, Error)]
pub enum OnlineError {
    /// The server was not reached.
    #[error("POST {url}: {message}")]
    Unreached {
        /// Where.
        url: String,
        /// What the HTTP client said.
        message: String,
    },
    /// The server refused.
    #[error("POST {url} answered {status}: {body}")]
    Refused {
        /// Where.
        url: String,
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
    /// The answer is not of Feast's shape.
    #[error("the answer has no {0}")]
    Shape(&'static str),
}

/// One feature of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The value.
    pub value: Value,
    /// `PRESENT`, `NULL_VALUE`, `NOT_FOUND`, …
    pub status: String,
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// By feature, then by entity in the order asked.
    pub features: BTreeMap<String, Vec<Cell>>,
    /// The metadata as it came.
    pub metadata: Value,
}

/// A feature server's address, and the connection to it.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:30566`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build();
        Self { agent: config.into(), url: format!("{base}/get-online-features") }
    }

    /// Features of entities of one key, as of a time in milliseconds or now.
    ///
    /// # Errors
    /// [`OnlineError`].
    pub fn get(
        &self,
        view: &str,
        features: &[String],
        key: &str,
        entities: &[String],
        as_of: Option<i64>,
    ) -> Result<Answer, OnlineError> {
        let features: Vec<_> = features.iter().map(|f| format!("{view}:{f}")).collect();
        let mut body = json!({"features": features, "entities": {key: entities}});
        if let Some(t) = as_of {
            body["as_of"] = json!(t);
        }
        answer(&self.post(&body)?)
    }

    /// Posts a body and gives the answer as JSON.
    ///
    /// # Errors
    /// [`OnlineError::Unreached`] and [`OnlineError::Refused`].
    pub fn post(&self, body: &Value) -> Result<Value, OnlineError> {
        let unreached = |e: ureq::Error| OnlineError::Unreached { url: self.url.clone(), message: e.to_string() };
        let mut response = self.agent.post(&self.url).send_json(body).map_err(unreached)?;
        if response.status().is_success() {
            return response.body_mut().with_config().limit(64 << 20).read_json().map_err(unreached);
        }
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string().unwrap_or_default();
        Err(OnlineError::Refused { url: self.url.clone(), status, body })
    }
}

/// Reads Feast's columns: `results[i]` belongs to `metadata.feature_names[i]`.
fn answer(json: &Value) -> Result<Answer, OnlineError> {
    let names = json["metadata"]["feature_names"].as_array().ok_or(OnlineError::Shape("metadata.feature_names"))?;
    let results = json["results"].as_array().ok_or(OnlineError::Shape("results"))?;
    let mut features = BTreeMap::new();
    for (name, result) in names.iter().zip(results) {
        let name = name.as_str().ok_or(OnlineError::Shape("name of a feature"))?;
        let values = result["values"].as_array().ok_or(OnlineError::Shape("values"))?;
        let statuses = result["statuses"].as_array().ok_or(OnlineError::Shape("statuses"))?;
        let cells = values.iter().zip(statuses).map(|(value, status)| Cell {
            value: value.clone(),
            status: status.as_str().unwrap_or_default().to_owned(),
        });
        features.insert(name.to_owned(), cells.collect());
    }
    Ok(Answer { features, metadata: json["metadata"].clone() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_belong_to_their_names() {
        let json = json!({
            "metadata": {"feature_names": ["user_id", "clicks"]},
            "results": [{"values": ["a", "b"], "statuses": ["PRESENT", "PRESENT"]}, {"values": [3, null], "statuses": ["PRESENT", "NOT_FOUND"]}],
        });
        let answer = super::answer(&json).unwrap();
        assert_eq!(answer.features["clicks"][0], Cell { value: json!(3), status: "PRESENT".into() });
        assert_eq!(answer.features["clicks"][1].status, "NOT_FOUND");
        assert!(super::answer(&json!({})).is_err());
    }
}
