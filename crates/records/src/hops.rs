//! How far calls travel. A call that finds the record gone is sent on; many hops mean that nodes tear a hot
//! record out of each other's hands faster than calls can follow it.

/// Buckets of the hop count statistics.
pub const HOP_BUCKETS: usize = 16;

/// Bucket of a call that was sent on `hopcount` times: the number of bits that the number takes.
/// Source: `ctdb/server/ctdb_call.c`, `ctdb_request_call`.
pub fn hop_bucket(hopcount: u32) -> usize {
    ((u32::BITS - hopcount.leading_zeros()) as usize).min(HOP_BUCKETS - 1)
}

/// Whether a call that travels this far is worth a log line: the last four of each hundred hops.
pub fn is_worth_a_line(hopcount: u32) -> bool {
    hopcount % 100 > 95
}

/// Whether the record becomes sticky: it stays for a while after each migration so that local calls get a
/// chance. `limit` is the tunable HopcountMakeSticky.
pub fn makes_sticky(db_is_sticky: bool, hopcount: u32, limit: u32) -> bool {
    db_is_sticky && hopcount >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_the_number_of_bits() {
        let table = [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 3),
            (127, 7),
            (128, 8),
            (16383, 14),
            (16384, 15),
        ];
        for (hopcount, bucket) in table {
            assert_eq!(hop_bucket(hopcount), bucket, "{hopcount} hops");
        }
        assert_eq!(hop_bucket(u32::MAX), HOP_BUCKETS - 1);
    }

    #[test]
    fn four_lines_are_written_for_each_hundred_hops() {
        assert_eq!((0..1000).filter(|&n| is_worth_a_line(n)).count(), 40);
        assert!(!is_worth_a_line(0) && !is_worth_a_line(95) && is_worth_a_line(96) && is_worth_a_line(199));
    }

    #[test]
    fn a_record_becomes_sticky_at_the_limit_and_only_in_a_sticky_database() {
        assert!(makes_sticky(true, 50, 50));
        assert!(!makes_sticky(true, 49, 50));
        assert!(!makes_sticky(false, 500, 50));
    }
}
