//! What of all views somebody is to be told, at one glance.

use std::sync::PoisonError;

use super::tier::Tier;
use super::{Lags, Standing};

/// A view with a tier that is raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The view's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The most urgent one.
    pub tier: Tier,
    /// Since when it is exceeded, in milliseconds.
    pub since: i64,
    /// How far the view is behind, if that is known now.
    pub seconds: Option<i64>,
    /// From where on the tier is exceeded.
    pub threshold: i64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Those with a tier.
    pub raised: Vec<Raised>,
    /// How many could not be measured the last time.
    pub unmeasured: usize,
}

impl Lags {
    /// How all views stand: what was raised stays so while it is not known, and over a restart.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let raised = known.views.values().filter_map(|followed| {
            let (tier, since) = followed.alarm.raised()?;
            let subject = &followed.subject;
            let seconds = match &followed.standing {
                Standing::Known(judged) => Some(judged.measured.seconds),
                Standing::None | Standing::Unknown(_) => None,
            };
            Some(Raised {
                namespace: subject.namespace.clone(),
                name: subject.name.clone(),
                tier,
                since,
                seconds,
                threshold: subject.thresholds.get(tier).lag_seconds,
            })
        });
        let unmeasured = known.views.values().filter(|followed| followed.missed > 0).count();
        Summary { raised: raised.collect(), unmeasured }
    }
}
