//! How many workers there are to be. Pure.
//!
//! What a worker manages shows only while records wait for it, and is remembered. There are more workers when what comes in,
//! and what waits divided by the target, takes a tenth more than they manage; at most twice as many at once, so that a mistake
//! costs little. There are fewer when seven tenths of what fewer manage have sufficed for the whole of the cooldown. Between the
//! two nothing happens, so that a load that stays the same does not have them come and go.
//!
//! Invariants: there are never more workers than the bounds and the partitions allow; never fewer than before while the lag is
//! above its least urgent tier, is older than the target, or is being worked off; after a change that did not help there are no
//! more than before it, until the workers read noticeably more than they did then, or an hour has passed without the same lag.

#[cfg(test)]
mod tests;

use super::flow::Rates;

/// For how long it is believed what a worker manages: events and stores change.
const BELIEVED_MS: i64 = 6 * 3_600_000;
/// For how long a change that did not help speaks against another.
const INEFFECTIVE_MS: i64 = 3_600_000;
/// Less need than this above what the workers manage is none.
const TOLERANCE: f64 = 1.1;
/// To which part fewer workers may be busy.
const UTILISATION: f64 = 0.7;
/// Which part of what more workers should read more they must, or the change did not help.
const GAIN: f64 = 0.1;
/// So many times as much as was read then, and what kept the workers from it is gone.
const RELIEF: f64 = 1.25;

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The fewest workers.
    pub min: i32,
    /// The most.
    pub max: i32,
    /// Within which time what waits is to be read.
    pub target_ms: i64,
    /// For how long after a change there are no more.
    pub up_cooldown_ms: i64,
    /// For how long fewer must have sufficed.
    pub down_cooldown_ms: i64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// How many partitions the topic has.
    pub partitions: i32,
    /// How many workers are ready.
    pub ready: i32,
    /// Whether the lag is above its least urgent tier, of a first reading, or some of it is of partitions that nobody reads.
    pub late: bool,
    /// For how long the oldest record may have waited.
    pub lag_ms: i64,
    /// What happens a second, if enough was seen while as many workers were ready as now.
    pub rates: Option<Rates>,
}

/// What is remembered of a view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// How many workers there are to be.
    pub desired: i32,
    /// Why not more.
    pub reason: Reason,
    /// The last change.
    pub last: Option<Change>,
    /// How many records a second a worker manages, and when that was seen.
    pub capacity: Option<(f64, i64)>,
    /// A change that did not help.
    pub ineffective: Option<Ineffective>,
    /// Since when fewer workers suffice, and how many that takes. Not in status: a restarted operator begins to wait anew.
    pub fewer: Option<(i64, i32)>,
}

/// Why there are not more workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// No more are needed.
    #[default]
    WithinRange,
    /// Those that were asked for are not ready.
    Awaiting,
    /// `maxReplicas`.
    TooMany,
    /// Any more would have nothing to read.
    TooFewPartitions,
    /// More did not help.
    Ineffective,
}

/// A change of how many workers there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// How many there were.
    pub from: i32,
    /// How many there are since.
    pub to: i32,
    /// When.
    pub at: i64,
    /// What happened a second before it.
    pub rates: Rates,
    /// Whether more was read after it, once that is known.
    pub effective: Option<bool>,
}

/// A change that did not help.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ineffective {
    /// How many workers there were.
    pub from: i32,
    /// How many there were then.
    pub to: i32,
    /// How many records a second they read then.
    pub consumed: f64,
    /// When this was last seen.
    pub at: i64,
}

impl Policy {
    /// The fewest and the most workers for a topic.
    #[must_use]
    pub fn bounds(&self, partitions: i32) -> (i32, i32) {
        // Of a topic that says nothing of its partitions, nothing follows from them.
        let most = if partitions > 0 { partitions } else { i32::MAX };
        (self.min.min(most), self.max.min(most))
    }
}

/// What is to be remembered after a look at `now`.
#[must_use]
pub fn decide(policy: &Policy, figures: &Figures, before: &Memory, now: i64) -> Memory {
    let (low, high) = policy.bounds(figures.partitions);
    let within = before.desired.clamp(low, high);
    if within != before.desired {
        return before.changed(within, figures.rates.unwrap_or_default(), now);
    }
    let mut next = before.clone();
    let awaits = figures.ready != before.desired;
    let Some(rates) = figures.rates else {
        next.fewer = None;
        next.reason = if awaits { Reason::Awaiting } else { before.reason.unless_awaiting() };
        return next;
    };
    next.learn(figures.ready, &rates, now);
    if !awaits {
        next.judge(policy, &rates, now);
    }
    if rates.busy {
        next.fewer = None;
        return if awaits { Memory { reason: Reason::Awaiting, ..next } } else { next.more(policy, high, &rates, now) };
    }
    next.reason = if awaits { Reason::Awaiting } else { Reason::WithinRange };
    let suffice = sufficient(policy, &rates, &next).max(low);
    if figures.late || figures.lag_ms > policy.target_ms || !rates.at_rest || suffice >= next.desired {
        next.fewer = None;
        return next;
    }
    let (since, most) = next.fewer.unwrap_or((now, suffice));
    let most = most.max(suffice);
    next.fewer = Some((since, most));
    if now - since < policy.down_cooldown_ms {
        return next;
    }
    next.changed(most, rates, now)
}

