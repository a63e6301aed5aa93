//! Takes secrets out of everything that goes into a bundle. Pure.
//!
//! Invariants: only [`all`] makes a [`Masked`], and only that can be packed; it has seen all files before it lets go of one, so
//! that what is recognised as a secret in one place is masked wherever else it stands, in the log of another pod for one. When in
//! doubt it masks too much: a bundle with a hole in it can be asked about, one that was sent cannot be taken back.

mod key;
mod learned;
mod line;

use std::borrow::Cow;

use serde_json::{Map, Value};

use key::{is_harmless, is_secret};
use learned::{Everywhere, Learned};
use line::Patterns;

/// What stands in place of what was masked.
pub const MASK: &str = "<masked>";

/// A file as it was read.
pub enum Raw {
    /// Objects of Kubernetes, or anything else that has a structure.
    Objects(Vec<Value>),
    /// Lines: a log, metrics, or what this command says itself.
    Text(String),
}

/// A file's text without secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct Masked(String);

impl Masked {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Annotations that say what Kubernetes, Helm and the operator did. All others are somebody's, and may hold anything.
const ANNOTATIONS: [&str; 7] = [
    "featuremill.dev/",
    "deployment.kubernetes.io/",
    "batch.kubernetes.io/",
    "meta.helm.sh/",
    "helm.sh/",
    "kubectl.kubernetes.io/restartedAt",
    "kubectl.kubernetes.io/default-container",
];

/// Masks all files of a bundle, in their order; `names` are known to be none, whatever else they stand for.
///
/// # Errors
/// When there are no patterns to look for, which would be a defect of this command: nothing is to be packed then.
pub fn all(
    files: Vec<(String, Raw)>,
    names: impl IntoIterator<Item = String>,
) -> Result<Vec<(String, Masked)>, regex::Error> {
    let mut masker = Masker { patterns: Patterns::new()?, learned: Learned::besides(names), everywhere: None };
    for (_, raw) in &files {
        match raw {
            Raw::Text(text) => drop(masker.lines(text)),
            Raw::Objects(objects) => objects.iter().for_each(|object| masker.object(&mut object.clone())),
        }
    }
    // Whole secrets go first: a pattern might take only a part of one, and leave the rest where nobody recognises it.
    masker.everywhere = Some(masker.learned.everywhere());
    let masked = files.into_iter().map(|(name, raw)| {
        let text = match raw {
            Raw::Text(text) => masker.lines(&text),
            Raw::Objects(objects) => masker.yaml(objects),
        };
        (name, Masked(text))
    });
    Ok(masked.collect())
}

/// What is looked for, and what was found.
struct Masker {
    patterns: Patterns,
    learned: Learned,
    /// What masks all that was learned, once all of it is.
    everywhere: Option<Everywhere>,
}

/// Whether what is masked in one place is a secret everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Learn {
    Yes,
    No,
}

impl Masker {
    fn yaml(&mut self, mut objects: Vec<Value>) -> String {
        for object in &mut objects {
            self.object(object);
        }
        // What JSON can say YAML can, too; should it not, nothing is better than what was not masked.
        serde_yaml_ng::to_string(&objects).unwrap_or_else(|error| format!("# cannot be written: {error}\n"))
    }

