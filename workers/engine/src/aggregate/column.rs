//! How the states of one part stand in a lane: a column over some tiles that have one.
//!
//! Invariant: equal states give equal bytes, and [`take`] refuses whatever would make a state that no events make
//! (as far as that can be seen), so that a damaged lane is an error and not a number.
//!
//! | kind | bytes |
//! | --- | --- |
//! | counts | a width below 65 and each `count − 1` in that many bits, or 65 and varints, whichever is shorter |
//! | sums | see the module `number` |
//! | values | by type: zigzag varints, sums' form for doubles, an index into the column's sorted pool for text |
//! | times | milliseconds since the tile's start; in the tile of all time, zigzag since the epoch |
//! | sets | the column's sorted pool of hashes, then by tile the size and the gaps between indices; size 0: registers |
//! | sketches | zeros, then for both signs the buckets, as gaps and counts |

mod number;
mod pool;

pub use self::number::put_double;
use self::pool::{Hashes, Texts};
use super::codec::{Cursor, Malformed, put_len, put_packed, put_signed, put_varint, varint_len};
use super::{Distinct, Kind, Part, Quantiles, Scalar, State, distinct};
use crate::time::TIME_LIMIT;
use crate::value::ValueType;

/// The slice of event time of a tile; a start of `i64::MIN` is the tile of all time before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its first millisecond.
    pub start: i64,
    /// The first one behind it.
    pub end: i64,
}

/// Says that counts follow as varints.
const VARINTS: u8 = 65;

/// Appends the states of `part`, which is no count; none is empty, and `slots` runs along with them.
pub fn put(out: &mut Vec<u8>, part: &Part, slots: &[Slot], states: &[&State]) {
    let texts = if Texts::has(part) { Texts::of(states) } else { Texts::default() };
    texts.put(out, part);
    let hashes = if part.kind == Kind::Distinct { Hashes::of(states) } else { Hashes::default() };
    if part.kind == Kind::Distinct {
        hashes.put(out);
    }
    for (slot, state) in slots.iter().zip(states) {
        put_state(out, part, slot, state, &texts, &hashes);
    }
}

/// As [`put`] appends it, one state of a part whose input is a number.
pub fn put_number(out: &mut Vec<u8>, part: &Part, state: &State) {
    let slot = Slot { start: 0, end: 0 };
    put_state(out, part, &slot, state, &Texts::default(), &Hashes::default());
}

fn put_state(out: &mut Vec<u8>, part: &Part, slot: &Slot, state: &State, texts: &Texts<'_>, hashes: &Hashes) {
    match state {
        State::Empty | State::Count(_) => {}
        State::Sum(sum) => number::put(out, sum, part.value_type.as_ref()),
        State::Value(value) => put_scalar(out, value, texts),
        State::Time(time) => put_time(out, slot, *time),
        State::Timed(time, value) => {
            put_time(out, slot, *time);
            put_scalar(out, value, texts);
        }
        State::TimedList(list) => {
            put_len(out, list.len());
            for (time, value) in list {
                put_time(out, slot, *time);
                put_scalar(out, value, texts);
            }
        }
        State::ValueList(list) => {
            put_len(out, list.len());
            for value in list {
                put_scalar(out, value, texts);
            }
        }
        State::Distinct(Distinct::Exact(set)) => hashes.put_set(out, set),
        State::Distinct(Distinct::Registers(ranks)) => {
            out.push(0);
            distinct::put_registers(out, ranks);
        }
        State::Quantiles(sketch) => sketch.put(out),
    }
}

/// Reads what [`put`] wrote for the same part and slots.
pub fn take(from: &mut Cursor<'_>, part: &Part, slots: &[Slot]) -> Result<Vec<State>, Malformed> {
    let texts = Texts::take(from, part)?;
    let hashes = if part.kind == Kind::Distinct { Hashes::take(from)? } else { Hashes::default() };
    slots.iter().map(|slot| take_state(from, part, slot, &texts, &hashes)).collect()
}

