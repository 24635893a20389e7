//! Loopback addresses for one cluster, such that clusters of other tests have others.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

/// Where every node of a cluster listens.
pub(crate) const PORT: u16 = 4379;

/// The most nodes that fit into a block.
pub(crate) const NODES_MAX: usize = 250;

/// 127.x.y.0/24 for random x and y. It is ours as long as we listen on its last address: of two listeners on one
/// address the second is refused, whichever process it is in, and none is left behind by a process that dies.
#[derive(Debug)]
pub(crate) struct LoopbackBlock {
    prefix: [u8; 2],
    _claim: TcpListener,
}

impl LoopbackBlock {
    pub(crate) fn claim() -> Result<LoopbackBlock> {
        for _ in 0..100 {
            // The standard library's only source of randomness.
            let random = RandomState::new().build_hasher().finish().to_le_bytes();
            // Below 64 are the addresses that people use by hand.
            let prefix = [64 + random[0] % 191, random[1]];
            if let Ok(claim) = TcpListener::bind((address(prefix, u8::MAX), PORT)) {
                return Ok(LoopbackBlock {
                    prefix,
                    _claim: claim,
                });
            }
        }
        bail!(
            "no block of loopback addresses is free at port {PORT}: is something listening on 0.0.0.0:{PORT}?"
        )
    }

    /// The address of a node.
    pub(crate) fn node(&self, pnn: usize) -> Result<Ipv4Addr> {
        let last = u8::try_from(pnn + 1).ok().filter(|_| pnn < NODES_MAX);
        Ok(address(
            self.prefix,
            last.context("too many nodes for one block of addresses")?,
        ))
    }
}

fn address(prefix: [u8; 2], last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, prefix[0], prefix[1], last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_block_is_refused_to_others_until_it_is_dropped() {
        let block = LoopbackBlock::claim().unwrap();
        let last = (address(block.prefix, u8::MAX), PORT);
        assert!(TcpListener::bind(last).is_err());
        drop(block);
        TcpListener::bind(last).unwrap();
    }

    #[test]
    fn nodes_count_from_one_within_the_block() {
        let block = LoopbackBlock::claim().unwrap();
        assert_eq!(block.node(0).unwrap().octets()[3], 1);
        assert_eq!(block.node(NODES_MAX - 1).unwrap().octets()[3], 250);
        assert!(block.node(NODES_MAX).is_err());
    }
}
