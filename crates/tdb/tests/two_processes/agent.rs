//! A second process that does with a database what it is told: this test program again, started with
//! one test, [`the_agent_answers`], and the path of the database in its environment.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ctdb_tdb::{OpenOptions, StoreMode, Tdb, TdbFlags};

const PATH: &str = "TDB_TEST_AGENT_PATH";
const FLAGS: &str = "TDB_TEST_AGENT_FLAGS";
/// In front of an answer; the test program prints other lines, too.
const ANSWER: &str = "agent: ";

pub struct Agent {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts a process that opens the file.
    pub fn start(path: &Path, flags: TdbFlags) -> Agent {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "agent::the_agent_answers", "--nocapture"])
            .env(PATH, path)
            .env(FLAGS, flags.bits().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Agent { child, stdin, stdout }
    }

    /// Sends a command and does not wait for the answer.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    pub fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let n = self.stdout.read_line(&mut line).unwrap();
            assert_ne!(n, 0, "the agent died");
            // The harness prints "test … ... " without an end of line in front of the first answer.
            if let Some(at) = line.find(ANSWER) {
                return line[at + ANSWER.len()..].trim_end().to_string();
            }
        }
    }

    pub fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_agent_answers() {
    if let Ok(path) = std::env::var(PATH) {
        let flags = std::env::var(FLAGS).unwrap().parse().unwrap();
        return serve(Path::new(&path), TdbFlags::from_bits_retain(flags));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&dir.path().join("a.tdb"), TdbFlags::empty());
    assert_eq!(agent.ask("store key value"), "ok");
    assert_eq!(agent.ask("fetch key"), "value");
    assert_eq!(agent.ask("dance"), "what is dance?");
}

/// The agent's own life: a command a line, an answer a line, until the end of its input.
fn serve(path: &Path, flags: TdbFlags) {
    let options = OpenOptions {
        hash_size: 7,
        flags,
        create: true,
        ..OpenOptions::default()
    };
    let tdb = Tdb::open(path, &options).unwrap();
    let mut chain = None;
    let mut all = None;
    let mut transaction = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let ok = "ok".to_string();
        let busy = |got: bool| if got { "ok".to_string() } else { "busy".to_string() };
        let answer = match words[..] {
            ["lock", key] => {
                chain = Some(tdb.lock_chain(key.as_bytes()).unwrap());
                ok
            }
            ["try", key] => busy(tdb.try_lock_chain(key.as_bytes()).unwrap().is_some()),
            ["try-read", key] => busy(tdb.try_lock_chain_read(key.as_bytes()).unwrap().is_some()),
            ["lock-free-list"] => {
                chain = tdb.try_lock_free_list().unwrap();
                busy(chain.is_some())
            }
            ["unlock"] => chain
                .take()
                .unwrap()
                .unlock()
                .map_or_else(|e| e.to_string(), |()| ok),
            ["lock-all"] => {
                all = Some(tdb.lock_all().unwrap());
                ok
            }
            ["try-all"] => busy(tdb.try_lock_all().unwrap().is_some()),
            ["unlock-all"] => all
                .take()
                .unwrap()
                .unlock()
                .map_or_else(|e| e.to_string(), |()| ok),
            ["store", key, value] => {
                tdb.store(key.as_bytes(), value.as_bytes(), StoreMode::Replace)
                    .unwrap();
                ok
            }
            ["fetch", key] => {
                let data = tdb.fetch(key.as_bytes()).unwrap();
                data.map_or("none".to_string(), |data| String::from_utf8(data).unwrap())
            }
            ["start"] => {
                transaction = Some(tdb.transaction().unwrap());
                ok
            }
            ["try-start"] => busy(tdb.transaction_nonblock().unwrap().is_some()),
            ["prepare"] => {
                transaction.as_mut().unwrap().prepare_commit().unwrap();
                ok
            }
            ["commit"] => {
                transaction.take().unwrap().commit().unwrap();
                ok
            }
            _ => format!("what is {line}?"),
        };
        println!("{ANSWER}{answer}");
    }
}
