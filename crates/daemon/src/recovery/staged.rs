//! Pushed records on their way into a database: kept as they came until the commit, in memory up to a bound that
//! all databases share, beyond it in a file without a name.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ctdb_runtime::sys;

/// Bytes that all transactions of this daemon keep in memory.
const MEMORY_LIMIT: usize = 64 << 20;

/// Bytes in use, counted by all transactions together.
pub type Used = Rc<Cell<usize>>;

enum Item {
    Memory(Vec<u8>),
    File { offset: u64, len: usize },
}

/// The pushed buffers of one database, in order.
pub struct Staged {
    items: VecDeque<Item>,
    used: Used,
    /// The file, if there is one, appears here for a moment.
    path: PathBuf,
    file: Option<File>,
    end: u64,
    bytes: usize,
}

/// Pushed records could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("keeping pushed records in {}: {error}; free space there", path.display())]
pub struct StageError {
    path: PathBuf,
    error: io::Error,
}

impl Staged {
    /// Nothing yet.
    pub fn new(directory: &Path, db_name: &str, used: &Used) -> Staged {
        let path = directory.join(format!("push.{db_name}"));
        Staged {
            items: VecDeque::new(),
            used: used.clone(),
            path,
            file: None,
            end: 0,
            bytes: 0,
        }
    }

    /// Length of everything that was kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps one buffer.
    ///
    /// # Errors
    /// The disk is full, or its directory is gone.
    pub fn add(&mut self, buffer: &[u8]) -> Result<(), StageError> {
        self.bytes += buffer.len();
        if self.used.get() + buffer.len() <= MEMORY_LIMIT {
            self.used.set(self.used.get() + buffer.len());
            self.items.push_back(Item::Memory(buffer.to_vec()));
            return Ok(());
        }
        self.spill(buffer).map_err(|error| StageError {
            path: self.path.clone(),
            error,
        })
    }

    fn spill(&mut self, buffer: &[u8]) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(sys::nameless_file(&self.path)?),
        };
        file.write_all_at(buffer, self.end)?;
        self.items.push_back(Item::File {
            offset: self.end,
            len: buffer.len(),
        });
        self.end += buffer.len() as u64;
        Ok(())
    }

    /// Takes the next buffer out.
    ///
    /// # Errors
    /// Of reading the file.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, StageError> {
        match self.items.pop_front() {
            None => Ok(None),
            Some(Item::Memory(buffer)) => {
                self.used.set(self.used.get() - buffer.len());
                Ok(Some(buffer))
            }
            Some(Item::File { offset, len }) => {
                let mut buffer = vec![0; len];
                let file = self
                    .file
                    .as_ref()
                    .expect("an item is in the file, so it was made");
                file.read_exact_at(&mut buffer, offset)
                    .map_err(|error| StageError {
                        path: self.path.clone(),
                        error,
                    })?;
                Ok(Some(buffer))
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let held: usize = self
            .items
            .iter()
            .map(|item| if let Item::Memory(b) = item { b.len() } else { 0 })
            .sum();
        self.used.set(self.used.get() - held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_out_in_order_from_memory_and_file_and_the_bound_holds() {
        let dir = tempfile::tempdir().unwrap();
        let used = Used::default();
        used.set(MEMORY_LIMIT - 10);
        let mut staged = Staged::new(dir.path(), "a", &used);
        for buffer in [&b"eight by"[..], b"four", b"", b"of", b"more than there is"] {
            staged.add(buffer).unwrap();
            assert!(used.get() <= MEMORY_LIMIT);
        }
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "the file has no name"
        );
        let mut out = Vec::new();
        while let Some(buffer) = staged.next().unwrap() {
            out.push(buffer);
        }
        assert_eq!(
            out,
            [&b"eight by"[..], b"four", b"", b"of", b"more than there is"]
        );
        assert_eq!(used.get(), MEMORY_LIMIT - 10);
    }

    #[test]
    fn a_dropped_transaction_gives_its_memory_back() {
        let dir = tempfile::tempdir().unwrap();
        let used = Used::default();
        let mut staged = Staged::new(dir.path(), "a", &used);
        staged.add(&[0; 1000]).unwrap();
        staged.add(&[0; 500]).unwrap();
        staged.next().unwrap();
        assert_eq!(used.get(), 500);
        drop(staged);
        assert_eq!(used.get(), 0);
    }

    #[test]
    fn want_of_a_directory_names_the_path() {
        let used = Used::default();
        used.set(MEMORY_LIMIT);
        let mut staged = Staged::new(Path::new("/nonexistent"), "a.tdb", &used);
        let error = staged.add(b"x").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/push.a.tdb"), "{error}");
        assert!(staged.next().unwrap().is_none());
    }
}
