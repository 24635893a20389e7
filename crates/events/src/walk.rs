//! Through the scripts of one event, and what is remembered of it. Pure.
//!
//! A script's result is one number:
//!
//! | result | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 to 63, 255 | its exit status: it failed |
//! | -ENOEXEC | disabled: not executable, gone, or not startable for such a reason; is passed over |
//! | -ETIMEDOUT | the event's time was over |
//! | -EINTR | a signal killed it |
//! | other -errno | could not be run; exit statuses 64 to 254 say so too (64 + errno) |
//!
//! Source: `ctdb/common/run_event.c`, `run_event_script_status`; `ctdb/common/run_proc.c` for the exit statuses;
//!
//! Scripts that were not reached are not remembered. Today's upstream keeps what it knew of them from older runs, or -ENOMSG,
//! and its tool shows neither; the tool of 4.17 would show them as errors. Without them both tools show the same.

use libc::{EACCES, EINTR, ENOENT, ENOEXEC, ETIMEDOUT};

use ctdb_runtime::{ExitStatus, WallTime};

use crate::proto::{ScriptStatus, Status};

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Ended(ExitStatus),
    /// It could not be started: errno.
    NotStarted(i32),
    /// It was still running when the event's time was over, or the time was over before it began.
    TimedOut,
}

impl Outcome {
    /// The number that clients see.
    pub fn result(self) -> i32 {
        match self {
            Outcome::TimedOut => -ETIMEDOUT,
            Outcome::NotStarted(errno) => not_run(errno),
            Outcome::Ended(ExitStatus::Exited(status @ 64..=254)) => not_run(status - 64),
            Outcome::Ended(ExitStatus::Exited(status)) => status,
            Outcome::Ended(ExitStatus::Killed(_) | ExitStatus::Unknown) => -EINTR,
        }
    }
}

/// A script that went away or lost its permission between listing and running was disabled by somebody.
fn not_run(errno: i32) -> i32 {
    match errno {
        EACCES | ENOENT => -ENOEXEC,
        // Upstream takes exit status 64 for errno 0: success.
        errno => -errno,
    }
}

/// One event on its way through its scripts.
#[derive(Debug)]
pub struct Walk {
    status: Status,
    next: usize,
    run_all: bool,
}

impl Walk {
    /// Begins with the names of the scripts, sorted. `run_all`: go on after a failure.
    pub fn new(names: Vec<String>, run_all: bool) -> Walk {
        let not_run = |name| ScriptStatus {
            name,
            begin: WallTime::default(),
            end: WallTime::default(),
            result: 0,
            output: None,
        };
        let scripts = names.into_iter().map(not_run).collect();
        Walk {
            status: Status { summary: 0, scripts },
            next: 0,
            run_all,
        }
    }

    /// The script to run now; `None` when the event is over.
    pub fn next(&self) -> Option<&str> {
        let failed = self.status.summary != 0 && !self.run_all;
        self.status
            .scripts
            .get(self.next)
            .filter(|_| !failed)
            .map(|script| script.name.as_str())
    }

    /// The script that [`Walk::next`] named is over. Tells its result.
    pub fn ended(
        &mut self,
        begin: WallTime,
        end: WallTime,
        outcome: Outcome,
        output: Option<Vec<u8>>,
    ) -> i32 {
        let result = outcome.result();
        if let Some(script) = self.status.scripts.get_mut(self.next) {
            *script = ScriptStatus {
                begin,
                end,
                result,
                output,
                name: std::mem::take(&mut script.name),
            };
            self.next += 1;
        }
        if result != 0 && result != -ENOEXEC {
            self.status.summary = result;
        }
        result
    }

    /// What is to be remembered: the scripts that were reached.
    pub fn finish(mut self) -> Status {
        self.status.scripts.truncate(self.next);
        self.status
    }
}

