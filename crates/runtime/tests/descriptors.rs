//! A process without free descriptors. Alone in its file: the limit is the whole process's.

#![allow(clippy::unwrap_used)] // a test may panic, its helpers too

use std::time::Duration;

use ctdb_runtime::Runtime;
use ctdb_runtime::sync::join2;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn accepting_without_free_descriptors_rests_and_goes_on_when_there_are_some() {
    let runtime = Runtime::new().unwrap();
    let h = runtime.handle();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let listener = h.listen_unix(&path, 0o700, 10).unwrap();
        let _client = h.connect_unix(&path).await.unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let next_free = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap());
        setrlimit(Resource::RLIMIT_NOFILE, next_free as u64, hard).unwrap();
        let turns = h.turn_lengths().turns();
        let wait_then_allow = async {
            h.sleep(Duration::from_millis(150)).await;
            let turns = h.turn_lengths().turns() - turns;
            assert!(turns < 10, "{turns} turns while there was nothing to be done");
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        };
        let (accepted, ()) = join2(listener.accept(), wait_then_allow).await;
        assert!(accepted.unwrap().peer_cred().is_some());
    });
}
