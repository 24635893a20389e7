//! The recorded cases of the C implementation; `tests/vectors/README.md` tells what is in them.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use ctdb_ipalloc::{Address, Algorithm, NodeAddresses, Policy, allocate, can_host};
use ctdb_protocol::Pnn;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    algorithm: String,
    nodes: usize,
    no_ip_failback: bool,
    no_ip_takeover: bool,
    rebalance: Vec<u32>,
    home_nodes: Option<Vec<Home>>,
    addresses: Vec<Entry>,
    can_host: bool,
    result: Vec<Placed>,
}

#[derive(Deserialize)]
struct Home {
    ip: IpAddr,
    pnn: u32,
}

#[derive(Deserialize)]
struct Entry {
    ip: IpAddr,
    current: i64,
    known: Vec<usize>,
    available: Vec<usize>,
    #[serde(default)]
    claims: Vec<usize>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Placed {
    ip: IpAddr,
    pnn: i64,
}

impl Case {
    fn nodes(&self) -> Vec<NodeAddresses> {
        let mut nodes = vec![NodeAddresses::default(); self.nodes];
        for entry in &self.addresses {
            for &node in &entry.known {
                let hosted = entry.current == node as i64 || entry.claims.contains(&node);
                nodes[node].known.insert(entry.ip, hosted);
            }
            for &node in &entry.available {
                nodes[node].available.insert(entry.ip);
            }
        }
        nodes
    }

    fn policy(&self) -> Policy {
        let homes = self.home_nodes.iter().flatten();
        Policy {
            algorithm: match self.algorithm.as_str() {
                "det" => Algorithm::Deterministic,
                "nondet" => Algorithm::NonDeterministic,
                "lcp2" => Algorithm::Lcp2,
                other => panic!("algorithm {other}"),
            },
            no_ip_takeover: self.no_ip_takeover,
            no_ip_failback: self.no_ip_failback,
            rebalance: self.rebalance.iter().map(|&node| Pnn(node)).collect(),
            home_nodes: homes.map(|home| (home.ip, Pnn(home.pnn))).collect(),
        }
    }
}

fn placed(address: &Address) -> Placed {
    Placed {
        ip: address.ip,
        pnn: address.owner.map_or(-1, |node| node.0.into()),
    }
}

#[test]
fn every_recorded_case_has_the_answer_of_the_c_implementation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/ipalloc.jsonl");
    let text = fs::read_to_string(path).unwrap();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (line, json) in (1..).zip(text.lines()) {
        let case: Case = serde_json::from_str(json).unwrap();
        let nodes = case.nodes();
        assert_eq!(can_host(&nodes), case.can_host, "line {line}");
        let allocated = allocate(&nodes, &case.policy());
        let result: Vec<Placed> = allocated.iter().map(placed).collect();
        assert_eq!(result, case.result, "line {line}");
        *seen.entry(case.algorithm).or_default() += 1;
    }
    let expected = [("det", 601), ("lcp2", 1755), ("nondet", 644)];
    assert!(
        seen.iter()
            .map(|(name, count)| (name.as_str(), *count))
            .eq(expected),
        "{seen:?}"
    );
}
