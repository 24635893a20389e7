//! Where records go that do not fit into memory: nameless files, cut into parts by the hash of the key.
//!
//! A flush writes what memory holds as one run: the records of part 0, then those of part 1, and so on. Later
//! each part is read back whole, from all runs, and merged alone; only one part needs to be in memory at a time.
//! When a directory is full the next one is used, so a file system that others have filled does not stop a recovery
//! as long as there is room somewhere.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ctdb_runtime::sys;

/// Into how many parts the keys are divided. With 64 MiB of memory a part reaches that size at 16 GiB of records.
pub const PARTS: usize = 256;

/// A stretch of one file that belongs to one part.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    file: usize,
    offset: u64,
    len: usize,
}

/// See the module.
pub struct Spill {
    /// File name of all files; they have it only for a moment.
    name: String,
    /// Directories that have not been tried yet, the next one last.
    directories: Vec<PathBuf>,
    files: Vec<File>,
    /// Bytes written into the last file.
    end: u64,
    parts: Vec<Vec<Stretch>>,
}

/// No room for the records of a database.
#[derive(Debug, thiserror::Error)]
#[error("writing records to {}: {error}; free space there, or lower the size of the database", path.display())]
pub struct SpillError {
    /// The last file that was tried.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

impl Spill {
    /// A spill whose files are made in the first of `directories` that has room.
    pub fn new(name: String, directories: &[PathBuf]) -> Spill {
        Spill {
            name,
            directories: directories.iter().rev().cloned().collect(),
            files: Vec::new(),
            end: 0,
            parts: vec![Vec::new(); PARTS],
        }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Adds `bytes` to a part.
    ///
    /// # Errors
    /// No directory has room, with the last one that was tried.
    pub fn write(&mut self, part: usize, bytes: &[u8]) -> Result<(), SpillError> {
        if self.files.is_empty() {
            self.next_file(None)?;
        }
        loop {
            let place = self.files.len() - 1;
            match self.files[place].write_all_at(bytes, self.end) {
                Ok(()) => {
                    self.parts[part].push(Stretch {
                        file: place,
                        offset: self.end,
                        len: bytes.len(),
                    });
                    self.end += bytes.len() as u64;
                    return Ok(());
                }
                Err(error) => self.next_file(Some(error))?,
            }
        }
    }

    /// Everything that was written for a part, in the order of writing.
    ///
    /// # Errors
    /// Of reading.
    pub fn read(&self, part: usize) -> io::Result<Vec<u8>> {
        let len = self.parts[part].iter().map(|s| s.len).sum();
        let mut bytes = vec![0; len];
        let mut rest = bytes.as_mut_slice();
        for stretch in &self.parts[part] {
            let (into, tail) = rest.split_at_mut(stretch.len);
            self.files[stretch.file].read_exact_at(into, stretch.offset)?;
            rest = tail;
        }
        Ok(bytes)
    }

    /// Goes on in the next directory. `failed` is why the file in use does not do; without a further directory it is
    /// the error.
    fn next_file(&mut self, mut failed: Option<io::Error>) -> Result<(), SpillError> {
        let mut path = PathBuf::from(&self.name);
        while let Some(directory) = self.directories.pop() {
            path = directory.join(&self.name);
            if let Some(error) = &failed {
                log::warn!(
                    "Cannot keep records in the directory tried before ({error}): going on in {}",
                    path.display()
                );
            }
            match sys::nameless_file(&path) {
                Ok(file) => {
                    self.files.push(file);
                    self.end = 0;
                    return Ok(());
                }
                Err(error) => failed = Some(error),
            }
        }
        let error = failed.unwrap_or_else(|| io::Error::other("no directory is given"));
        Err(SpillError { path, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_back_in_the_order_of_writing_and_leaves_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = Spill::new("recdb.a".to_owned(), &[dir.path().to_owned()]);
        assert!(spill.is_empty());
        for (part, bytes) in [(3, "one "), (0, "other"), (3, "two "), (3, "")] {
            spill.write(part, bytes.as_bytes()).unwrap();
        }
        assert_eq!(spill.read(3).unwrap(), b"one two ");
        assert_eq!(spill.read(0).unwrap(), b"other");
        assert_eq!(spill.read(255).unwrap(), b"");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_does_not_do_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let mut spill = Spill::new("recdb.a".to_owned(), &[missing.clone(), dir.path().to_owned()]);
        spill.write(7, b"here").unwrap();
        assert_eq!(spill.read(7).unwrap(), b"here");

        let refused = Spill::new("recdb.a".to_owned(), &[missing])
            .write(7, b"here")
            .unwrap_err();
        assert!(refused.to_string().contains("missing/recdb.a"), "{refused}");
    }

    #[test]
    fn a_leftover_file_of_that_name_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("recdb.a"), b"old").unwrap();
        let mut spill = Spill::new("recdb.a".to_owned(), &[dir.path().to_owned()]);
        spill.write(1, b"new").unwrap();
        assert_eq!(spill.read(1).unwrap(), b"new");
    }
}
