//! A lane's segments as one value, for columns and files: for each segment its number, its length (32 bits, low byte
//! first), and its bytes; the head first.

use engine::lane::Encoded;

/// What a segment begins with.
const HEADER: usize = 5;

/// Bytes that [`pack`] did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packed lane ends in the middle of a segment")]
pub struct Truncated;

/// Appends a whole lane's segments.
pub fn pack(encoded: &Encoded, out: &mut Vec<u8>) {
    for (number, bytes) in &encoded.segments {
        out.push(*number);
        // A segment is a slice of one row, far below 4 GiB.
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

/// Appends a lane that is a head alone, whose bytes `put` appends.
pub fn pack_head<T>(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let put = put(out);
    let len = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start + 1..start + HEADER].copy_from_slice(&len.to_le_bytes());
    put
}

/// The segments that were packed.
///
/// # Errors
/// [`Truncated`].
pub fn unpack(mut packed: &[u8]) -> Result<Vec<(u8, &[u8])>, Truncated> {
    let mut segments = Vec::new();
    while let [number, a, b, c, d, rest @ ..] = packed {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let (bytes, behind) = rest.split_at_checked(length).ok_or(Truncated)?;
        segments.push((*number, bytes));
        packed = behind;
    }
    if packed.is_empty() { Ok(segments) } else { Err(Truncated) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_alone_is_packed_as_any() {
        let (mut alone, mut packed) = (vec![7], vec![7]);
        assert_eq!(pack_head(&mut alone, |out| out.extend([1, 2, 3])), ());
        pack(&Encoded { segments: vec![(0, vec![1, 2, 3])], removed: vec![] }, &mut packed);
        assert_eq!(alone, packed);
    }

    #[test]
    fn segments_come_back_and_a_cut_is_seen() {
        let encoded = Encoded { segments: vec![(0, vec![1, 2, 3]), (255, vec![]), (7, vec![9])], removed: vec![] };
        let mut packed = Vec::new();
        pack(&encoded, &mut packed);
        assert_eq!(unpack(&packed), Ok(vec![(0, &[1, 2, 3][..]), (255, &[][..]), (7, &[9][..])]));
        for cut in [1, 4, 6, packed.len() - 1] {
            assert_eq!(unpack(&packed[..cut]), Err(Truncated), "{cut}");
        }
    }
}
