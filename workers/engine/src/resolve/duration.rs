//! Lengths of time as people write them: `90s`, `5m`, `4h`, `30d`.

/// The longest length taken: a hundred years.
const MAX_MS: i64 = 36_500 * 86_400_000;

/// Milliseconds of a duration such as `4h`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration; write a whole number and s, m, h or d, such as \"4h\"");
    let unit = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits
        .parse::<i64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|&ms| ms <= MAX_MS)
        .ok_or_else(|| format!("{text:?} is longer than a hundred years"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(parse("90s"), Ok(90_000));
        assert_eq!(parse("30d"), Ok(2_592_000_000));
        assert_eq!(parse("0s"), Ok(0));
        for bad in ["", "h", "1.5h", "-1h", "1w", "1 h", "١h", "99999999999999999999d", "36501d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
