//! How far what is served is behind its topic, and who is to be told: lag, the tiers of its urgency, the condition `Fresh`.
//!
//! Positions are those of the live revision's markers in the online store, which outlive its workers; ends come from the
//! brokers, for all topics of a cluster at once. [`sweep`] asks for both every few seconds, [`measure`] makes figures of them,
//! [`tier`] decides; both are pure. A sweep writes metrics and memory alone: status is a round's to write, and a sweep asks for
//! one only when [`told`] says that status is to read otherwise.
//!
//! Invariants: only the live revision is measured, so that a candidate or a previous one never pages; what cannot be measured is
//! unknown, never nothing; a partition that is at its end has no lag, however old its last event is.

pub mod figures;
pub mod measure;
pub mod raised;
mod subject;
pub mod sweep;
pub mod tier;
pub mod told;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crds::FeatureViewStatus;

pub use subject::{Address, Follow, Subject, of_round};

use crate::scaling::{self, Memory};
use measure::{Measured, Seen};
use tier::{Alarm, Tier};

/// What is known of the lag of a view's live revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It has none: the live revision reads no topic, or nothing is live.
    None,
    /// It was not measured; why.
    Unknown(Unknown),
    /// It was.
    Known(Box<Judged>),
}

/// Why a lag is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is measured soon.
    Soon,
    /// The online store did not answer for a while.
    Store,
    /// The brokers did not.
    Brokers,
    /// They know of no such topic.
    Topic,
}

/// A lag, and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Of which revision.
    pub revision: String,
    /// When it was measured, in milliseconds.
    pub at: i64,
    /// How much it is.
    pub measured: Measured,
    /// Which tiers it exceeds.
    pub alarm: Alarm,
    /// How many workers there are to be; of a view whose workers are scaled by it.
    pub scaling: Option<Memory>,
}

/// What is remembered of every view that is followed.
#[derive(Default)]
pub struct Lags(Mutex<Known>);

#[derive(Default)]
struct Known {
    views: HashMap<String, Followed>,
    /// Of views that share an Architecture, one copy.
    addresses: HashSet<Arc<Address>>,
}

/// A view that is followed.
struct Followed {
    subject: Arc<Subject>,
    /// What its partitions were when they were last looked at.
    seen: Arc<Seen>,
    alarm: Alarm,
    scaling: Option<Memory>,
    standing: Standing,
    /// How often in a row it could not be measured.
    missed: u32,
    /// Why it was not known when a round last asked, if it was not.
    asked: Option<Unknown>,
}

impl Followed {
    /// As status says that the view stood: what an operator that was restarted goes on from.
    fn begin(subject: Arc<Subject>, stands: Option<&FeatureViewStatus>) -> Self {
        let lag = stands.and_then(|status| status.lag.as_ref()).filter(|lag| lag.revision == subject.revision);
        Self {
            seen: Arc::new(lag.map(Seen::of).unwrap_or_default()),
            alarm: lag.map(Alarm::of).unwrap_or_default(),
            scaling: scaling::of_subject(&subject, stands),
            standing: Standing::Unknown(Unknown::Soon),
            missed: 0,
            asked: None,
            subject,
        }
    }

    /// How it stands, as a round is told.
    fn ask(&mut self) -> Standing {
        self.asked = self.standing.unknown();
        self.standing.clone()
    }
}

/// How a view stands after a sweep.
pub(crate) struct Found {
    pub standing: Standing,
    /// The most urgent tier that is raised, also while the lag is not known.
    pub raised: Option<Tier>,
    /// Whether it became unknown, or known again, since a round last asked.
    pub otherwise: bool,
}

/// One copy of what was seen and decided before, for a sweep to go on from.
pub(crate) struct Before {
    pub subject: Arc<Subject>,
    pub seen: Arc<Seen>,
    pub alarm: Alarm,
    pub scaling: Option<Memory>,
}

/// So many sweeps may fail before what they knew is no longer taken for true.
const PATIENCE: u32 = 3;

impl Lags {
    /// Follows a view as a round found it, or no longer; answers what is known of its lag. `stands` is what status says of it:
    /// what an operator that was restarted remembers.
    pub fn follow(&self, uid: &str, follow: Follow, stands: Option<&FeatureViewStatus>) -> Standing {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut subject = match follow {
            Follow::No => {
                known.views.remove(uid);
                return Standing::None;
            }
            Follow::Yes(subject) => subject,
            Follow::AsBefore(told) => match (known.views.get_mut(uid), told) {
                (Some(followed), _) => return followed.ask(),
                (None, Some(subject)) => subject,
                (None, None) => return Standing::Unknown(Unknown::Soon),
            },
        };
        subject.address = subject.address.map(|address| known.shared(address));
        let subject = Arc::new(*subject);
        match known.views.get_mut(uid) {
            Some(followed) if followed.subject.revision == subject.revision => {
                if followed.scaling.is_none() || subject.scaling.is_none() {
                    followed.scaling = scaling::of_subject(&subject, stands);
                }
                followed.subject = subject;
                followed.ask()
            }
            _ => {
                let mut followed = Followed::begin(subject, stands);
                let standing = followed.ask();
                known.views.insert(uid.to_owned(), followed);
                standing
            }
        }
    }

    /// A view is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).views.remove(uid);
    }

    /// All that are followed, by UID; those that `stands` does not know any more are forgotten.
    pub(crate) fn all(&self, stands: impl Fn(&str, &Subject) -> bool) -> BTreeMap<String, Before> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.views.retain(|uid, followed| stands(uid, &followed.subject));
        let copy = |f: &Followed| Before {
            subject: f.subject.clone(),
            seen: f.seen.clone(),
            alarm: f.alarm.clone(),
            scaling: f.scaling.clone(),
        };
        let all = known.views.iter().map(|(uid, followed)| (uid.clone(), copy(followed))).collect();
        known.addresses.retain(|address| Arc::strong_count(address) > 1);
        all
    }

    /// Takes what a sweep found, unless the view is followed otherwise by now; answers how it stands.
    pub(crate) fn found(&self, uid: &str, of: &Subject, found: Result<(Seen, Judged), Unknown>) -> Option<Found> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = known.views.get_mut(uid).filter(|f| f.subject.revision == of.revision)?;
        match found {
            Ok((seen, judged)) => {
                followed.missed = 0;
                followed.seen = Arc::new(seen);
                followed.alarm = judged.alarm.clone();
                // What was taken off the spec since the sweep began stays off.
                followed.scaling = judged.scaling.clone().filter(|_| followed.subject.scaling.is_some());
                followed.standing = Standing::Known(Box::new(judged));
            }
            Err(why) => {
                followed.missed += 1;
                // A broker that is restarted is no news.
                if followed.missed >= PATIENCE {
                    followed.standing = Standing::Unknown(why);
                }
            }
        }
        let (standing, raised) = (followed.standing.clone(), followed.alarm.tier());
        let otherwise = followed.asked != standing.unknown();
        Some(Found { standing, raised, otherwise })
    }
}

impl Standing {
    /// Why it is not known, if it is not. What is soon known reads as it did: a restart wakes nobody.
    fn unknown(&self) -> Option<Unknown> {
        match self {
            Self::None | Self::Known(_) | Self::Unknown(Unknown::Soon) => None,
            Self::Unknown(why) => Some(*why),
        }
    }
}

impl Known {
    fn shared(&mut self, address: Arc<Address>) -> Arc<Address> {
        if let Some(known) = self.addresses.get(&address) {
            return known.clone();
        }
        self.addresses.insert(address.clone());
        address
    }
}
