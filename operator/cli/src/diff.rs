//! What applying a file would do. The API server says what would stand, by a dry run; the operator's own code says which
//! revision that is.
//!
//! Invariant: nothing is written.

mod change;
mod tell;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Read as _;

use crds::{Architecture, FeatureView};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, ValidationDirective};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::CliError;
use change::applied;
use tell::{Before, View};

/// The annotation in which `kubectl apply` keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who applies by `kubectl apply --server-side`.
const KUBECTL: &str = "kubectl";

/// An object as it stands, and as it would be.
struct Change<K> {
    before: Option<K>,
    after: K,
}

/// Tells what applying the file would do; answers whether it would do anything.
pub async fn run(client: &Client, namespace: &str, file: &str) -> Result<bool, CliError> {
    let (mut architectures, mut views, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents(&text(file)?).map_err(|why| CliError::Nothing(format!("{file}: {why}")))? {
        let namespace = document["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned();
        match (document["apiVersion"].as_str(), document["kind"].as_str()) {
            (Some("featuremill.dev/v1alpha1"), Some("Architecture")) => {
                architectures.push(change::<Architecture>(client, &namespace, &document).await?);
            }
            (Some("featuremill.dev/v1alpha1"), Some("FeatureView")) => {
                views.push(change::<FeatureView>(client, &namespace, &document).await?);
            }
            (_, kind) => others.push(kind.unwrap_or("an object without a kind").to_owned()),
        }
    }
    if architectures.is_empty() && views.is_empty() {
        return Err(CliError::Nothing(format!("{file} has no FeatureView and no Architecture")));
    }
    let in_file = views.len();
    for architecture in architectures.iter().filter(|a| mode_changes(a)) {
        views.extend(followers(client, architecture, &views).await?);
    }
    let known = Architectures::read(client, &architectures, &views).await?;
    let mut told: Vec<(bool, String)> = architectures.iter().map(tell::architecture).collect();
    for (i, Change { before, after }) in views.iter().enumerate() {
        let before = before.as_ref().map(|view| Before { view, architecture: known.stands(view) });
        let view = View { before, after, architecture: known.would_be(after), in_file: i < in_file };
        told.push(tell::view(&view, Timestamp::now()).map_err(CliError::Nothing)?);
    }
    for (_, text) in &told {
        print!("{text}");
    }
    if !others.is_empty() {
        eprintln!("featuremill: not told of here: {}; ask `kubectl diff`", others.join(", "));
    }
    Ok(told.iter().any(|(differs, _)| *differs))
}

fn text(file: &str) -> Result<String, CliError> {
    let read = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| CliError::Nothing(format!("reading {file}: {error}")))
}

/// The objects of a file; those of a `List` one by one.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        match Value::deserialize(document).map_err(|error| error.to_string())? {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                if let Some(Value::Array(items)) = list.remove("items") {
                    all.extend(items);
                }
            }
            document => all.push(document),
        }
    }
    Ok(all)
}

/// Has the API server say what an object would be: as `kubectl apply`, or its `--server-side`, would do it, whichever made
/// what stands.
async fn change<K>(client: &Client, namespace: &str, file: &Value) -> Result<Change<K>, CliError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let kind = K::kind(&());
    let Some(name) = file["metadata"]["name"].as_str() else {
        return Err(CliError::Nothing(format!("metadata.name: a {kind} of the file has none")));
    };
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let before = api.get_opt(name).await.map_err(CliError::api(format!("reading {kind} {namespace}/{name}")))?;
    let last = before.as_ref().and_then(|object| object.annotations().get(LAST_APPLIED));
    let strict = Some(ValidationDirective::Strict);
    let answer = if let Some(last) = last.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        let parameters = PatchParams { dry_run: true, field_validation: strict, ..PatchParams::default() };
        api.patch(name, &parameters, &Patch::Merge(applied(&last, file))).await
    } else {
        let manager = before.as_ref().and_then(applier).unwrap_or_else(|| KUBECTL.to_owned());
        let parameters = PatchParams { field_validation: strict, ..PatchParams::apply(&manager).force().dry_run() };
        api.patch(name, &parameters, &Patch::Apply(file)).await
    };
    match answer {
        Ok(after) => Ok(Change { before, after }),
        // A field that the schema does not know is answered with 500 where it is applied on the server's side.
        Err(kube::Error::Api(refusal)) => {
            Err(CliError::Nothing(format!("{}/{name} cannot be applied: {}", kind.to_lowercase(), refusal.message)))
        }
        Err(error) => Err(CliError::api(format!("a dry run of {kind} {namespace}/{name}"))(error)),
    }
}

