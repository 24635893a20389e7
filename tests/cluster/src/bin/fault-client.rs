//! What smbd does with a node's database file, for tests of faults: a process of its own, which can be killed.
//!
//! `fault-client hold FILE KEY (mutex|fcntl)` takes the chain lock of a key, says "held", and keeps it until its
//! standard input ends. `fault-client fill FILE PNN RECORDS BYTES` stores records as a client of that node.

use std::env;
use std::io::Read;

use anyhow::{Context, Result, bail};
use ctdb_protocol::{LtdbHeader, Pnn, RecFlags, Rsn};
use ctdb_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["hold", file, key, "mutex"] => hold(file, key, TdbFlags::CLEAR_IF_FIRST | TdbFlags::MUTEX_LOCKING),
        ["hold", file, key, "fcntl"] => hold(file, key, TdbFlags::CLEAR_IF_FIRST),
        ["fill", file, pnn, records, bytes] => fill(file, pnn.parse()?, records.parse()?, bytes.parse()?),
        _ => bail!("hold FILE KEY (mutex|fcntl) or fill FILE PNN RECORDS BYTES, not {args:?}"),
    }
}

/// The daemon has the file open, so nothing is cleared.
fn open(file: &str, flags: TdbFlags) -> Result<Tdb> {
    let options = OpenOptions {
        flags,
        ..OpenOptions::default()
    };
    Tdb::open(file, &options).context("the database")
}

fn hold(file: &str, key: &str, flags: TdbFlags) -> Result<()> {
    let _lock = open(file, flags)?.lock_chain(key.as_bytes())?;
    println!("held");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn fill(file: &str, pnn: u32, records: u32, bytes: usize) -> Result<()> {
    let tdb = open(file, TdbFlags::CLEAR_IF_FIRST | TdbFlags::MUTEX_LOCKING)?;
    let header = LtdbHeader {
        rsn: Rsn(1),
        dmaster: Pnn(pnn),
        flags: RecFlags::MIGRATED_WITH_DATA,
    };
    let value = vec![b'x'; bytes];
    for record in 0..records {
        let key = record.to_le_bytes();
        let _lock = tdb.lock_chain(&key)?;
        tdb.store_vectored(&key, &[&header.to_bytes(), &value], StoreMode::Replace)?;
    }
    Ok(())
}
