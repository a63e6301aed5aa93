//! The byte-level vocabulary of lanes: varints, zigzag, packed bits, and a cursor that reads them from untrusted bytes.
//!
//! Invariant: a [`Cursor`] never panics and never allocates more than a small multiple of the bytes it is given; whatever
//! it refuses it names by offset.

use thiserror::Error;

/// Bytes that no engine of this format wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what} at byte {offset}")]
pub struct Malformed {
    /// Where reading stopped.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Appends `value` in base 128, low groups first.
pub fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    // Nearly all are short, and 64 bits shift in a third of the time.
    while value > u64::MAX.into() {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    put_varint64(out, value as u64);
}

fn put_varint64(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    let (mut bytes, mut len) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[len] = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    // So many that the compiler copies them without a call; nearly all are too many.
    let end = out.len() + len + 1;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// Appends a length or an index.
pub fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint64(out, len as u64);
}

/// Appends a signed integer, small magnitudes in few bytes.
pub fn put_signed(out: &mut Vec<u8>, value: i128) {
    put_varint(out, zigzag(value));
}

/// [`put_signed`] of a number of 64 bits.
pub fn put_signed64(out: &mut Vec<u8>, value: i64) {
    put_varint64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// How many bytes [`put_varint`] appends.
pub fn varint_len(value: u128) -> usize {
    (128 - value.leading_zeros()).div_ceil(7).max(1) as usize
}

/// How many bytes [`put_signed`] appends.
pub fn signed_len(value: i128) -> usize {
    varint_len(zigzag(value))
}

/// Maps 0, −1, 1, −2, … to 0, 1, 2, 3, ….
pub fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)) as u128
}

/// The inverse of [`zigzag`].
pub fn unzigzag(value: u128) -> i128 {
    ((value >> 1) as i128) ^ -((value & 1) as i128)
}

/// Appends the low `width` bits of each value, least significant first, padded with zeros to whole bytes.
pub fn put_packed(out: &mut Vec<u8>, width: u32, values: impl Iterator<Item = u64>) {
    let (mut pending, mut bits) = (0_u128, 0);
    for value in values {
        pending |= u128::from(value) << bits;
        bits += width;
        while bits >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(pending as u8);
    }
}

/// Reads what the functions above wrote.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The error `what`, here.
    pub fn malformed<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { offset: self.offset, what })
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Succeeds at the end of the bytes only.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.remaining() == 0 { Ok(()) } else { self.malformed("bytes behind the end") }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if len > self.remaining() {
            return self.malformed("the bytes end too early");
        }
        let taken = &self.bytes[self.offset..self.offset + len];
        self.offset += len;
        Ok(taken)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// What [`put_varint`] wrote.
    pub fn varint(&mut self) -> Result<u128, Malformed> {
        let (mut short, mut shift) = (0_u64, 0);
        while shift < 63 {
            let byte = self.byte()?;
            short |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(short.into());
            }
            shift += 7;
        }
        let mut value = u128::from(short);
        loop {
            let byte = self.byte()?;
            let group = u128::from(byte & 0x7f);
            if shift > 121 && group >> (128 - shift) != 0 {
                return self.malformed("an integer over 128 bits");
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
            if shift > 126 {
                return self.malformed("an integer over 128 bits");
            }
        }
    }

    /// A varint of at most 64 bits.
    pub fn unsigned(&mut self) -> Result<u64, Malformed> {
        let value = self.varint()?;
        u64::try_from(value).or_else(|_| self.malformed("an integer over 64 bits"))
    }

    /// What [`put_signed`] wrote.
    pub fn signed(&mut self) -> Result<i128, Malformed> {
        Ok(unzigzag(self.varint()?))
    }

    /// A signed integer of at most 64 bits.
    pub fn signed64(&mut self) -> Result<i64, Malformed> {
        let value = self.signed()?;
        i64::try_from(value).or_else(|_| self.malformed("an integer over 64 bits"))
    }

    /// A number of items that each take at least one more byte.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= self.remaining() => Ok(count),
            _ => self.malformed("more items than bytes"),
        }
    }

    /// An index below `bound`.
    pub fn index(&mut self, bound: usize) -> Result<usize, Malformed> {
        match usize::try_from(self.varint()?) {
            Ok(index) if index < bound => Ok(index),
            _ => self.malformed("an index out of range"),
        }
    }

    /// What [`put_packed`] wrote: `count` values of `width` bits, at most 64 each.
    pub fn packed(&mut self, width: u32, count: usize) -> Result<impl Iterator<Item = u64> + use<'a>, Malformed> {
        let bits = (width as usize).saturating_mul(count);
        let bytes = self.take(bits.div_ceil(8))?;
        let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
        let (mut pending, mut held, mut next) = (0_u128, 0_u32, 0_usize);
        Ok((0..count).map(move |_| {
            while held < width {
                pending |= u128::from(bytes.get(next).copied().unwrap_or(0)) << held;
                next += 1;
                held += 8;
            }
            let value = pending as u64 & mask;
            pending >>= width;
            held -= width;
            value
        }))
    }
}
