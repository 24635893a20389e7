//! What holds for every cluster, every history and every policy.
#![allow(clippy::unwrap_used)] // In the helpers of the tests, as in the tests: a failure shows its line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ctdb_ipalloc::{Address, Algorithm, NodeAddresses, Policy, allocate, imbalances};
use ctdb_protocol::Pnn;
use proptest::prelude::*;

/// Of a few subnets, as sites have them.
fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (0..3u8, 1..40u8).prop_map(|(net, host)| Ipv4Addr::new(10, 0, net, host).into()),
        1 => (0..2u16, 1..40u16).prop_map(|(net, host)| Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host).into()),
        1 => any::<u32>().prop_map(|ip| Ipv4Addr::from_bits(ip).into()),
    ]
}

/// A node: whether it can host anything; for each address whether it knows, can host and has it.
type Node = (bool, Vec<(bool, bool, bool)>);

fn any_nodes() -> impl Strategy<Value = Vec<NodeAddresses>> {
    let sizes = (1..7usize, proptest::collection::btree_set(any_ip(), 0..40));
    sizes.prop_flat_map(|(nodes, ips)| {
        let often = || proptest::bool::weighted(0.9);
        let of_address = (often(), often(), proptest::bool::weighted(0.3));
        let node = (often(), proptest::collection::vec(of_address, ips.len()));
        proptest::collection::vec(node, nodes).prop_map(move |nodes| {
            nodes
                .iter()
                .map(|node| told_by(node, ips.iter().copied()))
                .collect()
        })
    })
}

fn told_by((up, states): &Node, ips: impl Iterator<Item = IpAddr>) -> NodeAddresses {
    let mut node = NodeAddresses::default();
    for (ip, &(known, can, hosts)) in ips.zip(states) {
        if known {
            node.known.insert(ip, hosts);
        }
        if known && can && *up {
            node.available.insert(ip);
        }
    }
    node
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let algorithm = prop_oneof![
        Just(Algorithm::Lcp2),
        Just(Algorithm::Deterministic),
        Just(Algorithm::NonDeterministic)
    ];
    let homes = proptest::collection::vec((any_ip(), (0..8u32).prop_map(Pnn)), 0..4);
    let rebalance = proptest::collection::vec((0..8u32).prop_map(Pnn), 0..3);
    let seldom = || proptest::bool::weighted(0.2);
    (algorithm, seldom(), seldom(), rebalance, homes).prop_map(
        |(algorithm, takeover, failback, rebalance, homes)| Policy {
            algorithm,
            no_ip_takeover: takeover,
            no_ip_failback: failback,
            rebalance,
            home_nodes: homes,
        },
    )
}

fn lcp2(no_ip_failback: bool, rebalance: &[Pnn]) -> Policy {
    Policy {
        no_ip_failback,
        rebalance: rebalance.to_vec(),
        ..Policy::default()
    }
}

/// What the nodes say after a takeover run that did all this.
fn after(nodes: &[NodeAddresses], allocated: &[Address]) -> Vec<NodeAddresses> {
    let mut nodes = nodes.to_vec();
    for address in allocated {
        for (pnn, node) in (0..).map(Pnn).zip(&mut nodes) {
            if let Some(hosted) = node.known.get_mut(&address.ip) {
                *hosted = address.owner == Some(pnn);
            }
        }
    }
    nodes
}

/// Addresses of a node before anything is assigned: it hosts them and goes on to be able to.
fn kept(allocated: &[Address], node: Pnn) -> usize {
    let keeps = |address: &&Address| address.before == Some(node) && address.is_available_on(node);
    allocated.iter().filter(keeps).count()
}

