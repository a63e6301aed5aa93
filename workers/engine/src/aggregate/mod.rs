//! Aggregates as parts: small mergeable states, what one event does to them, and what they come to.
//!
//! An aggregate of a plan is computed from one to three **parts** ([`Part`]), which aggregates share: `Avg` is a sum and
//! a count, `Variance` adds the squares. A part's [`State`] is a function of the multiset of events it has seen, and
//! nothing else: [`Part::insert`] and [`Part::merge`] are commutative and associative up to [`State`]'s equality, with
//! [`State::Empty`] as the identity, and equal states encode to equal bytes. An event changes a part exactly when it
//! meets the condition and its input is not NULL; such an event never leaves a state `Empty`.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers are taken apart into bits and bytes here; what is narrowed has been bounded, or is to be cut"
)]

pub(crate) mod codec;
pub(crate) mod column;
mod distinct;
mod dyadic;
mod finalize;
mod quantiles;
mod ranked;
mod ratio;
mod scalar;
#[cfg(test)]
mod tests;

pub use codec::Malformed;
pub use distinct::{Distinct, EXACT as EXACT_SET};
pub use dyadic::Dyadic;
pub(crate) use dyadic::split;
pub use finalize::{Outcome, finalize};
pub(crate) use finalize::{average, total, variance};
pub use quantiles::Quantiles;
pub use scalar::{Int128, Scalar, ValueRef};

use crate::plan::Function;
use crate::value::ValueType;

/// What a part keeps of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How many.
    Count,
    /// The exact sum of the inputs.
    Sum,
    /// The exact sum of their squares.
    Squares,
    /// The smallest input.
    Min,
    /// The largest input.
    Max,
    /// The set of inputs.
    Distinct,
    /// The distribution of inputs.
    Quantiles,
    /// The smallest (time, input).
    First,
    /// The largest (time, input).
    Last,
    /// The `k` largest (time, input).
    LastK(u32),
    /// The `k` largest inputs.
    TopK(u32),
    /// The smallest event time.
    Earliest,
    /// The largest event time.
    Latest,
}

/// A part: its kind, and the type of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it keeps.
    pub kind: Kind,
    /// The type of its input, if it has one.
    pub value_type: Option<ValueType>,
}

/// What a part knows of some events.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// There were none.
    #[default]
    Empty,
    /// [`Kind::Count`]; at least one.
    Count(u64),
    /// [`Kind::Sum`] and [`Kind::Squares`]; for decimals of the unscaled integers.
    Sum(Dyadic),
    /// [`Kind::Min`] and [`Kind::Max`].
    Value(Scalar),
    /// [`Kind::First`] and [`Kind::Last`].
    Timed(i64, Scalar),
    /// [`Kind::LastK`], latest first.
    TimedList(Vec<(i64, Scalar)>),
    /// [`Kind::TopK`], largest first.
    ValueList(Vec<Scalar>),
    /// [`Kind::Distinct`].
    Distinct(Distinct),
    /// [`Kind::Quantiles`].
    Quantiles(Box<Quantiles>),
    /// [`Kind::Earliest`] and [`Kind::Latest`].
    Time(i64),
}

/// The parts of a function, in the order [`finalize`] takes them.
#[must_use]
pub fn kinds(function: &Function) -> &'static [Kind] {
    match function {
        Function::Count => &[Kind::Count],
        Function::Sum => &[Kind::Sum],
        Function::Avg => &[Kind::Count, Kind::Sum],
        Function::Min => &[Kind::Min],
        Function::Max => &[Kind::Max],
        Function::StdDev | Function::Variance => &[Kind::Count, Kind::Sum, Kind::Squares],
        Function::CountDistinct => &[Kind::Distinct],
        Function::Percentile { .. } => &[Kind::Quantiles],
        Function::First => &[Kind::First],
        Function::Last => &[Kind::Last],
        Function::LastK { .. } => &[Kind::LastK(0)],
        Function::TopK { .. } => &[Kind::TopK(0)],
        Function::MinTimestamp => &[Kind::Earliest],
        Function::MaxTimestamp => &[Kind::Latest],
    }
}

impl Kind {
    /// The kind with the function's own `k`.
    #[must_use]
    pub fn sized(self, function: &Function) -> Self {
        match (self, function) {
            (Self::LastK(_), Function::LastK { k }) => Self::LastK(*k),
            (Self::TopK(_), Function::TopK { k }) => Self::TopK(*k),
            _ => self,
        }
    }
}

