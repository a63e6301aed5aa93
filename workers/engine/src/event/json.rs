//! The grammar of JSON over the bytes of a payload that is known to be UTF-8: scanning and skipping, nothing kept.
//!
//! Positions are byte offsets into the payload. Nothing here recurses, so no payload can exhaust the stack.

use super::number;

/// How deep objects and arrays may stand in one another, the event's own object included.
pub(super) const MAX_DEPTH: u32 = 128;

/// Where and how a payload leaves the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    /// The offset of the first byte that does not fit.
    pub(super) at: usize,
    /// What would have fitted.
    pub(super) expected: &'static str,
}

/// What is wrong when [`MAX_DEPTH`] is exceeded; it is the `expected` of such a [`Syntax`].
pub(super) const TOO_DEEP: &str = "at most 128 levels of nesting";

#[cold]
pub(super) fn expected<T>(at: usize, expected: &'static str) -> Result<T, Syntax> {
    Err(Syntax { at, expected })
}

/// The first position from `at` on that is not white space.
#[inline]
pub(super) fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
            break;
        }
        at += 1;
    }
    at
}

/// A string's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted {
    /// The offset of the closing quote.
    pub(super) end: usize,
    /// Whether a `\` stands in it, so that its text is not its bytes.
    pub(super) escaped: bool,
}

/// Scans the string whose opening quote stands before `start`.
#[inline]
pub(super) fn string(bytes: &[u8], start: usize) -> Result<Quoted, Syntax> {
    let mut at = start;
    let mut escaped = false;
    loop {
        while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let special = special(u64::from_le_bytes(*word));
            if special != 0 {
                at += special.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        match bytes.get(at) {
            Some(b'"') => return Ok(Quoted { end: at, escaped }),
            Some(b'\\') => {
                escaped = true;
                at = escape(bytes, at)?.1;
            }
            Some(0..=0x1f) => return expected(at, "no bare control character in a string"),
            Some(_) => at += 1,
            None => return expected(at, "`\"`"),
        }
    }
}

/// Marks the top bit of every byte of `word` that ends a plain stretch of a string: a quote, a backslash, a control
/// character. Bytes above the lowest mark may be marked in error, so only the lowest may be believed.
#[inline]
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (quote | backslash | control) & TOPS
}

/// Reads the escape whose `\` stands at `at`: the character it means, and the offset behind it.
///
/// The two halves of a surrogate pair are one escape; half a pair means no character and is refused.
pub(super) fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Syntax> {
    let plain = match bytes.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(bytes, at),
        _ => return expected(at + 1, "one of `\"\\/bfnrtu` after `\\`"),
    };
    Ok((plain, at + 2))
}

fn unicode(bytes: &[u8], at: usize) -> Result<(char, usize), Syntax> {
    let high = hex4(bytes, at + 2)?;
    let (code, end) = if (0xd800..0xdc00).contains(&high) {
        if bytes.get(at + 6..at + 8) != Some(b"\\u") {
            return expected(at + 6, "the second half of a surrogate pair");
        }
        let low = hex4(bytes, at + 8)?;
        if !(0xdc00..0xe000).contains(&low) {
            return expected(at + 6, "the second half of a surrogate pair");
        }
        (0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00), at + 12)
    } else {
        (high, at + 6)
    };
    match char::from_u32(code) {
        Some(character) => Ok((character, end)),
        None => expected(at, "the first half of a surrogate pair before the second"),
    }
}

fn hex4(bytes: &[u8], at: usize) -> Result<u32, Syntax> {
    let mut code = 0;
    for at in at..at + 4 {
        match bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16)) {
            Some(digit) => code = code << 4 | digit,
            None => return expected(at, "four hexadecimal digits after `\\u`"),
        }
    }
    Ok(code)
}

