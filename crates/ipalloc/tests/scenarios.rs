//! Stories as text: what happens to a cluster, and where its addresses are then.
//!
//! A line at the margin changes something; each `nodes` line is followed by what a takeover run makes of it, indented: the
//! addresses of each node, `+` before those that have come from somewhere else.
//!
//! ```text
//! lcp2 | deterministic | nondeterministic     with any of: no-failback, no-takeover, rebalance=PNN
//! address 10.0.0.1..4 on 0 1 2                four addresses and the nodes that have them in their configuration
//! home 10.0.0.1 2                             a line of home_nodes
//! nodes ok disabled down                      disabled: can't host, but says what it has; down: says nothing
//! ```
//!
//! `UPDATE_SCENARIOS=1 cargo test` writes the files anew; read the difference.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ctdb_ipalloc::{Algorithm, NodeAddresses, Policy, allocate};
use ctdb_protocol::Pnn;

#[derive(Default)]
struct Story {
    policy: Policy,
    configured: Vec<(IpAddr, Vec<usize>)>,
    owners: BTreeMap<IpAddr, Pnn>,
}

impl Story {
    /// Does what a line says; returns what is to be told about it.
    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["address", range, "on", ref nodes @ ..] => {
                let nodes: Vec<usize> = nodes.iter().map(|node| node.parse().unwrap()).collect();
                self.configured
                    .extend(expand(range).map(|ip| (ip, nodes.clone())));
            }
            ["home", ip, node] => {
                let home = (ip.parse().unwrap(), Pnn(node.parse().unwrap()));
                self.policy.home_nodes.push(home);
            }
            ["nodes", ref states @ ..] => return self.run(states),
            [algorithm, ref options @ ..] => self.set_policy(algorithm, options),
            [] => unreachable!("a split has at least one part"),
        }
        String::new()
    }

    fn set_policy(&mut self, algorithm: &str, options: &[&str]) {
        let rebalance = options
            .iter()
            .filter_map(|option| option.strip_prefix("rebalance="));
        self.policy = Policy {
            algorithm: match algorithm {
                "lcp2" => Algorithm::Lcp2,
                "deterministic" => Algorithm::Deterministic,
                "nondeterministic" => Algorithm::NonDeterministic,
                other => panic!("unknown line {other}"),
            },
            no_ip_failback: options.contains(&"no-failback"),
            no_ip_takeover: options.contains(&"no-takeover"),
            rebalance: rebalance.map(|node| Pnn(node.parse().unwrap())).collect(),
            home_nodes: std::mem::take(&mut self.policy.home_nodes),
        };
    }

    fn run(&mut self, states: &[&str]) -> String {
        let told: Vec<NodeAddresses> = (0..)
            .zip(states)
            .map(|(pnn, state)| self.told_by(pnn, state))
            .collect();
        let allocated = allocate(&told, &self.policy);
        let mut by_owner: BTreeMap<Option<Pnn>, Vec<String>> = BTreeMap::new();
        for address in &allocated {
            let moved = address.owner.is_some() && self.owners.get(&address.ip).copied() != address.owner;
            let mark = if moved { "+" } else { "" };
            by_owner
                .entry(address.owner)
                .or_default()
                .push(format!("{mark}{}", address.ip));
        }
        self.owners = allocated.iter().filter_map(|a| Some((a.ip, a.owner?))).collect();
        let mut text = String::new();
        for (owner, mut ips) in by_owner {
            ips.reverse();
            let name = owner.map_or("nobody".to_owned(), |pnn| pnn.to_string());
            writeln!(text, "    {name}: {}", ips.join(" ")).unwrap();
        }
        text
    }

    fn told_by(&self, pnn: usize, state: &str) -> NodeAddresses {
        let mut node = NodeAddresses::default();
        let mine = self.configured.iter().filter(|(_, nodes)| nodes.contains(&pnn));
        for &(ip, _) in mine.filter(|_| state != "down") {
            node.known
                .insert(ip, self.owners.get(&ip) == Some(&Pnn(pnn as u32)));
            match state {
                "ok" => node.available.insert(ip),
                "disabled" => false,
                other => panic!("unknown state {other}"),
            };
        }
        node
    }
}

/// `10.0.0.1..3` is three addresses.
fn expand(range: &str) -> impl Iterator<Item = IpAddr> {
    let (first, last) = range.split_once("..").unwrap_or((range, ""));
    let digits = first.rfind(['.', ':']).unwrap() + 1;
    let (prefix, from) = first.split_at(digits);
    let from: u32 = from.parse().unwrap();
    let to = if last.is_empty() {
        from
    } else {
        last.parse().unwrap()
    };
    (from..=to).map(move |host| format!("{prefix}{host}").parse().unwrap())
}

fn retell(text: &str) -> String {
    let mut story = Story::default();
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(out, "{line}").unwrap();
        if !line.is_empty() && !line.starts_with('#') {
            out += &story.line(line);
        }
    }
    out
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenarios")
        .join(name);
    let written = fs::read_to_string(&path).unwrap();
    let told = retell(&written);
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        fs::write(&path, told).unwrap();
        return;
    }
    assert!(told == written, "{name} is told differently now:\n{told}");
}

#[test]
fn lcp2_goes_as_told() {
    check("lcp2.txt");
}

#[test]
fn deterministic_goes_as_told() {
    check("deterministic.txt");
}

#[test]
fn nondeterministic_goes_as_told() {
    check("nondeterministic.txt");
}

#[test]
fn the_no_options_go_as_told() {
    check("no_takeover_no_failback.txt");
}
