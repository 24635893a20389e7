//! The record itself comes by: REQ_DMASTER at the lmaster, REPLY_DMASTER at the new dmaster.
//!
//! Sources: `ctdb/server/ctdb_call.c`, `ctdb_request_dmaster`, `ctdb_reply_dmaster`, `ctdb_become_dmaster`;
//! facts in `daemon.md` §6.3 and §6.4.

use crate::{LtdbHeader, Place};
use ctdb_protocol::{DbFlags, Pnn, RecFlags, Rsn};

/// A REQ_DMASTER: `srcnode` gives the record to `dmaster` and tells the lmaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqDmaster {
    /// Who gives it away.
    pub srcnode: Pnn,
    /// Who gets it.
    pub dmaster: Pnn,
    /// The giver's rsn.
    pub rsn: Rsn,
    /// The giver's record flags.
    pub flags: RecFlags,
}

/// What the lmaster does with a REQ_DMASTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LmasterAction {
    /// The record is for this node: go on with [`become_dmaster`] and the packet's rsn and flags.
    Become,
    /// Store under this header, then send a REPLY_DMASTER with its rsn and flags to its dmaster.
    Forward {
        /// Names the new dmaster.
        store: LtdbHeader,
    },
    /// By this node's copy the sender is not dmaster, so the nodes disagree: ask for a recovery, which keeps
    /// the newest copy, and drop the packet. The call is sent again when the recovery has ended.
    NeedRecovery {
        /// Who is dmaster by this node's copy.
        expected: Pnn,
    },
    /// This node is not the record's lmaster: the nodes' vnnmaps differ. Ask for a recovery and drop the packet.
    /// (The C daemon ends itself here; one packet must not do that.)
    WrongLmaster {
        /// By this node's vnnmap.
        lmaster: Pnn,
    },
}

/// Decision on a REQ_DMASTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LmasterPlan {
    /// What to do.
    pub action: LmasterAction,
    /// The copy here is newer than what came; log it. The dmaster's word counts all the same.
    pub older_than_here: bool,
}

/// Decides on a REQ_DMASTER. `found` is this node's own copy under the chain lock.
pub fn on_req_dmaster(place: &Place, packet: &ReqDmaster, found: &LtdbHeader) -> LmasterPlan {
    let never_given = found.rsn == Rsn(0) && found.dmaster == place.me;
    let action = if !place.is_lmaster() {
        LmasterAction::WrongLmaster {
            lmaster: place.lmaster,
        }
    } else if found.dmaster != packet.srcnode && !never_given {
        LmasterAction::NeedRecovery {
            expected: found.dmaster,
        }
    } else if packet.dmaster == place.me {
        LmasterAction::Become
    } else {
        let store = LtdbHeader {
            rsn: packet.rsn,
            dmaster: packet.dmaster,
            flags: packet.flags,
        };
        LmasterAction::Forward { store }
    };
    LmasterPlan {
        action,
        older_than_here: found.rsn > packet.rsn,
    }
}

/// The call that a record came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Here it is: same request id, same key.
    Found {
        /// It has VACUUM_MIGRATION set.
        vacuum: bool,
    },
    /// No such request id any more, or one for another key: the client has gone.
    Gone,
}

/// What the new dmaster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Store under this header (through [`crate::store::decide_store`]); this node is dmaster now, whether or
    /// not somebody still waits for the record.
    pub store: LtdbHeader,
    /// Ask whether the record is sticky, and pin it down if so.
    pub try_pindown: bool,
    /// Then count the migration, run the pending call (which stores again) and answer it; else log and unlock.
    pub run_call: bool,
}