impl Part {
    /// Takes in one event that meets the condition. `value` is its canonical, non-NULL input; it is ignored by kinds
    /// that look at events alone, and a value that the kind cannot take (no resolved plan has one) changes nothing.
    #[inline]
    pub fn insert(&self, state: &mut State, time: i64, value: Option<ValueRef<'_>>) {
        match (self.kind, &mut *state) {
            (Kind::Count, State::Count(count)) => *count = count.saturating_add(1),
            (Kind::Sum, State::Sum(sum)) => {
                if let Some(x) = value.and_then(number) {
                    sum.add(&x);
                }
            }
            (Kind::Squares, State::Sum(sum)) => {
                if let Some(x) = value.and_then(square) {
                    sum.add(&x);
                }
            }
            (Kind::Min, State::Value(least)) => replace(least, value, std::cmp::Ordering::Less),
            (Kind::Max, State::Value(most)) => replace(most, value, std::cmp::Ordering::Greater),
            (Kind::Distinct, State::Distinct(set)) => {
                if let Some(value) = value {
                    set.insert(distinct::hash(value));
                }
            }
            (Kind::Quantiles, State::Quantiles(sketch)) => {
                if let Some(x) = value.and_then(|v| self.double(v)) {
                    sketch.insert(x);
                }
            }
            (Kind::First, State::Timed(at, kept)) => replace_timed(at, kept, time, value, std::cmp::Ordering::Less),
            (Kind::Last, State::Timed(at, kept)) => replace_timed(at, kept, time, value, std::cmp::Ordering::Greater),
            (Kind::LastK(k), State::TimedList(list)) => {
                if let Some(value) = value {
                    ranked::insert(list, (time, value.to_scalar()), k as usize);
                }
            }
            (Kind::TopK(k), State::ValueList(list)) => {
                if let Some(value) = value {
                    ranked::insert(list, value.to_scalar(), k as usize);
                }
            }
            (Kind::Earliest, State::Time(at)) => *at = (*at).min(time),
            (Kind::Latest, State::Time(at)) => *at = (*at).max(time),
            (_, _) => *state = self.single(time, value),
        }
    }

    /// The state of one event.
    pub(crate) fn single(&self, time: i64, value: Option<ValueRef<'_>>) -> State {
        let made = match self.kind {
            Kind::Count => Some(State::Count(1)),
            Kind::Sum => value.and_then(number).map(State::Sum),
            Kind::Squares => value.and_then(square).map(State::Sum),
            Kind::Min | Kind::Max => value.map(|v| State::Value(v.to_scalar())),
            Kind::Distinct => value.map(|v| {
                let mut set = Distinct::EMPTY;
                set.insert(distinct::hash(v));
                State::Distinct(set)
            }),
            Kind::Quantiles => value.and_then(|v| self.double(v)).map(|x| {
                let mut sketch = Quantiles::default();
                sketch.insert(x);
                State::Quantiles(Box::new(sketch))
            }),
            Kind::First | Kind::Last => value.map(|v| State::Timed(time, v.to_scalar())),
            Kind::LastK(_) => value.map(|v| State::TimedList(vec![(time, v.to_scalar())])),
            Kind::TopK(_) => value.map(|v| State::ValueList(vec![v.to_scalar()])),
            Kind::Earliest | Kind::Latest => Some(State::Time(time)),
        };
        made.unwrap_or_default()
    }

    /// The state of one event, of which `base` is the state of [`Kind::Min`], [`Kind::Max`] or [`Kind::Sum`] of the same input;
    /// `None` if it is of no event's.
    #[must_use]
    pub fn told(&self, base: &State) -> Option<State> {
        let value = match (base, &self.value_type) {
            (State::Value(value), _) => value.get(),
            (State::Sum(sum), Some(ValueType::Int64)) => ValueRef::Int64(sum.to_integer()?.try_into().ok()?),
            (State::Sum(sum), Some(ValueType::Decimal { .. })) => ValueRef::Decimal(sum.to_integer()?),
            (State::Sum(sum), Some(ValueType::Double)) => ValueRef::Double(sum.exact_double()?),
            _ => return None,
        };
        Some(self.single(0, Some(value))).filter(|state| !state.is_empty())
    }

    /// Takes in all that `other`, of this part too, has seen.
    pub fn merge(&self, state: &mut State, other: &State) {
        match (self.kind, &mut *state, other) {
            (_, _, State::Empty) => {}
            (_, State::Empty, _) => *state = other.clone(),
            (_, State::Count(a), State::Count(b)) => *a = a.saturating_add(*b),
            (_, State::Sum(a), State::Sum(b)) => a.add(b),
            (Kind::Min, State::Value(a), State::Value(b)) if b < a => *a = b.clone(),
            (Kind::Max, State::Value(a), State::Value(b)) if b > a => *a = b.clone(),
            (Kind::First, State::Timed(s, a), State::Timed(t, b)) if (*t, b) < (*s, a) => *state = other.clone(),
            (Kind::Last, State::Timed(s, a), State::Timed(t, b)) if (*t, b) > (*s, a) => *state = other.clone(),
            (Kind::LastK(k), State::TimedList(a), State::TimedList(b)) => ranked::merge(a, b, k as usize),
            (Kind::TopK(k), State::ValueList(a), State::ValueList(b)) => ranked::merge(a, b, k as usize),
            (_, State::Distinct(a), State::Distinct(b)) => a.merge(b),
            (_, State::Quantiles(a), State::Quantiles(b)) => a.merge(b),
            (Kind::Earliest, State::Time(a), State::Time(b)) => *a = (*a).min(*b),
            (Kind::Latest, State::Time(a), State::Time(b)) => *a = (*a).max(*b),
            // The larger or smaller one is there already.
            _ => {}
        }
    }

