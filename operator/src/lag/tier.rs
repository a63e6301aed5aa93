//! How urgent a lag is. Pure.
//!
//! A tier is exceeded while the lag is above its bound, and raised once it has been for `forSeconds` without a break. One that is
//! raised goes only after the lag has been at three quarters of the bound or less for a minute: what sways about a bound neither
//! calls anybody each minute, nor says that all is well. Tier 1 is exceeded, too, while nothing is read at all, or cannot be. Of a
//! first reading, which begins far behind, what counts is for how long some partition has stood still while others are read.

use std::collections::BTreeMap;

use crds::feature_view::{AlertTier, ExceededTier, LagStatus};
use k8s_openapi::jiff::Timestamp;

use super::measure::Measured;
use crate::conditions::seconds;

#[cfg(test)]
mod tests;

/// For how long a lag must be well under a bound until its tier goes.
const CLEAR_AFTER_MS: i64 = 60_000;
/// What was not measured for longer than this was not without a break.
const BREAK_MS: i64 = 120_000;

/// How urgent: 1 is the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Somebody is called.
    One,
    /// Somebody looks today.
    Two,
    /// It is noted.
    Three,
}

impl Tier {
    /// All, the most urgent first.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    fn of(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.number() == number)
    }
}

/// From when on a tier is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// More than this far behind.
    pub lag_seconds: i64,
    /// For that long.
    pub for_seconds: i64,
}

/// The bounds of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds([Threshold; 3]);

impl Thresholds {
    /// The view's, else the Architecture's, else those that are built in.
    #[must_use]
    pub fn of(view: &[AlertTier], architecture: &[AlertTier]) -> Self {
        let given = |tier: Tier| view.iter().chain(architecture).find(|given| given.tier == tier.number());
        let built_in = |tier: Tier| {
            let lag_seconds = match tier {
                Tier::One => 600,
                Tier::Two => 300,
                Tier::Three => 120,
            };
            Threshold { lag_seconds, for_seconds: 60 }
        };
        Self(Tier::ALL.map(|tier| {
            given(tier).map_or_else(
                || built_in(tier),
                |given| Threshold { lag_seconds: given.lag_seconds.into(), for_seconds: given.for_seconds.into() },
            )
        }))
    }

    /// That of a tier.
    #[must_use]
    pub fn get(&self, tier: Tier) -> Threshold {
        match tier {
            Tier::One => self.0[0],
            Tier::Two => self.0[1],
            Tier::Three => self.0[2],
        }
    }
}

/// Which tiers are exceeded, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    at: Option<i64>,
    exceeded: BTreeMap<Tier, Exceeded>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exceeded {
    since: i64,
    raised: bool,
    /// Since when the lag is well under the bound.
    under: Option<i64>,
}

impl Alarm {
    /// What an operator that was restarted goes on from.
    #[must_use]
    pub fn of(status: &LagStatus) -> Self {
        let read = |exceeded: &ExceededTier| {
            let (tier, since) = (Tier::of(exceeded.tier)?, exceeded.since.parse::<Timestamp>().ok()?);
            let raised = status.tier.is_some_and(|raised| raised <= exceeded.tier);
            Some((tier, Exceeded { since: since.as_millisecond(), raised, under: None }))
        };
        Self { at: None, exceeded: status.exceeded.iter().filter_map(read).collect() }
    }

    /// The tiers that are exceeded, in the words of status.
    #[must_use]
    pub fn exceeded(&self) -> Vec<ExceededTier> {
        let time = |ms| Timestamp::from_millisecond(ms).map(seconds).unwrap_or_default();
        self.exceeded.iter().map(|(tier, e)| ExceededTier { tier: tier.number(), since: time(e.since) }).collect()
    }

    /// The most urgent tier that is raised, and since when it is exceeded.
    #[must_use]
    pub fn raised(&self) -> Option<(Tier, i64)> {
        self.exceeded.iter().find(|(_, exceeded)| exceeded.raised).map(|(tier, exceeded)| (*tier, exceeded.since))
    }

    /// The most urgent tier that is raised.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        self.raised().map(|(tier, _)| tier)
    }
}

/// Which tiers a lag exceeds at `now`. Of who is `silent` none is: its workers are stopped on purpose.
#[must_use]
pub fn decide(measured: &Measured, thresholds: &Thresholds, silent: bool, now: i64, before: &Alarm) -> Alarm {
    let mut alarm = Alarm { at: Some(now), exceeded: BTreeMap::new() };
    if silent {
        return alarm;
    }
    let broke = before.at.is_some_and(|at| now - at > BREAK_MS);
    let cannot = measured.stopped || !measured.broken.is_empty();
    // A first revision begins far behind: that is its work, unless it does not do it.
    let lag = if measured.first_reading { measured.stalled_seconds } else { measured.seconds };
    for tier in Tier::ALL {
        let Threshold { lag_seconds, for_seconds } = thresholds.get(tier);
        let known = before.exceeded.get(&tier).filter(|known| known.raised || !broke);
        let next = if lag > lag_seconds || (tier == Tier::One && cannot) {
            let since = known.map_or(now, |known| known.since);
            let raised = known.is_some_and(|known| known.raised) || now - since >= for_seconds * 1000;
            Some(Exceeded { since, raised, under: None })
        } else {
            known.filter(|known| known.raised).and_then(|known| {
                // For how long a partition has stood still an operator that was restarted counts anew.
                let well_under = lag <= lag_seconds * 3 / 4 && measured.stalled.is_empty();
                let under = well_under.then(|| known.under.unwrap_or(now));
                let clear = under.is_some_and(|under| now - under >= CLEAR_AFTER_MS);
                (!clear).then_some(Exceeded { under, ..*known })
            })
        };
        if let Some(next) = next {
            alarm.exceeded.insert(tier, next);
        }
    }
    alarm
}
