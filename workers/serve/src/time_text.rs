//! Milliseconds since the epoch to and from RFC 3339 text.
//!
//! Written by hand because a wide answer holds tens of thousands of timestamps; the tests hold it against `jiff`.

/// Appends `millis` as RFC 3339 in UTC, with three digits behind the point where they are not zero, as protobuf's JSON
/// does: `2026-11-21T11:27:03Z`, `2026-11-21T11:27:03.250Z`.
///
/// Years outside 0000–9999 have no RFC 3339 text; they are written as the nearest that has.
pub fn push_rfc3339(out: &mut Vec<u8>, millis: i64) {
    /// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z.
    const BOUNDS: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);
    let millis = millis.clamp(BOUNDS.0, BOUNDS.1);
    let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let seconds = in_day / 1_000;
    push_digits(out, year, 4);
    out.push(b'-');
    push_digits(out, month, 2);
    out.push(b'-');
    push_digits(out, day, 2);
    out.push(b'T');
    push_digits(out, seconds / 3_600, 2);
    out.push(b':');
    push_digits(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_digits(out, seconds % 60, 2);
    if in_day % 1_000 != 0 {
        out.push(b'.');
        push_digits(out, in_day % 1_000, 3);
    }
    out.push(b'Z');
}

/// The year, month and day of a day counted from the epoch (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// Appends the last `width` decimal digits of a number that is not negative.
fn push_digits(out: &mut Vec<u8>, number: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = number / 10_i64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

/// The milliseconds of an RFC 3339 text, rounded down; the reason if it is none.
///
/// # Errors
/// What `jiff` says is wrong with the text.
pub fn parse_rfc3339(text: &str) -> Result<i64, String> {
    let instant: jiff::Timestamp = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    Ok(i64::try_from(instant.as_nanosecond().div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(millis: i64) -> String {
        let mut out = Vec::new();
        push_rfc3339(&mut out, millis);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_instants() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(text(1_640_991_600_007), "2021-12-31T23:00:00.007Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(i64::MIN), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn every_text_reads_back_by_an_independent_parser() {
        let mut millis = -62_167_219_200_000_i64;
        while millis < 253_402_200_000_000 {
            assert_eq!(parse_rfc3339(&text(millis)).unwrap(), millis, "{millis}");
            millis += 86_399_999 * 37 + 1_234_567;
        }
    }

    #[test]
    fn offsets_are_kept_and_finer_fractions_rounded_down() {
        assert_eq!(parse_rfc3339("1970-01-01T01:00:00.0019+01:00").unwrap(), 1);
        assert!(parse_rfc3339("yesterday").is_err());
        assert!(parse_rfc3339("2026-01-01").is_err());
    }
}