/// Appends the text of a scanned string, given without its quotes, to `out`.
pub(super) fn unescape(text: &str, out: &mut String) -> Result<(), Syntax> {
    let mut at = 0;
    while let Some(plain) = text[at..].find('\\') {
        out.push_str(&text[at..at + plain]);
        let (character, end) = escape(text.as_bytes(), at + plain)?;
        out.push(character);
        at = end;
    }
    out.push_str(&text[at..]);
    Ok(())
}

/// Expects `literal` at `at`; the offset behind it.
#[inline]
pub(super) fn literal(bytes: &[u8], at: usize, literal: &'static str) -> Result<usize, Syntax> {
    if bytes.get(at..at + literal.len()) == Some(literal.as_bytes()) {
        Ok(at + literal.len())
    } else {
        expected(at, "a value")
    }
}

/// Skips a string, number, `true`, `false` or `null`; the offset behind it.
#[inline]
fn scalar(bytes: &[u8], at: usize) -> Result<usize, Syntax> {
    match bytes.get(at) {
        Some(b'"') => Ok(string(bytes, at + 1)?.end + 1),
        Some(b'-' | b'0'..=b'9') => Ok(number::scan(bytes, at)?.end),
        Some(b't') => literal(bytes, at, "true"),
        Some(b'f') => literal(bytes, at, "false"),
        Some(b'n') => literal(bytes, at, "null"),
        _ => expected(at, "a value"),
    }
}

/// Skips the name of a field and its colon; the offset of its value.
fn key(bytes: &[u8], at: usize) -> Result<usize, Syntax> {
    if bytes.get(at) != Some(&b'"') {
        return expected(at, "the name of a field");
    }
    let end = string(bytes, at + 1)?.end;
    colon(bytes, end + 1)
}

/// Skips a colon and the white space about it; the offset of the value behind.
#[inline]
pub(super) fn colon(bytes: &[u8], at: usize) -> Result<usize, Syntax> {
    let at = space(bytes, at);
    if bytes.get(at) == Some(&b':') { Ok(space(bytes, at + 1)) } else { expected(at, "`:`") }
}

/// Skips the value that starts at `at`, a field of the event's own object; the offset behind it.
#[inline]
pub(super) fn skip(bytes: &[u8], at: usize) -> Result<usize, Syntax> {
    match bytes.get(at) {
        Some(b'{' | b'[') => nested(bytes, at),
        _ => scalar(bytes, at),
    }
}

/// Skips an object or array. What encloses the current value is a stack of bits, 1 for an object.
fn nested(bytes: &[u8], mut at: usize) -> Result<usize, Syntax> {
    let mut enclosing: u128 = 0;
    let mut depth = 0;
    loop {
        // A value starts at `at`.
        let mut closed = false;
        match bytes.get(at) {
            Some(open @ (b'{' | b'[')) => {
                // The event's own object is the level that is not on the stack.
                if depth + 1 == MAX_DEPTH {
                    return expected(at, TOO_DEEP);
                }
                let object = *open == b'{';
                depth += 1;
                enclosing = enclosing << 1 | u128::from(object);
                at = space(bytes, at + 1);
                closed = bytes.get(at) == Some(if object { &b'}' } else { &b']' });
                if !closed {
                    at = if object { key(bytes, at)? } else { at };
                    continue;
                }
            }
            _ => at = scalar(bytes, at)?,
        }
        // A value ended before `at`, or a container ends at it.
        loop {
            if closed {
                at += 1;
                depth -= 1;
                enclosing >>= 1;
            }
            if depth == 0 {
                return Ok(at);
            }
            at = space(bytes, at);
            match (bytes.get(at), enclosing & 1 == 1) {
                (Some(b','), true) => at = key(bytes, space(bytes, at + 1))?,
                (Some(b','), false) => at = space(bytes, at + 1),
                (Some(b'}'), true) | (Some(b']'), false) => {
                    closed = true;
                    continue;
                }
                (_, true) => return expected(at, "`,` or `}`"),
                (_, false) => return expected(at, "`,` or `]`"),
            }
            break;
        }
    }
}
