//! The metrics of checks: what status says, of at most as many features of a view as it names, and gone with the view.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use crds::feature_view::MonitoringStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::told::parsed;
use crate::lag::figures::View;

/// A feature of a view.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Feature {
    /// The view's namespace.
    pub namespace: String,
    /// Its name.
    pub feature_view: String,
    /// The feature's.
    pub feature: String,
}

/// A number with a point.
type Number = Gauge<f64, AtomicU64>;
/// One number a feature.
type OfFeatures = Family<Feature, Number>;
/// One number a view.
type OfViews = Family<View, Number>;

/// All of them. Clones share them.
#[derive(Clone, Default)]
pub struct Figures {
    psi: OfFeatures,
    ks: OfFeatures,
    nulls: OfFeatures,
    outliers: OfFeatures,
    skew: OfFeatures,
    max_psi: OfViews,
    max_skew: OfViews,
    failed: OfViews,
    /// By UID of the view, what of it is there.
    shown: Arc<Mutex<HashMap<String, Shown>>>,
}

#[derive(Default)]
struct Shown {
    views: HashSet<View>,
    features: HashSet<Feature>,
}

impl Figures {
    /// Registers them, under the prefix `featuremill_feature`.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self::default();
        let of = registry.sub_registry_with_prefix("featuremill_feature");
        of.register("drift_psi", "How far a feature's values are from their reference", figures.psi.clone());
        of.register(
            "drift_ks",
            "The largest distance of a feature's distribution from its reference",
            figures.ks.clone(),
        );
        of.register("null_share", "How many of a feature's values are NULL", figures.nulls.clone());
        of.register("outlier_share", "How many of a feature's numbers lie far out", figures.outliers.clone());
        of.register("skew_ratio", "For how many entities a value is not what its events give", figures.skew.clone());
        of.register("drift_threshold", "The index above which a feature has drifted", figures.max_psi.clone());
        of.register("skew_threshold", "The ratio above which a feature is skewed", figures.max_skew.clone());
        of.register(
            "check_failed",
            "Whether the last check of a view's values came to no result",
            figures.failed.clone(),
        );
        figures
    }

    /// A view's status says this of its checks; `failed` is whether the last came to no result, of a view that has any.
    pub fn show(&self, uid: &str, view: &View, status: Option<&MonitoringStatus>, failed: Option<bool>) {
        let mut now = Shown::default();
        let feature = |name: &str| Feature {
            namespace: view.namespace.clone(),
            feature_view: view.feature_view.clone(),
            feature: name.to_owned(),
        };
        let mut set = |family: &OfFeatures, name: &str, number: Option<&String>| {
            let labels = feature(name);
            if let Some(number) = number {
                family.get_or_create(&labels).set(parsed(number));
            } else {
                family.remove(&labels);
            }
            now.features.insert(labels);
        };
        let (drift, skew) = (status.and_then(|s| s.drift.as_ref()), status.and_then(|s| s.skew.as_ref()));
        for f in drift.into_iter().flat_map(|drift| &drift.features) {
            set(&self.psi, &f.name, f.psi.as_ref());
            set(&self.ks, &f.name, f.ks.as_ref());
            set(&self.nulls, &f.name, Some(&f.null_share));
            set(&self.outliers, &f.name, f.outlier_share.as_ref());
        }
        let skewed = skew.map(|skew| &skew.features);
        for f in skewed.into_iter().flatten() {
            set(&self.skew, &f.name, Some(&f.ratio));
        }
        let limits = [
            (&self.max_psi, drift.map(|drift| parsed(&drift.max_psi))),
            (&self.max_skew, skew.map(|skew| parsed(&skew.max_mismatch_ratio))),
            (&self.failed, failed.map(|failed| f64::from(u8::from(failed)))),
        ];
        for (family, number) in limits {
            if let Some(number) = number {
                family.get_or_create(view).set(number);
            } else {
                family.remove(view);
            }
            now.views.insert(view.clone());
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let drifts: HashSet<&str> = drift.into_iter().flat_map(|d| &d.features).map(|f| f.name.as_str()).collect();
        let skews: HashSet<&str> = skewed.into_iter().flatten().map(|f| f.name.as_str()).collect();
        for old in shown.get(uid).into_iter().flat_map(|old| &old.features) {
            if !drifts.contains(old.feature.as_str()) {
                self.remove_drift(old);
            }
            if !skews.contains(old.feature.as_str()) {
                self.skew.remove(old);
            }
        }
        if status.is_none() && failed.is_none() {
            shown.remove(uid);
        } else {
            shown.insert(uid.to_owned(), now);
        }
    }

    /// A view is gone.
    pub fn forget(&self, uid: &str) {
        let gone = self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(uid).unwrap_or_default();
        for feature in &gone.features {
            self.remove_drift(feature);
            self.skew.remove(feature);
        }
        for view in &gone.views {
            self.max_psi.remove(view);
            self.max_skew.remove(view);
            self.failed.remove(view);
        }
    }

    fn remove_drift(&self, feature: &Feature) {
        for family in [&self.psi, &self.ks, &self.nulls, &self.outliers] {
            family.remove(feature);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crds::feature_view::{DriftStatus, FeatureDrift, FeatureSkew, SkewStatus};
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn status(drifted: &[&str], skewed: &[&str]) -> MonitoringStatus {
        let moved = |name: &&str| FeatureDrift {
            name: (*name).to_owned(),
            psi: Some("0.5000".into()),
            null_share: "0.1000".into(),
            ..FeatureDrift::default()
        };
        let skew =
            |name: &&str| FeatureSkew { name: (*name).to_owned(), ratio: "0.002".into(), ..FeatureSkew::default() };
        let drift = DriftStatus {
            max_psi: "0.25".into(),
            features: drifted.iter().map(moved).collect(),
            ..DriftStatus::default()
        };
        let skew = SkewStatus {
            max_mismatch_ratio: "0".into(),
            features: skewed.iter().map(skew).collect(),
            ..SkewStatus::default()
        };
        MonitoringStatus { drift: Some(drift), skew: Some(skew) }
    }

    #[test]
    fn what_is_shown_is_what_status_names_and_no_more() {
        let mut registry = Registry::default();
        let figures = Figures::register(&mut registry);
        let shown = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let mut lines: Vec<String> =
                text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            lines.sort();
            lines.into_iter().map(|line| line.replace("namespace=\"n\",feature_view=\"v\"", "v")).collect::<Vec<_>>()
        };
        let view = View { namespace: "n".into(), feature_view: "v".into() };
        figures.show("1", &view, Some(&status(&["a", "b"], &["b"])), Some(false));
        let both = shown();
        assert!(both.contains(&"featuremill_feature_drift_psi{v,feature=\"a\"} 0.5".to_owned()), "{both:#?}");
        assert!(both.contains(&"featuremill_feature_skew_ratio{v,feature=\"b\"} 0.002".to_owned()), "{both:#?}");
        assert!(both.contains(&"featuremill_feature_drift_threshold{v} 0.25".to_owned()), "{both:#?}");
        assert!(both.contains(&"featuremill_feature_check_failed{v} 0.0".to_owned()), "{both:#?}");
        // What is no longer named goes; so does all of a view that asks for nothing any more, or is gone.
        figures.show("1", &view, Some(&status(&["a"], &[])), Some(true));
        let one = shown();
        assert!(!one.iter().any(|line| line.contains("feature=\"b\"")) && one.len() < both.len(), "{one:#?}");
        figures.show("1", &view, None, None);
        assert_eq!(shown(), Vec::<String>::new());
        figures.show("1", &view, Some(&status(&["a"], &["b"])), Some(true));
        figures.forget("1");
        assert_eq!(shown(), Vec::<String>::new());
    }
}