fn take_state(
    from: &mut Cursor<'_>,
    part: &Part,
    slot: &Slot,
    texts: &Texts<'_>,
    hashes: &Hashes,
) -> Result<State, Malformed> {
    Ok(match part.kind {
        Kind::Count => State::Empty,
        Kind::Sum | Kind::Squares => State::Sum(number::take(from, part.value_type.as_ref())?),
        Kind::Min | Kind::Max => State::Value(take_scalar(from, part, texts)?),
        Kind::First | Kind::Last => State::Timed(take_time(from, slot)?, take_scalar(from, part, texts)?),
        Kind::Earliest | Kind::Latest => State::Time(take_time(from, slot)?),
        Kind::LastK(k) => {
            State::TimedList(take_list(from, k, |from| Ok((take_time(from, slot)?, take_scalar(from, part, texts)?)))?)
        }
        Kind::TopK(k) => State::ValueList(take_list(from, k, |from| take_scalar(from, part, texts))?),
        Kind::Distinct => State::Distinct(match from.count()? {
            0 => Distinct::Registers(distinct::take_registers(from)?),
            len if len <= distinct::EXACT => Distinct::Exact(hashes.take_set(from, len)?),
            _ => return from.malformed("a set too large to be exact"),
        }),
        Kind::Quantiles => {
            let sketch = Quantiles::take(from)?;
            if sketch.is_empty() {
                return from.malformed("a sketch of nothing");
            }
            State::Quantiles(Box::new(sketch))
        }
    })
}

/// Appends counts, none of which is zero.
pub fn put_counts(out: &mut Vec<u8>, counts: impl Iterator<Item = u64> + Clone) {
    let rests = counts.map(|count| count - 1);
    let (mut all, mut varints, mut tiles) = (0, 0, 0);
    for rest in rests.clone() {
        all |= rest;
        varints += varint_len(rest.into());
        tiles += 1;
    }
    let width = 64 - all.leading_zeros();
    if (width as usize * tiles).div_ceil(8) <= varints {
        out.push(width as u8);
        put_packed(out, width, rests);
    } else {
        out.push(VARINTS);
        rests.for_each(|n| put_varint(out, n.into()));
    }
}

/// Reads what [`put_counts`] wrote of so many tiles.
pub fn take_counts(from: &mut Cursor<'_>, len: usize) -> Result<Vec<u64>, Malformed> {
    match from.byte()? {
        VARINTS => (0..len).map(|_| Ok(from.unsigned()?.saturating_add(1))).collect(),
        width if width < VARINTS => Ok(from.packed(width.into(), len)?.map(|n| n.saturating_add(1)).collect()),
        _ => from.malformed("an unknown form of counts"),
    }
}

/// A list of at most `k` in descending order.
fn take_list<T: Ord>(
    from: &mut Cursor<'_>,
    k: u32,
    mut item: impl FnMut(&mut Cursor<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let len = from.count()?;
    if len == 0 || len > k as usize {
        return from.malformed("a list of a wrong length");
    }
    let list = (0..len).map(|_| item(from)).collect::<Result<Vec<_>, _>>()?;
    if list.is_sorted_by(|a, b| a >= b) { Ok(list) } else { from.malformed("a list out of order") }
}

fn put_time(out: &mut Vec<u8>, slot: &Slot, time: i64) {
    if slot.start == i64::MIN {
        put_signed(out, time.into());
    } else {
        put_signed(out, i128::from(time) - i128::from(slot.start));
    }
}

fn take_time(from: &mut Cursor<'_>, slot: &Slot) -> Result<i64, Malformed> {
    let base = if slot.start == i64::MIN { 0 } else { slot.start };
    match base.checked_add(from.signed64()?) {
        Some(time) if time >= slot.start.max(-TIME_LIMIT) && time < slot.end => Ok(time),
        _ => from.malformed("a time outside of its tile"),
    }
}

fn put_scalar(out: &mut Vec<u8>, value: &Scalar, texts: &Texts<'_>) {
    match value {
        Scalar::Boolean(x) => out.push(u8::from(*x)),
        Scalar::Int64(x) | Scalar::Timestamp(x) => put_signed(out, (*x).into()),
        Scalar::Double(x) => number::put_double(out, *x),
        Scalar::Decimal(x) => put_signed(out, (*x).into()),
        Scalar::String(x) => texts.put_index(out, x),
    }
}

fn take_scalar(from: &mut Cursor<'_>, part: &Part, texts: &Texts<'_>) -> Result<Scalar, Malformed> {
    Ok(match part.value_type {
        Some(ValueType::Boolean) => match from.byte()? {
            0 => Scalar::Boolean(false),
            1 => Scalar::Boolean(true),
            _ => return from.malformed("a boolean that is neither"),
        },
        Some(ValueType::Int64) => Scalar::Int64(from.signed64()?),
        Some(ValueType::Timestamp) => Scalar::Timestamp(from.signed64()?),
        Some(ValueType::Double) => Scalar::Double(number::take_double(from)?),
        Some(ValueType::Decimal { .. }) => Scalar::Decimal(from.signed()?.into()),
        Some(ValueType::String) => Scalar::String(texts.take_index(from)?.into()),
        None | Some(ValueType::List(_)) => return from.malformed("a value of a part that has none"),
    })
}
