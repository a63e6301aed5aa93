//! What a client asks: Feast's request, plus `as_of` and `include_windows`.
//!
//! Invariants of a [`Request`] that [`parse`] gave: at least one feature is asked for, there is at least one entity
//! column, and all entity columns are equally long and not empty. Nothing is known yet of which views exist.
//! Fields that are not known are refused: a mistyped `as_of` must not be answered with the values of now.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::failure::Failure;
use crate::time_text::parse_rfc3339;

/// One request, checked as far as it can be without knowing the views.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub features: Features<'a>,
    /// The entity columns, in the client's order; their values as the client wrote them.
    pub entities: Vec<(Cow<'a, str>, Vec<Value>)>,
    /// Whether features are named `view__feature` in the answer.
    pub full_feature_names: bool,
    /// The time of the read in milliseconds since the epoch; `None` is now.
    pub as_of: Option<i64>,
    /// Whether the answer's metadata holds each feature's window bounds.
    pub include_windows: bool,
}

/// Which features are asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Features<'a> {
    /// `view:feature` each, as pairs.
    List(Vec<(Cow<'a, str>, Cow<'a, str>)>),
    /// All features of one view.
    Service(Cow<'a, str>),
}

impl Request<'_> {
    /// How many entities are asked for.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.entities.first().map_or(0, |(_, values)| values.len())
    }
}

/// Feast's field names, ours, and those of Feast's that change nothing here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(default, borrow)]
    features: Option<Vec<Cow<'a, str>>>,
    #[serde(default, borrow)]
    feature_service: Option<Cow<'a, str>>,
    #[serde(borrow)]
    entities: Columns<'a>,
    #[serde(default)]
    full_feature_names: bool,
    #[serde(default, borrow)]
    as_of: Option<Instant<'a>>,
    #[serde(default)]
    include_windows: bool,
    /// Feast's SDK may send it; our metadata always names the revision of every view.
    #[serde(default, rename = "include_feature_view_version_metadata")]
    _version_metadata: bool,
}

/// A JSON object in the order it was written, which is the order Feast answers in.
struct Columns<'a>(Vec<(Cow<'a, str>, Vec<Value>)>);

/// `as_of` as it was written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Instant<'a> {
    Milliseconds(i64),
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(serde::de::IgnoredAny),
}

/// Reads a request's body.
///
/// # Errors
/// [`Failure::Invalid`], naming the field, or the line and column where the body stops being such a request.
pub fn parse(body: &[u8]) -> Result<Request<'_>, Failure> {
    let raw: Raw<'_> = serde_json::from_slice(body).map_err(|e| Failure::Invalid {
        field: None,
        message: format!("the body is not a request for features: {e}"),
    })?;
    let features = features(raw.features, raw.feature_service)?;
    let entities = raw.entities.0;
    let Some((first, values)) = entities.first() else {
        return Err(Failure::invalid("entities", "no entity is named; give a list of values for each entity key"));
    };
    if values.is_empty() {
        return Err(Failure::invalid(format!("entities.{first}"), "the list is empty; give at least one value"));
    }
    if let Some((name, other)) = entities.iter().find(|(_, v)| v.len() != values.len()) {
        let message = format!(
            "`{name}` has {} values but `{first}` has {}; all lists must be equally long",
            other.len(),
            values.len()
        );
        return Err(Failure::invalid(format!("entities.{name}"), message));
    }
    for (i, (name, _)) in entities.iter().enumerate() {
        if entities[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(Failure::invalid(format!("entities.{name}"), format!("`{name}` is given twice")));
        }
    }
    Ok(Request {
        features,
        full_feature_names: raw.full_feature_names,
        as_of: raw.as_of.map(instant).transpose()?,
        include_windows: raw.include_windows,
        entities,
    })
}

fn features<'a>(list: Option<Vec<Cow<'a, str>>>, service: Option<Cow<'a, str>>) -> Result<Features<'a>, Failure> {
    match (list, service) {
        (Some(_), Some(_)) => {
            Err(Failure::invalid("feature_service", "give either `features` or `feature_service`, not both"))
        }
        (None, None) => {
            Err(Failure::invalid("features", "nothing is asked for; give `features` as a list of \"view:feature\""))
        }
        (None, Some(view)) => Ok(Features::Service(view)),
        (Some(list), None) if list.is_empty() => {
            Err(Failure::invalid("features", "the list is empty; name at least one feature"))
        }
        (Some(list), None) => {
            let pairs = list.into_iter().enumerate().map(|(i, reference)| pair(i, reference));
            pairs.collect::<Result<_, _>>().map(Features::List)
        }
    }
}

fn pair(i: usize, reference: Cow<'_, str>) -> Result<(Cow<'_, str>, Cow<'_, str>), Failure> {
    let malformed = |text: &str| {
        Failure::invalid(format!("features[{i}]"), format!("{text:?} is not of the form \"view:feature\""))
    };
    let Some(at) = reference.find(':').filter(|&at| at > 0 && at + 1 < reference.len()) else {
        return Err(malformed(&reference));
    };
    Ok(match reference {
        Cow::Borrowed(text) => (Cow::Borrowed(&text[..at]), Cow::Borrowed(&text[at + 1..])),
        Cow::Owned(mut text) => {
            let feature = text.split_off(at + 1);
            text.truncate(at);
            (Cow::Owned(text), Cow::Owned(feature))
        }
    })
}

fn instant(instant: Instant<'_>) -> Result<i64, Failure> {
    match instant {
        Instant::Milliseconds(millis) => Ok(millis),
        Instant::Text(text) => parse_rfc3339(&text).map_err(|reason| {
            Failure::invalid(
                "as_of",
                format!("{text:?} is not an RFC 3339 time such as \"2026-01-31T12:00:00Z\": {reason}"),
            )
        }),
        Instant::Other(_) => Err(Failure::invalid(
            "as_of",
            "give an RFC 3339 time as text, or an integer of milliseconds since the epoch",
        )),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Columns<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of entity keys and lists of their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns<'de>, A::Error> {
                let mut columns = Vec::new();
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    columns.push((name, map.next_value()?));
                }
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Text that is borrowed where the body has no escapes in it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