/// Who applied an object on the server's side.
fn applier<K: Resource>(object: &K) -> Option<String> {
    let entries = object.meta().managed_fields.iter().flatten();
    let applied = entries.filter(|entry| entry.operation.as_deref() == Some("Apply") && entry.subresource.is_none());
    let mut managers = applied.filter_map(|entry| entry.manager.clone());
    managers.find(|manager| manager != operator::names::FIELD_MANAGER)
}

fn mode_changes(change: &Change<Architecture>) -> bool {
    let before = change.before.as_ref().map(|before| before.spec.mode.canonical());
    before.is_some_and(|before| before != change.after.spec.mode.canonical())
}

/// The views that follow an Architecture's mode, beside those of the file.
async fn followers(
    client: &Client,
    change: &Change<Architecture>,
    of_file: &[Change<FeatureView>],
) -> Result<Vec<Change<FeatureView>>, CliError> {
    let (name, namespace) = (change.after.name_any(), change.after.namespace().unwrap_or_default());
    let api = Api::<FeatureView>::namespaced(client.clone(), &namespace);
    let doing = CliError::api(format!("listing featureviews of namespace {namespace}"));
    let mut views = api.list(&ListParams::default()).await.map_err(doing)?.items;
    views.retain(|view| {
        let named = |change: &&Change<FeatureView>| place(&change.after) == place(view);
        view.spec.architecture_ref.name == name && !of_file.iter().any(|change| named(&change))
    });
    Ok(views.into_iter().map(|view| Change { before: Some(view.clone()), after: view }).collect())
}

/// Namespace and name.
fn place<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The Architectures that views name: as they stand, and as they would be.
struct Architectures {
    stand: BTreeMap<(String, String), Architecture>,
    would_be: BTreeMap<(String, String), Architecture>,
}

impl Architectures {
    async fn read(
        client: &Client,
        of_file: &[Change<Architecture>],
        views: &[Change<FeatureView>],
    ) -> Result<Self, CliError> {
        let stand = of_file.iter().filter_map(|change| change.before.clone());
        let would_be = of_file.iter().map(|change| change.after.clone());
        let mut known = Self {
            stand: stand.map(|architecture| (place(&architecture), architecture)).collect(),
            would_be: would_be.map(|architecture| (place(&architecture), architecture)).collect(),
        };
        for view in views.iter().flat_map(|change| change.before.iter().chain([&change.after])) {
            let (namespace, name) = of(view);
            if known.stand.contains_key(&of(view)) {
                continue;
            }
            let api = Api::<Architecture>::namespaced(client.clone(), &namespace);
            let doing = CliError::api(format!("reading architecture {namespace}/{name}"));
            if let Some(found) = api.get_opt(&name).await.map_err(doing)? {
                known.stand.insert((namespace, name), found);
            }
        }
        Ok(known)
    }

    fn stands(&self, view: &FeatureView) -> Option<&Architecture> {
        self.stand.get(&of(view))
    }

    fn would_be(&self, view: &FeatureView) -> Option<&Architecture> {
        self.would_be.get(&of(view)).or_else(|| self.stands(view))
    }
}

/// The Architecture that a view names.
fn of(view: &FeatureView) -> (String, String) {
    (view.namespace().unwrap_or_default(), view.spec.architecture_ref.name.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_holds_documents_lists_and_nothing() {
        let text = "kind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n";
        let kinds: Vec<Value> = documents(text).unwrap().into_iter().map(|mut d| d["kind"].take()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert!(documents("a: [").is_err());
    }
}
