//! Which of two copies of a record survives, whatever the order in which they arrive.
//!
//! The rule of [`ctdb_records::merge::takes_place`] compares a new copy with the one kept so far, so its outcome
//! depends on the order of the nodes when several copies have the largest rsn. The C implementation pulls from one
//! node after another, in the order of their numbers. We pull from all at once and want the same outcome, so the
//! order is made part of the comparison here.

use std::cmp::Ordering;

use ctdb_protocol::{Pnn, Rsn};

/// What decides between copies of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// How new the copy is.
    pub rsn: Rsn,
    /// It names the leader as dmaster: one of the same rsn that names another node comes first.
    pub gives_way: bool,
    /// Place of the node that sent it in the order of the nodes.
    pub order: u32,
}

impl Rank {
    /// Of a copy with this `rsn` and `dmaster`, from the node in this place.
    pub fn new(rsn: Rsn, dmaster: Pnn, leader: Pnn, order: u32) -> Rank {
        Rank {
            rsn,
            gives_way: dmaster == leader,
            order,
        }
    }

    /// Whether this copy takes the place of `kept`, both being copies of one record.
    ///
    /// Of copies that stand, the first node's stays; of copies that give way, the last one's, as a fold in the order
    /// of the nodes leaves them.
    pub fn beats(&self, kept: &Rank) -> bool {
        match (self.rsn.cmp(&kept.rsn), self.gives_way, kept.gives_way) {
            (Ordering::Greater, ..) => true,
            (Ordering::Less, ..) => false,
            (Ordering::Equal, false, true) => true,
            (Ordering::Equal, true, false) => false,
            (Ordering::Equal, false, false) => self.order < kept.order,
            (Ordering::Equal, true, true) => self.order >= kept.order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_protocol::RecFlags;
    use ctdb_records::LtdbHeader;
    use ctdb_records::merge::takes_place;
    use proptest::prelude::*;

    const LEADER: Pnn = Pnn(1);

    /// What the C implementation is left with: one node after another.
    fn in_node_order(copies: &[(u64, u32)]) -> usize {
        let header = |at: usize| LtdbHeader {
            rsn: Rsn(copies[at].0),
            dmaster: Pnn(copies[at].1),
            flags: RecFlags::empty(),
        };
        let mut kept = 0;
        for at in 1..copies.len() {
            if takes_place(Some(&header(kept)), &header(at), LEADER) {
                kept = at;
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_ends_as_the_order_of_nodes(
            (copies, arrival) in proptest::collection::vec((0u64..3, 0u32..4), 1..7).prop_flat_map(|copies| {
                let arrival: Vec<usize> = (0..copies.len()).collect();
                (Just(copies), Just(arrival).prop_shuffle())
            }),
        ) {
            let rank = |at: usize| Rank::new(Rsn(copies[at].0), Pnn(copies[at].1), LEADER, at as u32);
            let mut kept = arrival[0];
            for &at in &arrival[1..] {
                if rank(at).beats(&rank(kept)) {
                    kept = at;
                }
            }
            prop_assert_eq!(kept, in_node_order(&copies));
        }
    }
}
