//! The sample files of the C implementation, and libtdb's own tools on files of ours.
#![allow(clippy::unwrap_used)] // in a test, a panic is the report

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};
use std::process::Command;

use ctdb_tdb::{Access, OpenOptions, StoreMode, Tdb, TdbFlags};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/files")
}

/// The records that CONTENTS.txt lists for each database file. With the ctdb header where it shows one.
fn contents() -> BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>> {
    let text = std::fs::read_to_string(samples().join("CONTENTS.txt")).unwrap();
    let mut files = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some((file, _)) = line.split_once(": ").filter(|_| !line.starts_with(' ')) {
            current = file.ends_with(".tdb").then(|| file.to_string());
            if let Some(file) = &current {
                files.insert(file.clone(), BTreeMap::new());
            }
        } else if let (Some(file), Some(record)) = (&current, line.trim().strip_prefix("key=")) {
            let (key, data) = parse_record(record);
            files.get_mut(file).unwrap().insert(key, data);
        }
    }
    files
}

/// `"key" rsn=2 dmaster=0 flags=0x00000000 data="value"` or `"key" data="value"`.
fn parse_record(line: &str) -> (Vec<u8>, Vec<u8>) {
    let (key, rest) = line.split_once("\" ").unwrap();
    let key = key.trim_start_matches('"').replace("\\0", "\0").into_bytes();
    let (header, value) = rest.split_once("data=").unwrap();
    let mut data = Vec::new();
    if let [rsn, dmaster, flags] = header.split_whitespace().collect::<Vec<_>>()[..] {
        let number = |field: &str| field.split_once('=').unwrap().1.to_string();
        data.extend(number(rsn).parse::<u64>().unwrap().to_le_bytes());
        data.extend(number(dmaster).parse::<u32>().unwrap().to_le_bytes());
        data.extend([0; 4]);
        let flags = u32::from_str_radix(number(flags).trim_start_matches("0x"), 16).unwrap();
        data.extend(flags.to_le_bytes());
        data.extend([0; 4]);
    }
    if let Some(hex) = value.strip_prefix("hex:") {
        data.extend(
            (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()),
        );
    } else {
        data.extend(value.trim_matches('"').bytes());
    }
    (key, data)
}

/// Padding and reserved bytes of the header are not in CONTENTS.txt.
fn without_padding(mut data: Vec<u8>, has_header: bool) -> Vec<u8> {
    if has_header {
        data[12..16].fill(0);
        data[20..24].fill(0);
    }
    data
}

#[test]
fn every_sample_file_has_the_records_of_its_description() {
    let contents = contents();
    assert_eq!(contents.len(), 7);
    let dir = tempfile::tempdir().unwrap();
    for (file, expected) in contents {
        let path = dir.path().join(&file);
        std::fs::copy(samples().join(&file), &path).unwrap();
        let flags = if file.contains("mutex") {
            TdbFlags::MUTEX_LOCKING
        } else {
            TdbFlags::empty()
        };
        let read_only = OpenOptions {
            access: Access::ReadOnly,
            ..OpenOptions::default()
        };
        let read_write = OpenOptions {
            flags,
            ..OpenOptions::default()
        };
        for options in [read_only, read_write] {
            let tdb = Tdb::open(&path, &options).unwrap();
            let has_header = !file.contains("health");
            let mut found = BTreeMap::new();
            for chain in tdb.chains() {
                tdb.traverse_chain(chain, |key, data| {
                    assert_eq!(tdb.chain_of(key), chain, "{file}");
                    found.insert(key.to_vec(), without_padding(data.to_vec(), has_header));
                    Continue(())
                })
                .unwrap();
            }
            assert_eq!(found, expected, "{file}");
            tdb.check().unwrap();
        }
    }
}

#[test]
fn a_mutex_file_is_refused_without_the_mutex_flag() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.tdb");
    std::fs::copy(samples().join("volatile-mutex.tdb"), &path).unwrap();
    assert_eq!(
        Tdb::open(&path, &OpenOptions::default()).unwrap_err().errno,
        libc::EINVAL
    );
}

#[test]
fn a_truncated_sample_is_an_error_and_never_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(samples().join("recdb-volatile.tdb")).unwrap();
    let path = dir.path().join("cut.tdb");
    let mut refused = 0;
    for cut in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        match Tdb::open(&path, &OpenOptions::default()) {
            Ok(tdb) => {
                let _ = tdb.traverse_read(|_, _| Continue(()));
                let _ = tdb.fetch(b"key1");
                refused += usize::from(tdb.check().is_err());
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 2);
}

/// `None`, said by name, where the tool is not installed.
fn run_tool(tool: &str, args: &[&str]) -> Option<String> {
    match Command::new(tool).args(args).output() {
        Ok(output) => {
            assert!(output.status.success(), "{tool} {args:?}: {output:?}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {tool} is not installed (package tdb-tools)");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

#[test]
fn the_tools_of_libtdb_read_what_we_write_and_we_read_theirs() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [
        TdbFlags::empty(),
        TdbFlags::INCOMPATIBLE_HASH,
        TdbFlags::MUTEX_LOCKING,
    ] {
        let path = dir.path().join(format!("{}.tdb", flags.bits()));
        let options = OpenOptions {
            hash_size: 7,
            flags,
            create: true,
            ..OpenOptions::default()
        };
        let tdb = Tdb::open(&path, &options).unwrap();
        tdb.store(b"ours", b"value", StoreMode::Insert).unwrap();
        let name = path.to_str().unwrap();
        if let Some(text) = run_tool("tdbdump", &[name]) {
            assert!(text.contains("\"ours\"") && text.contains("\"value\""), "{text}");
        }
        if flags == TdbFlags::MUTEX_LOCKING {
            continue; // tdbtool opens for writing, without the mutex flag
        }
        if let Some(text) = run_tool("tdbtool", &[name, "check"]) {
            assert!(
                text.contains("Database integrity is OK and has 1 records"),
                "{text}"
            );
        }
        if run_tool("tdbtool", &[name, "insert", "theirs", "data"]).is_some() {
            assert_eq!(tdb.fetch(b"theirs").unwrap().unwrap(), b"data");
        }
    }
}
