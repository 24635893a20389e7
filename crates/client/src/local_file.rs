//! The node's file of a database, opened beside the daemon, and its chain locks.
//!
//! libtdb's locks belong to the process: a second taker in the same process gets the lock of the first one. So the tasks of this
//! process take turns, chain by chain, before one of them tries the lock. And libtdb refuses to open a file twice, therefore all
//! clients of a thread share what is open.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ctdb_runtime::Handle;
use ctdb_runtime::sync::{Permit, Semaphore};
use ctdb_tdb::{Access, Chain, ChainLock, OpenOptions, Tdb, TdbError, TdbFlags};

/// Pause before a lock that another process holds is tried again: at first, and at most. Most are held for microseconds.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_LAST: Duration = Duration::from_millis(8);

thread_local! {
    static OPEN: RefCell<HashMap<PathBuf, Weak<LocalFile>>> = RefCell::default();
}

/// An open file. It closes when nobody uses it any more.
pub(crate) struct LocalFile {
    tdb: Tdb,
    path: PathBuf,
    /// For chains that a task of ours holds or waits for.
    turns: RefCell<HashMap<Chain, Semaphore>>,
}

impl LocalFile {
    /// Opens a file that the daemon has created, exactly as it wants it opened.
    pub(crate) fn open(path: &Path, flags: TdbFlags) -> Result<Rc<LocalFile>, TdbError> {
        let open = OPEN.with_borrow(|open| open.get(path).and_then(Weak::upgrade));
        if let Some(open) = open {
            return Ok(open);
        }
        let options = OpenOptions {
            flags,
            access: Access::ReadWrite,
            ..OpenOptions::default()
        };
        let file = Rc::new(LocalFile {
            tdb: Tdb::open(path, &options)?,
            path: path.to_owned(),
            turns: RefCell::default(),
        });
        OPEN.with_borrow_mut(|open| open.insert(path.to_owned(), Rc::downgrade(&file)));
        Ok(file)
    }

    /// The next open of this path is of another file.
    pub(crate) fn forget(path: &Path) {
        OPEN.with_borrow_mut(|open| open.remove(path));
    }

    pub(crate) fn tdb(&self) -> &Tdb {
        &self.tdb
    }

    /// The write lock of the chain of a key: our turn first, then libtdb's lock.
    pub(crate) async fn lock(self: &Rc<Self>, handle: &Handle, key: &[u8]) -> Result<Locked, TdbError> {
        let chain = self.tdb.chain_of(key);
        let permit = self.turn_of(chain).acquire().await;
        let turn = Turn {
            file: self.clone(),
            chain,
            permit: Some(permit),
        };
        let lock = keep_trying(handle, || self.tdb.try_lock_chain_at(chain)).await?;
        Ok(Locked {
            _lock: lock,
            _turn: turn,
        })
    }

    /// Looks under a read lock of the chain of a key; nothing waits meanwhile.
    pub(crate) async fn look<T>(
        &self,
        handle: &Handle,
        chain: Chain,
        look: impl FnOnce(&Tdb) -> Result<T, TdbError>,
    ) -> Result<T, TdbError> {
        let lock = keep_trying(handle, || self.tdb.try_lock_chain_read_at(chain)).await?;
        let seen = look(&self.tdb);
        lock.unlock()?;
        seen
    }

    fn turn_of(&self, chain: Chain) -> Semaphore {
        let mut turns = self.turns.borrow_mut();
        turns.entry(chain).or_insert_with(|| Semaphore::new(1)).clone()
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        // Not there any more when the thread ends.
        let _ = OPEN.try_with(|open| {
            let mut open = open.borrow_mut();
            // Another open of the same file may have taken the place.
            if open.get(&self.path).is_some_and(|file| file.strong_count() == 0) {
                open.remove(&self.path);
            }
        });
    }
}

/// A locked chain. The lock goes before the turn.
#[must_use = "the chain is unlocked when this is dropped"]
pub(crate) struct Locked {
    _lock: ChainLock,
    _turn: Turn,
}

struct Turn {
    file: Rc<LocalFile>,
    chain: Chain,
    permit: Option<Permit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None; // goes to the next that waits, if there is one
        let mut turns = self.file.turns.borrow_mut();
        if turns.get(&self.chain).is_some_and(|turn| turn.free() > 0) {
            turns.remove(&self.chain);
        }
    }
}

/// Tries to lock until no other process is in the way.
async fn keep_trying(
    handle: &Handle,
    mut try_lock: impl FnMut() -> Result<Option<ChainLock>, TdbError>,
) -> Result<ChainLock, TdbError> {
    let mut pause = RETRY_FIRST;
    loop {
        if let Some(lock) = try_lock()? {
            return Ok(lock);
        }
        handle.sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::cell::Cell;

    use ctdb_runtime::Runtime;

    fn new_file(dir: &Path) -> PathBuf {
        let path = dir.join("a.tdb.0");
        let options = OpenOptions {
            create: true,
            ..OpenOptions::default()
        };
        drop(Tdb::open(&path, &options).unwrap());
        path
    }

    #[test]
    fn all_who_open_a_file_share_it_until_the_last_is_gone_or_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = new_file(dir.path());
        let open = || LocalFile::open(&path, TdbFlags::empty()).unwrap();
        let (one, two) = (open(), open());
        assert!(Rc::ptr_eq(&one, &two));
        drop((one, two));
        assert!(OPEN.with_borrow(|open| open.is_empty()));
        let old = open();
        LocalFile::forget(&path);
        std::fs::remove_file(&path).unwrap();
        new_file(dir.path());
        let new = open();
        assert!(!Rc::ptr_eq(&old, &new));
        drop(old);
        assert!(Rc::ptr_eq(&new, &open()));
    }

    #[test]
    fn a_missing_file_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        assert!(LocalFile::open(&path, TdbFlags::empty()).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn tasks_of_a_process_have_a_chain_one_after_the_other_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = new_file(dir.path());
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        let file = LocalFile::open(&path, TdbFlags::empty()).unwrap();
        let inside = Rc::new(Cell::new(false));
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let (file, handle, inside) = (file.clone(), handle.clone(), inside.clone());
                handle.clone().spawn(async move {
                    let locked = file.lock(&handle, b"key").await.unwrap();
                    assert!(!inside.replace(true));
                    handle.yield_now().await;
                    inside.set(false);
                    drop(locked);
                })
            })
            .collect();
        runtime.block_on(async {
            for task in tasks {
                task.await;
            }
        });
        assert!(file.turns.borrow().is_empty());
    }

    #[test]
    fn the_loop_goes_on_while_another_process_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = new_file(dir.path());
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        let file = LocalFile::open(&path, TdbFlags::empty()).unwrap();
        let held_elsewhere = Rc::new(Cell::new(true));
        let lets_go = {
            let (handle, held_elsewhere) = (handle.clone(), held_elsewhere.clone());
            handle.clone().spawn(async move {
                handle.sleep(Duration::from_millis(20)).await;
                held_elsewhere.set(false);
            })
        };
        let tries = Cell::new(0);
        let locked = keep_trying(&handle, || {
            tries.set(tries.get() + 1);
            if held_elsewhere.get() {
                return Ok(None);
            }
            file.tdb().try_lock_chain(b"key")
        });
        drop(runtime.block_on(locked).unwrap());
        runtime.block_on(lets_go);
        assert!((2..20).contains(&tries.get()), "{} tries", tries.get());
    }
}