/// The answer to RUN.
pub fn run_result(summary: i32) -> i32 {
    if summary == 0 {
        0
    } else if summary == -ETIMEDOUT {
        ETIMEDOUT
    } else {
        ENOEXEC
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(secs: i64) -> WallTime {
        WallTime { secs, micros: 0 }
    }

    fn exited(status: i32) -> Outcome {
        Outcome::Ended(ExitStatus::Exited(status))
    }

    fn walk(names: &[&str], run_all: bool, outcomes: &[Outcome]) -> Walk {
        let mut walk = Walk::new(names.iter().map(|name| (*name).to_owned()).collect(), run_all);
        for (secs, outcome) in (1..).zip(outcomes) {
            assert!(walk.next().is_some(), "the event is over before {outcome:?}");
            walk.ended(at(secs), at(secs), *outcome, None);
        }
        walk
    }

    fn results(status: &Status) -> Vec<i32> {
        status.scripts.iter().map(|script| script.result).collect()
    }

    #[test]
    fn a_result_says_how_a_script_ended() {
        let result = |outcome: Outcome| outcome.result();
        assert_eq!(result(exited(0)), 0);
        assert_eq!(result(exited(63)), 63);
        assert_eq!(result(exited(70)), -6);
        assert_eq!(result(exited(64 + EACCES)), -ENOEXEC);
        assert_eq!(result(exited(255)), 255);
        assert_eq!(result(Outcome::Ended(ExitStatus::Killed(9))), -EINTR);
        assert_eq!(result(Outcome::NotStarted(ENOENT)), -ENOEXEC);
        assert_eq!(result(Outcome::NotStarted(libc::EMFILE)), -libc::EMFILE);
        assert_eq!(result(Outcome::TimedOut), -ETIMEDOUT);
    }

    #[test]
    fn the_first_failure_ends_the_event_and_the_rest_is_not_remembered() {
        let walk = walk(&["01.a", "02.b", "03.c"], false, &[exited(0), exited(3)]);
        assert_eq!(walk.next(), None);
        let status = walk.finish();
        assert_eq!((status.summary, results(&status)), (3, vec![0, 3]));
        assert_eq!(run_result(status.summary), ENOEXEC);
    }

    #[test]
    fn disabled_scripts_are_passed_over() {
        let walk = walk(
            &["01.a", "02.b"],
            false,
            &[Outcome::NotStarted(EACCES), exited(0)],
        );
        assert_eq!(walk.next(), None);
        assert_eq!(walk.finish().summary, 0);
    }

    #[test]
    fn run_all_goes_on_and_the_last_failure_is_the_summary() {
        let walk = walk(
            &["01.a", "02.b", "03.c"],
            true,
            &[exited(3), exited(0), exited(4)],
        );
        let status = walk.finish();
        assert_eq!((status.summary, results(&status)), (4, vec![3, 0, 4]));
    }

    #[test]
    fn a_timeout_is_answered_as_such() {
        let status = walk(&["01.a"], false, &[Outcome::TimedOut]).finish();
        assert_eq!(run_result(status.summary), ETIMEDOUT);
        assert_eq!(run_result(0), 0);
    }

    proptest! {
        #[test]
        fn the_summary_is_a_result_of_one_of_the_scripts_that_ran(
            statuses in proptest::collection::vec(0i32..256, 0..8), run_all in any::<bool>()
        ) {
            let names: Vec<String> = (0..statuses.len()).map(|n| format!("{n:02}.x")).collect();
            let mut walk = Walk::new(names, run_all);
            let mut ran = 0;
            while walk.next().is_some() {
                walk.ended(at(1), at(1), exited(statuses[ran]), None);
                ran += 1;
            }
            let status = walk.finish();
            prop_assert!(status.summary == 0 || results(&status).contains(&status.summary));
            prop_assert!(status.summary != 0 || ran == statuses.len());
            prop_assert_eq!(status.scripts.len(), ran);
        }
    }
}
