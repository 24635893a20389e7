//! Somebody who asks the daemons all the time whether they are there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use ctdb_protocol::{Pnn, Request};

use crate::connection::Connection;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(1);

/// Does `work` while each daemon is asked PING, and tells the longest that one of them left it unanswered.
pub fn longest_silence<T>(sockets: &[PathBuf], work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let done = AtomicBool::new(false);
    let ask = |socket: &PathBuf| -> Result<Duration> {
        let mut daemon = Connection::open(socket)?;
        let mut longest = Duration::ZERO;
        // The last one is asked before the end, and its answer waited for.
        while !done.load(Ordering::Relaxed) {
            let before = Instant::now();
            daemon.control(Pnn::CURRENT, &Request::Ping)?;
            longest = longest.max(before.elapsed());
            thread::sleep(PAUSE);
        }
        Ok(longest)
    };
    thread::scope(|scope| {
        let ask = &ask;
        let askers: Vec<_> = sockets
            .iter()
            .map(|socket| scope.spawn(move || ask(socket)))
            .collect();
        let result = work();
        done.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for asker in askers {
            let silence = asker.join().map_err(|_| anyhow!("a pinging thread panicked"))??;
            longest = longest.max(silence);
        }
        Ok((longest, result?))
    })
}
