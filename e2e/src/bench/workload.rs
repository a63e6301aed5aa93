//! The events: card payments of about 150 bytes of JSON over eight days, from entities of very unequal activity.

use std::io::Write as _;

use super::zipf::{Random, Zipf};

/// Over how long the events are spread, in milliseconds.
pub const SPREAD_MS: i64 = 8 * 86_400_000;
/// How unequal the entities are.
const EXPONENT: f64 = 1.05;
/// The share of events that are late, and by how much on average.
const LATE: (f64, f64) = (0.05, 30_000.0);
/// Scatters ranks over nine digits, so that active entities are no neighbours. The modulus is a prime, so that no two meet.
const SCATTER: u64 = 999_999_000_001;

/// A sequence of events, the same for the same fields.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// How many events.
    pub events: u64,
    /// How many entities they are drawn from.
    pub entities: u64,
    /// The time about which the last event lies, in milliseconds.
    pub last: i64,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// When, in milliseconds; the record's time too.
    pub time: i64,
    /// The entity's number.
    pub user: u64,
    /// In cents.
    pub amount: i64,
    /// What the other fields are made of.
    pub noise: u64,
}

impl Workload {
    /// The events, nearly in the order of their times.
    pub fn events(&self) -> impl Iterator<Item = Event> + use<> {
        let Self { events, entities, last } = *self;
        let (zipf, mut random) = (Zipf::new(entities, EXPONENT), Random(42));
        (0..events).map(move |i| {
            let back = i128::from(SPREAD_MS) * i128::from(events - i) / i128::from(events.max(1));
            let late = if random.unit() < LATE.0 { random.exponential(LATE.1) } else { 0.0 };
            #[allow(clippy::cast_possible_truncation, reason = "within days")]
            let time = last - back as i64 - late as i64;
            let user = zipf.rank(&mut random) * SCATTER % 999_999_937;
            let amount = i64::try_from(100 + random.below(50_000)).unwrap_or(0);
            Event { time, user, amount, noise: random.bits() }
        })
    }
}

impl Event {
    /// The entity's name.
    #[must_use]
    pub fn user(number: u64) -> String {
        format!("u{number:09}")
    }

    /// Writes it as JSON in place of what `out` held.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { time, user, amount, noise } = self;
        let (merchant, category, device) = (noise % 10_000, noise >> 16 & 31, noise >> 24 & 0xff_ffff);
        out.clear();
        // Writing to memory cannot fail.
        let _ = write!(
            out,
            r#"{{"ts":{time},"user":"u{user:09}","merchant":{merchant},"amount":{amount},"cat":{category},"dev":"{device:06x}","txid":"{noise:016x}-{user:08x}-{time:014x}"}}"#
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn events_are_json_of_about_150_bytes_and_the_same_each_time() {
        let workload = Workload { events: 1_000, entities: 100, last: 1_751_328_000_123 };
        let mut bytes = Vec::new();
        let mut lines = Vec::new();
        for event in workload.events() {
            event.write(&mut bytes);
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["user"], Event::user(event.user));
            assert_eq!(json["amount"], event.amount);
            assert_eq!(json.as_object().unwrap().len(), 7);
            assert!((140..=160).contains(&bytes.len()), "{}", String::from_utf8_lossy(&bytes));
            lines.push(bytes.clone());
        }
        let again = workload.events().map(|event| {
            event.write(&mut bytes);
            bytes.clone()
        });
        assert!(again.eq(lines));
    }
}