    /// [`Self::merge`] of a state that is no longer needed: what is kept whole is moved, not copied.
    pub fn absorb(&self, state: &mut State, mut other: State) {
        let other_wins = match (self.kind, &*state, &other) {
            (_, State::Empty, _) => true,
            (Kind::Min, State::Value(a), State::Value(b)) => b < a,
            (Kind::Max, State::Value(a), State::Value(b)) => b > a,
            (Kind::First, State::Timed(s, a), State::Timed(t, b)) => (t, b) < (s, a),
            (Kind::Last, State::Timed(s, a), State::Timed(t, b)) => (t, b) > (s, a),
            _ => return self.merge(state, &other),
        };
        if other_wins {
            std::mem::swap(state, &mut other);
        }
    }

    /// A number as the double that sketches take.
    fn double(&self, value: ValueRef<'_>) -> Option<f64> {
        match value {
            ValueRef::Double(x) => Some(x),
            ValueRef::Int64(x) => Some(x as f64),
            ValueRef::Decimal(x) => Some(x as f64 / finalize::power_of_ten(finalize::scale(self.value_type.as_ref()))),
            _ => None,
        }
    }
}

impl State {
    /// Whether it has seen no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Bytes on the heap, roughly.
    #[must_use]
    pub fn heap(&self) -> usize {
        match self {
            Self::Empty | Self::Count(_) | Self::Time(_) => 0,
            Self::Sum(sum) => sum.heap(),
            Self::Value(value) | Self::Timed(_, value) => value.heap(),
            Self::TimedList(list) => list.capacity() * 32 + list.iter().map(|(_, v)| v.heap()).sum::<usize>(),
            Self::ValueList(list) => list.capacity() * 24 + list.iter().map(Scalar::heap).sum::<usize>(),
            Self::Distinct(set) => set.heap(),
            Self::Quantiles(sketch) => 56 + sketch.heap(),
        }
    }

    /// How many bytes it takes in a lane, roughly: a function of the state alone, unlike what it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Count(_) => 1,
            Self::Time(_) => 4,
            Self::Sum(_) => 8,
            Self::Value(value) => 4 + value.heap(),
            Self::Timed(_, value) => 8 + value.heap(),
            Self::TimedList(list) => list.iter().map(|(_, v)| 8 + v.heap()).sum(),
            Self::ValueList(list) => list.iter().map(|v| 4 + v.heap()).sum(),
            Self::Distinct(Distinct::Exact(hashes)) => 8 * hashes.len(),
            Self::Distinct(Distinct::Registers(_)) => 2_048,
            Self::Quantiles(sketch) => 4 + 3 * sketch.buckets(),
        }
    }
}

/// An input as an exact number.
fn number(value: ValueRef<'_>) -> Option<Dyadic> {
    match value {
        ValueRef::Int64(x) => Some(Dyadic::integer(x.into())),
        ValueRef::Decimal(x) => Some(Dyadic::integer(x)),
        ValueRef::Double(x) => Some(Dyadic::double(x)),
        _ => None,
    }
}

/// An input's exact square.
fn square(value: ValueRef<'_>) -> Option<Dyadic> {
    match value {
        // 128 bits hold the square of 64.
        ValueRef::Int64(x) => Some(Dyadic::integer(i128::from(x) * i128::from(x))),
        ValueRef::Decimal(x) => Some(Dyadic::integer_squared(x)),
        ValueRef::Double(x) => Some(Dyadic::double_squared(x)),
        _ => None,
    }
}

/// Keeps `value` if it is on the `wanted` side of what is kept.
fn replace(kept: &mut Scalar, value: Option<ValueRef<'_>>, wanted: std::cmp::Ordering) {
    if let Some(value) = value
        && value.order(kept.get()) == wanted
    {
        *kept = value.to_scalar();
    }
}

/// Keeps (`time`, `value`) if it is on the `wanted` side of what is kept. Text that repeats is not copied again.
fn replace_timed(at: &mut i64, kept: &mut Scalar, time: i64, value: Option<ValueRef<'_>>, wanted: std::cmp::Ordering) {
    let Some(value) = value else { return };
    let order = value.order(kept.get());
    if time.cmp(at).then(order) == wanted {
        *at = time;
        if order != std::cmp::Ordering::Equal {
            *kept = value.to_scalar();
        }
    }
}
