//! Which versions run, and whether the cluster's definitions are those that this command knows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::ask::{each, is_of_our_chart, text};
use super::super::gather::Found;
use super::{full_name, of};

/// How many fields that differ are named.
const NAMED: usize = 5;

/// The versions in words, a line each.
pub fn told(found: &Found) -> String {
    let mut lines = vec![format!("this command: {}", env!("CARGO_PKG_VERSION"))];
    let kubernetes = found.version.as_ref().map_or("", |version| text(version, "/gitVersion"));
    lines.push(format!("Kubernetes: {}", if kubernetes.is_empty() { "not known" } else { kubernetes }));
    let operators: Vec<&Value> = of(found, "deployments").filter(|object| is_of_our_chart(object)).collect();
    if operators.is_empty() {
        lines.push("operator: none was found; where it is can be said by --operator-namespace".to_owned());
    }
    for operator in operators {
        let image = text(operator, "/spec/template/spec/containers/0/image");
        let (ready, wanted) = (&operator["status"]["readyReplicas"], &operator["spec"]["replicas"]);
        let ready = ready.as_u64().unwrap_or_default();
        lines.push(format!("operator: {image} as {}, {ready} of {wanted} ready", full_name(operator)));
    }
    for lease in &found.leases {
        let holder = Some(text(lease, "/spec/holderIdentity")).filter(|holder| !holder.is_empty());
        lines.push(format!("leads: {}, renewed {}", holder.unwrap_or("nobody"), text(lease, "/spec/renewTime")));
    }
    for (image, pods) in images(found) {
        lines.push(format!("image: {image}, {pods} pods"));
    }
    for (name, definition) in &found.definitions {
        let Some(definition) = definition else {
            lines.push(format!("definition {name}: could not be read"));
            continue;
        };
        let Difference { lacks, unknown } = difference(name, definition);
        let some = |fields: &[String]| {
            let named = fields.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            if fields.len() > NAMED { format!("{named} and {} more", fields.len() - NAMED) } else { named }
        };
        if !lacks.is_empty() {
            lines.push(format!("definition {name}: older than this command, it lacks {}", some(&lacks)));
        }
        if !unknown.is_empty() {
            lines.push(format!("definition {name}: newer than this command, which does not know {}", some(&unknown)));
        }
    }
    lines.join("\n") + "\n"
}

/// The same for programs.
pub fn versions(found: &Found) -> Value {
    let definitions: Vec<Value> = found
        .definitions
        .iter()
        .map(|(name, definition)| {
            let Some(definition) = definition else { return json!({"name": name, "read": false}) };
            let Difference { lacks, unknown } = difference(name, definition);
            let versions: Vec<Value> = each(definition, "/spec/versions")
                .map(|v| json!({"name": v["name"], "served": v["served"], "storage": v["storage"]}))
                .collect();
            json!({
                "name": name, "read": true, "versions": versions, "storedVersions": definition["status"]["storedVersions"],
                "conditions": definition["status"]["conditions"], "lacks": lacks, "unknown": unknown,
            })
        })
        .collect();
    json!({
        "featuremill": env!("CARGO_PKG_VERSION"), "kubernetes": found.version, "images": images(found), "definitions": definitions,
    })
}

/// How many pods run each image, by its digest where that is known.
fn images(found: &Found) -> BTreeMap<String, usize> {
    let mut images = BTreeMap::new();
    for status in of(found, "pods").flat_map(|pod| each(pod, "/status/containerStatuses")) {
        let [image, id] = ["/image", "/imageID"].map(|at| text(status, at));
        *images.entry(if id.is_empty() { image.to_owned() } else { format!("{image} ({id})") }).or_default() += 1;
    }
    images
}

/// How a definition of the cluster differs from that of this command.
struct Difference {
    /// Fields that this command knows and the cluster does not.
    lacks: Vec<String>,
    /// And the other way round.
    unknown: Vec<String>,
}

fn difference(name: &str, definition: &Value) -> Difference {
    let known = crds::definitions().into_iter().map(|(_, known)| known);
    let mut known = known.filter(|known| known.metadata.name.as_deref() == Some(name));
    let known = known.find_map(|known| serde_json::to_value(known).ok()).unwrap_or_default();
    let (ours, theirs) = (fields(&known), fields(definition));
    Difference {
        lacks: ours.difference(&theirs).cloned().collect(),
        unknown: theirs.difference(&ours).cloned().collect(),
    }
}

/// Every field of a definition's schema, as a path.
fn fields(definition: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for version in each(definition, "/spec/versions") {
        walk(&version["schema"]["openAPIV3Schema"], text(version, "/name"), &mut all);
    }
    all
}

fn walk(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        walk(field, &path, all);
        all.insert(path);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            walk(&schema[below], path, all);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_definition_of_another_version_is_told_by_its_fields() {
        let (_, definition) = crds::definitions().into_iter().find(|(file, _)| *file == "featureviews.yaml").unwrap();
        let mut definition = serde_json::to_value(definition).unwrap();
        let found = |definition: &Value| Found {
            definitions: vec![("featureviews.featuremill.dev".to_owned(), Some(definition.clone()))],
            ..Found::default()
        };
        assert!(!told(&found(&definition)).contains("definition"), "{}", told(&found(&definition)));
        let spec =
            definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        spec.as_object_mut().unwrap().remove("suspend");
        let old = told(&found(&definition));
        assert!(old.contains("older than this command, it lacks v1alpha1.spec.suspend\n"), "{old}");
        definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap()["colour"] =
            json!({"type": "string"});
        let new = told(&found(&definition));
        assert!(new.contains("which does not know v1alpha1.spec.colour"), "{new}");
        assert_eq!(versions(&found(&definition))["definitions"][0]["lacks"], json!(["v1alpha1.spec.suspend"]));
    }
}