/// How many workers suffice when records do not wait.
fn sufficient(policy: &Policy, rates: &Rates, memory: &Memory) -> i32 {
    match memory.capacity {
        Some((each, _)) => needed(policy, rates, each * UTILISATION),
        // What a worker manages is not known: one fewer shows it, if that is too few.
        None => memory.desired - 1,
    }
}

impl Memory {
    fn changed(&self, to: i32, rates: Rates, now: i64) -> Self {
        let change = Change { from: self.desired, to, at: now, rates, effective: None };
        Self { desired: to, reason: Reason::WithinRange, last: Some(change), fewer: None, ..self.clone() }
    }

    /// What a worker manages.
    fn learn(&mut self, ready: i32, rates: &Rates, now: i64) {
        if ready <= 0 {
            return;
        }
        let each = rates.consumed / f64::from(ready);
        if rates.busy && each > 0.0 {
            self.capacity = Some((each, now));
            return;
        }
        // Who does more than was believed manages at least that.
        self.capacity =
            self.capacity.filter(|(_, at)| now - at < BELIEVED_MS).map(|(believed, at)| (believed.max(each), at));
    }

    /// Whether the last change helped, and whether one that did not still speaks against another.
    fn judge(&mut self, policy: &Policy, rates: &Rates, now: i64) {
        if let Some(change) = self.last.as_mut()
            && change.effective.is_none()
            && change.to > change.from
            && change.to == self.desired
            && now - change.at >= policy.up_cooldown_ms
        {
            // Of those that no longer have anything to wait for nobody can tell, and nobody asks.
            let helped = !rates.busy || !change.is_in_vain(rates);
            change.effective = Some(helped);
            if !helped {
                let Change { from, to, .. } = *change;
                self.ineffective = Some(Ineffective { from, to, consumed: rates.consumed, at: now });
            }
        }
        let Some(known) = &mut self.ineffective else { return };
        let same = rates.busy && self.desired == known.to;
        if rates.consumed > known.consumed * RELIEF {
            self.ineffective = None;
        } else if now - known.at >= INEFFECTIVE_MS {
            if same {
                known.at = now;
            } else {
                self.ineffective = None;
            }
        }
    }

    /// Records wait, and all the workers that were asked for read as fast as they can.
    fn more(mut self, policy: &Policy, high: i32, rates: &Rates, now: i64) -> Self {
        let Some((each, _)) = self.capacity else { return self };
        let load = (rates.produced + rates.waiting / seconds(policy.target_ms)) / each;
        if load <= f64::from(self.desired) * TOLERANCE {
            self.reason = Reason::WithinRange;
            return self;
        }
        let wanted = needed(policy, rates, each);
        if self.ineffective.is_some_and(|known| wanted > known.from && self.desired >= known.from) {
            // Whoever holds more than before the change keeps them: what waits is being worked off.
            self.reason = Reason::Ineffective;
            return self;
        }
        if self.desired >= high {
            self.reason = if high < policy.max { Reason::TooFewPartitions } else { Reason::TooMany };
            return self;
        }
        let cooled = self.last.is_none_or(|change| now - change.at >= policy.up_cooldown_ms);
        if !cooled {
            self.reason = Reason::WithinRange;
            return self;
        }
        let most = self.ineffective.map_or(high, |known| high.min(known.from));
        let to = wanted.min(self.desired.saturating_mul(2)).min(most);
        if to > self.desired { self.changed(to, *rates, now) } else { self }
    }
}

impl Change {
    /// Whether more workers, all of them busy, read hardly more than fewer did.
    fn is_in_vain(&self, rates: &Rates) -> bool {
        let hoped = self.rates.consumed * (f64::from(self.to) / f64::from(self.from.max(1)) - 1.0);
        rates.consumed - self.rates.consumed < hoped * GAIN
    }
}

impl Reason {
    /// Who waits for workers that are ready by now waits for nothing that is known.
    fn unless_awaiting(self) -> Self {
        if self == Self::Awaiting { Self::WithinRange } else { self }
    }
}

/// How many workers it takes, each of which manages so much, to read what comes in and, within the target, what waits.
#[allow(clippy::cast_possible_truncation)] // Saturates, and bounds follow.
fn needed(policy: &Policy, rates: &Rates, each: f64) -> i32 {
    let load = (rates.produced + rates.waiting / seconds(policy.target_ms)) / each.max(f64::MIN_POSITIVE);
    (load.ceil() as i32).max(1)
}

#[allow(clippy::cast_precision_loss)]
fn seconds(ms: i64) -> f64 {
    ms.max(1) as f64 / 1000.0
}