    /// An object of Kubernetes, in place.
    fn object(&mut self, object: &mut Value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            // It names fields, and of lists also their items.
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                self.annotations(annotations);
            }
        }
        match object["kind"].as_str() {
            // Whom an erasure is about; and a Secret, which nobody asked for.
            Some("Erasure") => self.wipe(object.pointer_mut("/spec/entity"), Learn::Yes),
            Some("Secret") => {
                self.wipe(object.pointer_mut("/data"), Learn::Yes);
                self.wipe(object.pointer_mut("/stringData"), Learn::Yes);
            }
            Some("ConfigMap") => self.wipe(object.pointer_mut("/binaryData"), Learn::No),
            _ => {}
        }
        self.value(object);
    }

    /// Annotations of anybody are masked, and what is secret in them is learned: `kubectl apply` keeps the whole object in one.
    fn annotations(&mut self, annotations: &mut Map<String, Value>) {
        for (key, annotation) in annotations {
            if ANNOTATIONS.iter().any(|known| key.starts_with(known)) {
                continue;
            }
            let learn = if is_secret(key) { Learn::Yes } else { Learn::No };
            self.value(&mut annotation.clone());
            self.wipe(Some(annotation), learn);
        }
    }

    /// Masks what is secret in a value by its key or by what it looks like.
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => self.array(items),
            Value::Object(fields) => self.fields(fields),
            // An entity's key may be one, and be written as text where it is known to be secret.
            Value::Number(number) => {
                let number = number.to_string();
                if self.everywhere.as_ref().is_some_and(|everywhere| everywhere.mask(&number) == MASK) {
                    *value = Value::String(MASK.to_owned());
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A flag's value may be the item after it: `["--password", "…"]`.
    fn array(&mut self, items: &mut [Value]) {
        let mut follows = false;
        for item in items {
            let flag = item.as_str().filter(|text| text.starts_with('-')).map(str::to_owned);
            if follows && flag.is_none() {
                self.wipe(Some(item), Learn::Yes);
            } else {
                self.value(item);
            }
            follows = flag.is_some_and(|flag| !flag.contains(['=', ' ']) && is_secret(&flag));
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>) {
        // `{name: …, value: …}`, as variables of the environment and headers are written.
        let named = ["name", "key"].iter().find_map(|key| fields.get(*key)).and_then(Value::as_str);
        let pair = named.is_some_and(is_secret);
        for (key, field) in fields.iter_mut() {
            match key.as_str() {
                "env" | "httpHeaders" => self.pairs(field),
                "value" if pair => self.wipe(Some(field), Learn::Yes),
                _ if is_harmless(key, field) => self.value(field),
                _ if is_secret(key) => self.wipe(Some(field), Learn::Yes),
                _ => self.value(field),
            }
        }
    }

    /// Of pairs of a name and a value every value, whatever the name says.
    fn pairs(&mut self, pairs: &mut Value) {
        for item in pairs.as_array_mut().into_iter().flatten() {
            let learn = if item["name"].as_str().is_some_and(is_secret) { Learn::Yes } else { Learn::No };
            if let Some(said) = item.get_mut("value") {
                // Part of it may be a secret that stands elsewhere as well: in a URL, for one.
                self.value(&mut said.clone());
                self.wipe(Some(said), learn);
            }
        }
        self.value(pairs);
    }

    /// Masks a value whole, however deep. What is true or false or not there tells nothing.
    fn wipe(&mut self, value: Option<&mut Value>, learn: Learn) {
        let Some(value) = value else { return };
        let secret = match value {
            Value::Array(items) => return items.iter_mut().for_each(|item| self.wipe(Some(item), learn)),
            Value::Object(fields) => return fields.values_mut().for_each(|field| self.wipe(Some(field), learn)),
            Value::Null | Value::Bool(_) => return,
            Value::Number(number) => number.to_string(),
            Value::String(text) if text.is_empty() => return,
            Value::String(text) => std::mem::take(text),
        };
        if learn == Learn::Yes {
            self.learned.learn(&secret);
        }
        *value = Value::String(MASK.to_owned());
    }

    /// A text of many lines, each of which may be JSON.
    fn lines(&mut self, text: &str) -> String {
        let text = self.patterns.without_keys(text);
        let mut masked = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            masked.push_str(&self.text(line));
            masked.push_str(end);
        }
        masked
    }

    /// A text as it stands in a field, or a line: JSON by its keys, all else by what it looks like.
    fn text(&mut self, text: &str) -> String {
        if text.trim_start().starts_with(['{', '['])
            && let Ok(mut value) = serde_json::from_str::<Value>(text)
        {
            self.value(&mut value);
            return value.to_string();
        }
        let Self { patterns, learned, everywhere } = self;
        let text = everywhere.as_ref().map_or(Cow::Borrowed(text), |everywhere| Cow::Owned(everywhere.mask(text)));
        let text = patterns.without_keys(&text);
        let lines: Vec<String> =
            text.split('\n').map(|line| patterns.line(line, &mut |secret| learned.learn(secret))).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;
