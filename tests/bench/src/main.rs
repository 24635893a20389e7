//! Measures any daemon that speaks the protocol, through its unix sockets: ours, Debian's, and beside them the floor,
//! the same bytes through bare sockets between bare processes. `docs/performance.md` says how and with what result.

mod connection;
mod course;
mod database;
mod fill;
mod floor;
mod latency;
mod measures;
mod memory;
mod parallel;
mod pinger;
mod plan;
mod recover;
mod row;
mod subject;
mod table;
mod transaction;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use ctdb_harness::{Binaries, peer};
use serde_json::json;

use measures::Measure;
use plan::{Plan, RERECOVERY_PAUSE};
use row::Row;
use subject::Subject;
use table::{Column, Table};
use worker::Inside;

/// Measures what clusters of three nodes do, and prints a table.
#[derive(Parser)]
#[command(name = "ctdb-bench")]
struct Options {
    /// Whose daemons: ours, Debian's 4.17, or both in turn.
    #[arg(value_enum, default_value = "both")]
    whose: Whose,
    /// Only these measures.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = measure_names())]
    only: Vec<String>,
    /// Shorter, with fewer repetitions and without the longest measures: less than two minutes.
    #[arg(long)]
    quick: bool,
    /// Write the numbers into this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whose {
    Ours,
    Debian,
    Both,
}

fn measure_names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(measures::ALL.iter().map(|measure| measure.name))
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let result = match args.get(1).map(String::as_str) {
        Some("worker") => work(&args[2..]).map(|()| true),
        _ => bench(&Options::parse()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ctdb-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What this program does when it has started itself.
fn work(args: &[String]) -> Result<()> {
    let inside = Inside::new();
    match args {
        [kind, dir, index] if kind == "relay" => floor::run_relay(&inside, Path::new(dir), index.parse()?),
        [kind, order] if kind == "contend" => measures::run_contender(&inside, order),
        _ => bail!("no such worker: {args:?}"),
    }
}

/// Measures, and tells whether all measures worked.
fn bench(options: &Options) -> Result<bool> {
    let plan = if options.quick {
        Plan::quick()
    } else {
        Plan::full()
    };
    let mut subjects = Vec::new();
    if options.whose != Whose::Debian {
        subjects.push((Column::Ours, Binaries::ours()?));
    }
    if options.whose != Whose::Ours {
        subjects.push((Column::Theirs, peer()?));
    }
    let chosen = |measure: &&Measure| match &options.only[..] {
        [] => measure.quick || !plan.quick,
        only => only.iter().any(|name| name == measure.name),
    };
    let chosen: Vec<&Measure> = measures::ALL.iter().filter(chosen).collect();

    let start = Instant::now();
    let mut run = Run::default();
    run.about_the_machine(plan);
    for (place, measure) in chosen.iter().enumerate() {
        if let Some(floor) = measure.floor {
            run.one("floor", measure.name, (Column::Floor, place), || floor(plan));
        }
    }
    for (column, binaries) in subjects {
        let name = binaries.name().to_owned();
        let mut subject = Subject::new(binaries, plan);
        for (place, measure) in chosen.iter().enumerate() {
            let daemons = || (measure.daemons)(&mut subject);
            if !run.one(&name, measure.name, (column, place), daemons) {
                eprintln!("{}", subject.log_tails());
                // The next one shall not suffer from it.
                subject.end();
            }
        }
    }
    println!("\n{}", run.table);
    println!("{RATIO}\nThe run took {:.0} s.", start.elapsed().as_secs_f64());
    run.failures
        .iter()
        .for_each(|failure| println!("FAILED: {failure}"));
    if let Some(path) = &options.json {
        let mut text = serde_json::to_string_pretty(&run.to_json(plan))?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(run.failures.is_empty())
}

const RATIO: &str = "Ratio: how many times better ours is; less than 1.00x is worse. Floor: the same bytes through bare sockets \
                     between bare processes, or the same records in bare files.";

#[derive(Default)]
struct Run {
    table: Table,
    failures: Vec<String>,
    machine: String,
}

impl Run {
    fn about_the_machine(&mut self, plan: Plan) {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = thread::available_parallelism().map_or(0, usize::from);
        self.machine = format!("{processors} processors, Linux {}", kernel.trim());
        println!(
            "{} run on {}; default tunables, three nodes on loopback addresses.\n\
             C refuses a recovery for 10 s after another one (RerecoveryTimeout): before each recovery that is timed, \
             both kinds of daemons get {} s of rest.",
            if plan.quick { "Quick" } else { "Full" },
            self.machine,
            RERECOVERY_PAUSE.as_secs()
        );
    }

    /// One measure; `false` if it failed.
    fn one(
        &mut self,
        whose: &str,
        name: &str,
        (column, place): (Column, usize),
        measure: impl FnOnce() -> Result<Vec<Row>>,
    ) -> bool {
        let start = Instant::now();
        let measured = measure();
        // Progress, for a run of minutes.
        eprintln!("{whose:>8} {name:14} {:6.1} s", start.elapsed().as_secs_f64());
        match measured {
            Ok(rows) => {
                rows.into_iter()
                    .for_each(|row| self.table.add(column, place, row));
                true
            }
            Err(error) => {
                eprintln!("{whose}: {name}: {error:#}");
                self.failures.push(format!("{whose}: {name}: {error}"));
                false
            }
        }
    }

    fn to_json(&self, plan: Plan) -> serde_json::Value {
        json!({
            "quick": plan.quick,
            "machine": self.machine,
            "rows": self.table.to_json(),
            "failures": self.failures,
        })
    }
}
