//! Lanes on their way from the fold to the online store: a file without a name, gone with the process however it ends.
//!
//! They wait there for the gate: rows of a refused generation never reach the store, so that the slot they would have
//! taken still holds the generation before last.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Appends entities with their packed lanes.
#[derive(Debug)]
pub struct SpoolWriter {
    file: BufWriter<File>,
    rows: u64,
}

/// A spool that is whole.
#[derive(Debug)]
pub struct Spool {
    file: BufReader<File>,
    left: u64,
}

/// An entity's text, and its lane as [`crate::fold::pack`] packs it.
pub type Spooled = (String, Vec<u8>);

impl SpoolWriter {
    /// In `dir`, or the system's temporary folder.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn new(dir: Option<&Path>) -> io::Result<Self> {
        let file = dir.map_or_else(tempfile::tempfile, tempfile::tempfile_in)?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), rows: 0 })
    }

    /// Appends one entity.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn push(&mut self, entity: &str, lane: &[u8]) -> io::Result<()> {
        self.put(entity.as_bytes())?;
        self.put(lane)?;
        self.rows += 1;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a lane of over 4 GiB"))?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(bytes)
    }

    /// Ends the writing, and begins to read from the start.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(self) -> io::Result<Spool> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Spool { file: BufReader::with_capacity(1 << 20, file), left: self.rows })
    }
}

impl Spool {
    /// The next `most` entities; fewer at the end, then none.
    ///
    /// # Errors
    /// When the file cannot be read back.
    pub fn take(&mut self, most: usize) -> io::Result<Vec<Spooled>> {
        let mut rows = Vec::new();
        while self.left > 0 && rows.len() < most {
            let entity = self.get()?;
            let entity =
                String::from_utf8(entity).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            rows.push((entity, self.get()?));
            self.left -= 1;
        }
        Ok(rows)
    }

    fn get(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_pushed_comes_back_in_order() {
        let mut writer = SpoolWriter::new(None).unwrap();
        for i in 0..5_u8 {
            writer.push(&format!("u{i}"), &vec![i; usize::from(i)]).unwrap();
        }
        let mut spool = writer.finish().unwrap();
        assert_eq!(spool.take(2).unwrap(), [("u0".to_owned(), vec![]), ("u1".to_owned(), vec![1])]);
        assert_eq!(spool.take(9).unwrap().len(), 3);
        assert!(spool.take(9).unwrap().is_empty());
    }
}