/// The record has come, by a REPLY_DMASTER or because the lmaster itself is the new dmaster.
pub fn become_dmaster(place: &Place, rsn: Rsn, flags: RecFlags, pending: Pending) -> Arrival {
    let mut store = LtdbHeader {
        rsn,
        dmaster: place.me,
        flags,
    };
    if pending == (Pending::Found { vacuum: true }) {
        store.flags |= RecFlags::VACUUM_MIGRATED;
    }
    Arrival {
        store,
        try_pindown: place.db.contains(DbFlags::STICKY),
        run_call: matches!(pending, Pending::Found { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DeleteQueue, StoreInput, decide_store};

    const ME: Pnn = Pnn(0);

    fn place() -> Place {
        Place {
            me: ME,
            lmaster: ME,
            db: DbFlags::empty(),
        }
    }

    fn copy(rsn: u64, dmaster: u32) -> LtdbHeader {
        LtdbHeader {
            rsn: Rsn(rsn),
            dmaster: Pnn(dmaster),
            flags: RecFlags::empty(),
        }
    }

    fn packet(srcnode: u32, dmaster: u32) -> ReqDmaster {
        let flags = RecFlags::MIGRATED_WITH_DATA;
        ReqDmaster {
            srcnode: Pnn(srcnode),
            dmaster: Pnn(dmaster),
            rsn: Rsn(7),
            flags,
        }
    }

    #[test]
    fn the_lmaster_passes_a_record_on_and_remembers_the_new_dmaster() {
        let plan = on_req_dmaster(&place(), &packet(1, 2), &copy(7, 1));
        let store = LtdbHeader {
            rsn: Rsn(7),
            dmaster: Pnn(2),
            flags: RecFlags::MIGRATED_WITH_DATA,
        };
        assert_eq!(
            plan,
            LmasterPlan {
                action: LmasterAction::Forward { store },
                older_than_here: false
            }
        );
        assert_eq!(
            on_req_dmaster(&place(), &packet(1, 0), &copy(7, 1)).action,
            LmasterAction::Become
        );
        assert!(on_req_dmaster(&place(), &packet(1, 2), &copy(8, 1)).older_than_here);
    }

    #[test]
    fn a_giver_that_is_not_dmaster_means_a_recovery() {
        let need = LmasterAction::NeedRecovery { expected: Pnn(2) };
        assert_eq!(on_req_dmaster(&place(), &packet(1, 2), &copy(3, 2)).action, need);
        let need = LmasterAction::NeedRecovery { expected: ME };
        assert_eq!(on_req_dmaster(&place(), &packet(1, 2), &copy(1, 0)).action, need);
        let untouched = on_req_dmaster(&place(), &packet(1, 2), &copy(0, 0)).action;
        assert!(matches!(untouched, LmasterAction::Forward { .. }));
    }

    #[test]
    fn a_wrong_lmaster_drops_the_packet_instead_of_ending_itself() {
        let elsewhere = Place {
            lmaster: Pnn(2),
            ..place()
        };
        let plan = on_req_dmaster(&elsewhere, &packet(1, 2), &copy(7, 1));
        assert_eq!(plan.action, LmasterAction::WrongLmaster { lmaster: Pnn(2) });
    }

    #[test]
    fn a_record_that_nobody_waits_for_any_more_is_stored_all_the_same() {
        let arrival = become_dmaster(&place(), Rsn(4), RecFlags::empty(), Pending::Gone);
        assert_eq!(
            (arrival.store, arrival.run_call, arrival.try_pindown),
            (copy(4, 0), false, false)
        );
        let sticky = Place {
            db: DbFlags::STICKY,
            ..place()
        };
        assert!(become_dmaster(&sticky, Rsn(4), RecFlags::empty(), Pending::Gone).try_pindown);
    }

    /// `daemon.md` §6.4 and §10: an empty record that comes to its lmaster for vacuuming is deleted on arrival;
    /// the call's store writes it again, one ahead, and schedules it: "rsn+2; never-with-data: +1".
    #[test]
    fn a_vacuum_migration_adds_2_or_1_if_the_record_never_had_data() {
        for (flags, kept_on_arrival, rsn) in [
            (RecFlags::MIGRATED_WITH_DATA, true, 6),
            (RecFlags::empty(), false, 5),
        ] {
            let arrival = become_dmaster(&place(), Rsn(4), flags, Pending::Found { vacuum: true });
            let first = decide_store(StoreInput::at(&place(), arrival.store, 0));
            assert_eq!(first.keep, kept_on_arrival);
            let second = decide_store(StoreInput::at(&place(), first.header, 0));
            assert_eq!((second.keep, second.header.rsn), (true, Rsn(rsn)));
            assert_eq!(second.queue, DeleteQueue::Schedule);
        }
    }
}
