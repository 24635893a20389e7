//! Versions in keepalives.
//!
//! The C implementation wants one version in a cluster: of two nodes that differ, the one that was started last ends
//! itself. We serve peers of all versions in a range, so each peer is told the version that it told us. Before it has
//! told one, our keepalive must not make it leave: it carries the oldest version and no uptime, which never wins the
//! comparison. Facts: `wire.md` §2, KEEPALIVE; source: `ctdb/server/ctdb_keepalive.c`.

use ctdb_protocol::Version;

/// Oldest version that we can be a peer of.
pub const OLDEST: Version = Version::new(4, 17);
/// Newest version that we can be a peer of.
pub const NEWEST: Version = Version::new(4, 25);

/// What to announce to a peer: version and uptime in seconds.
///
/// `heard`: the version in its last keepalive, `None` before the first; `fixed`: the version that a test demands
/// (CTDB_TEST_SAMBA_VERSION).
pub fn announced(heard: Option<Version>, uptime_s: u32, fixed: Option<Version>) -> (Version, u32) {
    match (fixed, heard) {
        (Some(fixed), _) => (fixed, uptime_s),
        (None, Some(heard)) => (heard.clamp(OLDEST, NEWEST), uptime_s),
        (None, None) => (OLDEST, 0),
    }
}

/// What a keepalive means for its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Versions go together.
    Stay,
    /// Versions differ; the peer was started later and leaves.
    PeerLeaves,
    /// Versions differ and this node was started later (of two started together, the peer is newer): shut down, exit 0.
    Leave,
    /// The peer is too old to send a version: shut down, exit 0.
    LeaveAncientPeer,
}

/// Judges a keepalive; `heard` is `None` for one that is only a header. `allow_mixed`: tunable AllowMixedVersions is 1.
pub fn judge(
    heard: Option<(Version, u32)>,
    uptime_s: u32,
    fixed: Option<Version>,
    allow_mixed: bool,
) -> Verdict {
    if allow_mixed {
        return Verdict::Stay;
    }
    let Some((version, peer_uptime_s)) = heard else {
        return Verdict::LeaveAncientPeer;
    };
    let (mine, _) = announced(Some(version), uptime_s, fixed);
    if version == mine {
        Verdict::Stay
    } else if (peer_uptime_s, version) > (uptime_s, mine) {
        Verdict::Leave
    } else {
        Verdict::PeerLeaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V4_20: Version = Version::new(4, 20);

    #[test]
    fn each_peer_hears_its_own_version_within_the_range() {
        assert_eq!(announced(Some(V4_20), 9, None), (V4_20, 9));
        assert_eq!(announced(Some(Version::new(4, 9)), 9, None), (OLDEST, 9));
        assert_eq!(announced(Some(Version::new(5, 0)), 9, None), (NEWEST, 9));
        assert_eq!(announced(Some(V4_20), 9, Some(NEWEST)), (NEWEST, 9));
        assert_eq!(announced(None, 9, None), (Version(0x0004_0011), 0));
    }

    #[test]
    fn the_node_started_last_leaves_and_of_equals_the_older_version() {
        let table = [
            (Some((V4_20, 100)), None, false, Verdict::Stay),
            (Some((Version::new(4, 26), 100)), None, false, Verdict::Leave),
            (Some((Version::new(4, 26), 10)), None, false, Verdict::PeerLeaves),
            (Some((Version::new(4, 26), 50)), None, false, Verdict::Leave),
            (Some((Version::new(4, 16), 50)), None, false, Verdict::PeerLeaves),
            (Some((Version::new(4, 16), 51)), None, false, Verdict::Leave),
            (Some((V4_20, 51)), Some(NEWEST), false, Verdict::Leave),
            (Some((V4_20, 51)), Some(NEWEST), true, Verdict::Stay),
            (None, None, false, Verdict::LeaveAncientPeer),
            (None, None, true, Verdict::Stay),
        ];
        for (heard, fixed, mixed, verdict) in table {
            assert_eq!(
                judge(heard, 50, fixed, mixed),
                verdict,
                "{heard:?} {fixed:?} {mixed}"
            );
        }
    }

    proptest! {
        /// As the C implementation compares: it stays unless versions differ and the sender's (uptime, version) is larger.
        #[test]
        fn no_c_node_of_the_range_leaves_because_of_us(minor in 17u16..=25, its_uptime: u32, ours: u32, met: bool) {
            let its = Version::new(4, minor);
            let (version, uptime) = announced(met.then_some(its), ours, None);
            prop_assert!(version == its || (uptime, version) < (its_uptime, its));
        }

        #[test]
        fn of_two_nodes_that_differ_exactly_one_leaves(a in 26u16..40, b in 0u16..17, s in 0u32..3, t in 0u32..3) {
            let (x, y) = (Version::new(4, a), Version::new(4, b));
            let at_x = judge(Some((y, t)), s, Some(x), false);
            let at_y = judge(Some((x, s)), t, Some(y), false);
            let expected = [(Verdict::Leave, Verdict::PeerLeaves), (Verdict::PeerLeaves, Verdict::Leave)];
            prop_assert!(expected.contains(&(at_x, at_y)));
        }
    }
}
