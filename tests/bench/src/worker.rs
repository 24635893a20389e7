//! Processes of this program: for clients that must not share locks, and for the bare processes of the floor.
//!
//! A worker says "ready" on its standard output, begins when it gets a line, says one line of JSON at its end. The end
//! of its standard input ends it, whatever it does: no worker outlives the benchmark.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A worker, seen from the benchmark.
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one with the arguments behind `ctdb-bench worker`.
    pub fn start(args: &[String]) -> Result<Worker> {
        let mut child = Command::new(env::current_exe()?)
            .arg("worker")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a worker")?;
        let stdin = child.stdin.take().context("the worker has no input")?;
        let stdout = child.stdout.take().context("the worker has no output")?;
        Ok(Worker {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Waits for a line.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "a worker ended early; its errors are above");
        line.truncate(line.len() - 1);
        Ok(line)
    }

    /// Waits until it is ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(
            line == "ready",
            "a worker said {line:?} where \"ready\" was expected"
        );
        Ok(())
    }

    /// Sends a line; an empty one lets it begin.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}").context("a worker is gone")
    }

    /// Waits for what it has to say.
    pub fn result<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("a worker said {line:?}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a worker process does with its standard streams.
pub struct Inside {
    lines: std::sync::mpsc::Receiver<String>,
}

impl Inside {
    /// Reads the lines in a thread, which ends the process with the input.
    pub fn new() -> Inside {
        let (sender, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
            std::process::exit(0);
        });
        Inside { lines }
    }

    /// Says a line.
    pub fn say(&self, line: &str) -> Result<()> {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{line}")?;
        Ok(stdout.flush()?)
    }

    /// Waits for a line.
    pub fn listen(&self) -> Result<String> {
        self.lines.recv().context("the benchmark is gone")
    }

    /// Says that it is ready and waits for the word to begin.
    pub fn ready(&self) -> Result<()> {
        self.say("ready")?;
        self.listen().map(|_| ())
    }

    /// Says the result.
    pub fn result(&self, result: &impl Serialize) -> Result<()> {
        self.say(&serde_json::to_string(result)?)
    }
}