proptest! {
    #[test]
    fn each_known_address_has_one_owner_that_can_host_it_or_none_if_nobody_may(
        nodes in any_nodes(),
        policy in any_policy(),
    ) {
        let allocated = allocate(&nodes, &policy);
        let mut known: Vec<IpAddr> = nodes.iter().flat_map(|node| node.known.keys().copied()).collect();
        known.sort();
        known.dedup();
        let mut found: Vec<IpAddr> = allocated.iter().map(|address| address.ip).collect();
        found.sort();
        prop_assert_eq!(found, known);
        for address in &allocated {
            match address.owner {
                Some(owner) => prop_assert!(nodes[owner.0 as usize].available.contains(&address.ip)),
                None => prop_assert!(policy.no_ip_takeover || address.available_on.is_empty()),
            }
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer(nodes in any_nodes(), policy in any_policy()) {
        prop_assert_eq!(allocate(&nodes, &policy), allocate(&nodes, &policy));
    }

    #[test]
    fn without_takeover_no_node_gets_what_it_did_not_have(nodes in any_nodes(), policy in any_policy()) {
        let policy = Policy { no_ip_takeover: true, ..policy };
        prop_assume!(policy.algorithm != Algorithm::Deterministic);
        for address in allocate(&nodes, &policy) {
            prop_assert!(address.owner.is_none() || address.owner == address.before);
        }
    }

    #[test]
    fn without_failback_an_address_stays_where_it_can(nodes in any_nodes(), policy in any_policy()) {
        let policy = Policy { no_ip_failback: true, ..policy };
        prop_assume!(policy.algorithm != Algorithm::Deterministic);
        for address in allocate(&nodes, &policy) {
            if address.before.is_some_and(|before| address.is_available_on(before)) {
                prop_assert_eq!(address.owner, address.before);
            }
        }
    }

    #[test]
    fn lcp2_moves_an_address_that_could_stay_only_to_a_node_that_had_none_or_by_force(
        nodes in any_nodes(),
        rebalance in proptest::collection::vec((0..8u32).prop_map(Pnn), 0..2),
    ) {
        let allocated = allocate(&nodes, &lcp2(false, &rebalance));
        for address in &allocated {
            let (Some(before), Some(owner)) = (address.before, address.owner) else { continue };
            if owner != before && address.is_available_on(before) {
                prop_assert!(kept(&allocated, owner) == 0 || rebalance.contains(&owner));
            }
        }
    }

    #[test]
    fn lcp2_failback_makes_neither_the_sum_nor_the_worst_imbalance_larger(
        nodes in any_nodes(),
        rebalance in proptest::collection::vec((0..8u32).prop_map(Pnn), 0..3),
    ) {
        let of = |no_ip_failback| imbalances(&allocate(&nodes, &lcp2(no_ip_failback, &rebalance)), nodes.len());
        let (assigned, balanced) = (of(true), of(false));
        let sum = |list: &[u32]| list.iter().map(|&one| u64::from(one)).sum::<u64>();
        prop_assert!(sum(&balanced) <= sum(&assigned));
        prop_assert!(balanced.iter().max() <= assigned.iter().max());
    }

    #[test]
    fn a_second_run_moves_nothing(nodes in any_nodes(), policy in any_policy()) {
        // The non-deterministic algorithm gives no such promise when nodes differ in what they can host.
        prop_assume!(policy.algorithm != Algorithm::NonDeterministic);
        let policy = Policy { rebalance: Vec::new(), ..policy };
        let first = allocate(&nodes, &policy);
        let second = allocate(&after(&nodes, &first), &policy);
        for address in &second {
            prop_assert_eq!(address.owner, address.before);
        }
    }

    #[test]
    fn nodes_that_can_host_everything_have_the_same_number_within_one(
        count in 1..6usize,
        ips in proptest::collection::btree_set(any_ip(), 0..40),
        first_had_all in any::<bool>(),
    ) {
        let mut nodes = vec![NodeAddresses::default(); count];
        for (pnn, node) in nodes.iter_mut().enumerate() {
            node.known = ips.iter().map(|&ip| (ip, first_had_all && pnn == 0)).collect();
            node.available = ips.clone();
        }
        let policy = Policy { algorithm: Algorithm::NonDeterministic, ..Policy::default() };
        let allocated = allocate(&nodes, &policy);
        let counts = (0..count as u32).map(|pnn| allocated.iter().filter(|a| a.owner == Some(Pnn(pnn))).count());
        let counts: Vec<usize> = counts.collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
    }
}

#[test]
fn a_thousand_addresses_of_ten_subnets_are_spread_over_32_nodes_and_moved_back_to_one_that_returns() {
    let ips = || (0..10u8).flat_map(|net| (1..=100u8).map(move |host| IpAddr::from([10, 0, net, host])));
    let mut nodes = vec![NodeAddresses::default(); 32];
    for node in &mut nodes[..31] {
        node.known = ips().map(|ip| (ip, false)).collect();
        node.available = ips().collect();
    }
    let counts = |allocated: &[Address]| {
        let mut counts = [0; 32];
        allocated
            .iter()
            .for_each(|address| counts[address.owner.unwrap().0 as usize] += 1);
        counts
    };
    let first = allocate(&nodes, &Policy::default());
    let spread = counts(&first);
    assert_eq!(spread[31], 0);
    assert!(
        spread[..31].iter().all(|count| (32..=33).contains(count)),
        "{spread:?}"
    );

    nodes[31] = nodes[0].clone();
    let second = allocate(&after(&nodes, &first), &Policy::default());
    let moved = second.iter().filter(|address| address.owner != address.before);
    assert!(moved.clone().all(|address| address.owner == Some(Pnn(31))));
    assert!((25..=35).contains(&moved.count()));
}
