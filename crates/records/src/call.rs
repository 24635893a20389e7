//! What to do with a call for a record: a client's, and a REQ_CALL from another node (or from this node itself
//! when a recovery sends pending calls again).
//!
//! Calls go to where the record is, and the record goes to where it is called for: a call that finds the
//! dmaster makes it hand the record to the caller's node, which then runs the call. A call that misses is sent
//! on, to the lmaster, and from there to the dmaster that the lmaster knows of; it may go round a few times
//! while the record is on its way.
//!
//! Both functions want the record fetched under its chain lock and keep to the same order: an ended revoke is
//! finished first, calls during a revoke wait, then comes the question who is dmaster.
//!
//! Sources: `ctdb/server/ctdb_daemon.c`, `daemon_request_call_from_client`; `ctdb_call.c`, `ctdb_request_call`;
//! facts in `daemon.md` §4 and §6.1.

use crate::readonly::{self, Delegation};
use crate::{LtdbHeader, Place, hops};
use ctdb_protocol::{CallFlags, DbFlags, Pnn, RecFlags};

/// Plan for a client's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPlan {
    /// The call becomes a FETCH_WITH_HEADER with WANT_READONLY, whatever function it named.
    pub readonly_fetch: bool,
    /// What to do.
    pub then: ClientCall,
}

/// What becomes of a client's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCall {
    /// A revoke has ended: store the record under this header (through [`crate::store::decide_store`]), delete
    /// its tracking record, count the revoke; then ask again with the header as it is after that store.
    FinishRevoke {
        /// Without read-only flags.
        store: LtdbHeader,
    },
    /// This node is dmaster: run it and store the record.
    RunLocally,
    /// Send a REQ_CALL with hop count 0.
    SendTo(Pnn),
    /// A revoke is under way: run the call again when it has ended.
    Defer,
    /// Copies are out: store the record under this header, start the revoke, run the call again when it has ended.
    StartRevoke {
        /// With REVOKING set.
        store: LtdbHeader,
    },
}

/// Decides on a client's call. `found` is the header under the chain lock, for a missing record that of
/// [`crate::store::missing_record`].
pub fn on_client_call(place: &Place, flags: CallFlags, found: &LtdbHeader) -> ClientPlan {
    let readonly_fetch = wants_readonly(place, flags);
    let then = if let Some(store) = readonly::finished_revoke(found) {
        ClientCall::FinishRevoke { store }
    } else if found.flags.contains(RecFlags::RO_REVOKING_READONLY) {
        ClientCall::Defer
    } else if found.dmaster != place.me {
        ClientCall::SendTo(found.dmaster)
    } else if !readonly_fetch && readonly::has_copies_out(found) {
        ClientCall::StartRevoke {
            store: readonly::revoking(found),
        }
    } else {
        ClientCall::RunLocally
    };
    ClientPlan { readonly_fetch, then }
}

/// A REQ_CALL at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqCall {
    /// Node of the client; the record goes there.
    pub srcnode: Pnn,
    /// What the client wants.
    pub flags: CallFlags,
    /// The function is FETCH_WITH_HEADER.
    pub fetch_with_header: bool,
    /// How often it was sent on.
    pub hopcount: u32,
}

/// What becomes of a REQ_CALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReqAction {
    /// The record is not here: send the same packet on; source, request id and generation stay. Nothing is stored.
    Redirect {
        /// Next node.
        to: Pnn,
        /// Its new hop count.
        hopcount: u32,
        /// The call has come so far that it is worth a line in the log.
        worth_a_line: bool,
    },
    /// As [`ClientCall::FinishRevoke`].
    FinishRevoke {
        /// Without read-only flags.
        store: LtdbHeader,
    },
    /// As [`ClientCall::Defer`].
    Defer,
    /// As [`ClientCall::StartRevoke`].
    StartRevoke {
        /// With REVOKING set.
        store: LtdbHeader,
    },
    /// Lend a read-only copy: see [`Delegation`].
    Delegate(Delegation),
    /// Count the hops; this node is dmaster and the call is its own: run it and answer with a REPLY_CALL.
    RunLocally(Arrived),
    /// Count the hops and hand the record over.
    Migrate(Arrived, Handover),
    /// A transaction on the database is being committed: the record stays where it is. The call is queued again
    /// when the commit has ended.
    HoldForCommit(Arrived),
}

/// Statistics of a call that has found the dmaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Bucket of the hop statistics to count in.
    pub hop_bucket: usize,
    /// The record becomes sticky.
    pub make_sticky: bool,
}

/// How the record leaves. The packet carries the stored header's rsn and flags, the record's data and the
/// request id of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// This node is lmaster: store under this header first, then send a REPLY_DMASTER to its dmaster.
    Direct {
        /// Names the new dmaster.
        store: LtdbHeader,
    },
    /// Store under this header and send a REQ_DMASTER for its dmaster to the lmaster, which passes it on.
    ViaLmaster {
        /// Names the new dmaster.
        store: LtdbHeader,
        /// Destination of the REQ_DMASTER.
        lmaster: Pnn,
    },
}

/// What the daemon knows beside record and packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqCircumstances {
    /// A TRANS3_COMMIT is running on the database.
    pub commit_running: bool,
    /// Tunable HopcountMakeSticky.
    pub hopcount_make_sticky: u32,
}

/// Decides on a REQ_CALL whose record is neither pinned down nor waiting for a DMASTER packet (such calls are
/// queued before the record is looked at).
pub fn on_req_call(
    place: &Place,
    call: &ReqCall,
    found: &LtdbHeader,
    data_len: usize,
    around: &ReqCircumstances,
) -> ReqAction {
    if let Some(store) = readonly::finished_revoke(found) {
        return ReqAction::FinishRevoke { store };
    }
    if found.flags.contains(RecFlags::RO_REVOKING_READONLY) {
        return ReqAction::Defer;
    }
    if found.dmaster != place.me && !found.flags.contains(RecFlags::RO_HAVE_DELEGATIONS) {
        let to = if place.is_lmaster() {
            found.dmaster
        } else {
            place.lmaster
        };
        let hopcount = call.hopcount.saturating_add(1);
        return ReqAction::Redirect {
            to,
            hopcount,
            worth_a_line: hops::is_worth_a_line(hopcount),
        };
    }
    let readonly = wants_readonly(place, call.flags);
    if !readonly && readonly::has_copies_out(found) {
        return ReqAction::StartRevoke {
            store: readonly::revoking(found),
        };
    }
    // A node does not borrow from itself (the C daemon lets it; the revoke then overwrites the owner's record
    // with the header meant for borrowers and forgets who else has copies). Its own call simply runs.
    if readonly && call.fetch_with_header && call.srcnode != place.me {
        return ReqAction::Delegate(readonly::delegate(found));
    }
    let sticky = place.db.contains(DbFlags::STICKY);
    let arrived = Arrived {
        hop_bucket: hops::hop_bucket(call.hopcount),
        make_sticky: hops::makes_sticky(sticky, call.hopcount, around.hopcount_make_sticky),
    };
    if call.srcnode == place.me {
        ReqAction::RunLocally(arrived)
    } else if around.commit_running {
        ReqAction::HoldForCommit(arrived)
    } else {
        ReqAction::Migrate(arrived, hand_over(place, found, data_len, call.srcnode))
    }
}

/// The record goes to `to`. Its old copy stays here (as far as the store rules let it) under the new name.
fn hand_over(place: &Place, header: &LtdbHeader, data_len: usize, to: Pnn) -> Handover {
    let mut store = LtdbHeader {
        dmaster: to,
        ..*header
    };
    if data_len > 0 {
        store.flags |= RecFlags::MIGRATED_WITH_DATA;
    }
    if place.is_lmaster() {
        Handover::Direct { store }
    } else {
        Handover::ViaLmaster {
            store,
            lmaster: place.lmaster,
        }
    }
}

fn wants_readonly(place: &Place, flags: CallFlags) -> bool {
    flags.contains(CallFlags::WANT_READONLY) && place.db.contains(DbFlags::READONLY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dmaster::{Pending, become_dmaster};
    use crate::store::{StoreInput, decide_store};
    use ctdb_protocol::Rsn;

    const ME: Pnn = Pnn(1);
    const LMASTER: Pnn = Pnn(0);
    const CALLER: Pnn = Pnn(2);
    const AROUND: ReqCircumstances = ReqCircumstances {
        commit_running: false,
        hopcount_make_sticky: 50,
    };

    fn place(lmaster: Pnn, db: DbFlags) -> Place {
        Place { me: ME, lmaster, db }
    }

    fn header(dmaster: Pnn, flags: RecFlags) -> LtdbHeader {
        LtdbHeader {
            rsn: Rsn(10),
            dmaster,
            flags,
        }
    }

    fn req(srcnode: Pnn) -> ReqCall {
        ReqCall {
            srcnode,
            flags: CallFlags::empty(),
            fetch_with_header: false,
            hopcount: 3,
        }
    }

    fn readonly_req(srcnode: Pnn) -> ReqCall {
        ReqCall {
            flags: CallFlags::WANT_READONLY,
            fetch_with_header: true,
            ..req(srcnode)
        }
    }

    #[test]
    fn a_clients_call_runs_where_the_dmaster_is() {
        let here = place(LMASTER, DbFlags::empty());
        let plan = |dmaster, flags| on_client_call(&here, CallFlags::empty(), &header(dmaster, flags)).then;
        assert_eq!(plan(ME, RecFlags::empty()), ClientCall::RunLocally);
        assert_eq!(plan(CALLER, RecFlags::empty()), ClientCall::SendTo(CALLER));
        assert_eq!(
            plan(CALLER, RecFlags::RO_HAVE_READONLY),
            ClientCall::SendTo(CALLER)
        );
        assert_eq!(plan(ME, RecFlags::RO_REVOKING_READONLY), ClientCall::Defer);
    }

    #[test]
    fn a_clients_write_calls_lent_copies_back_first() {
        let here = place(LMASTER, DbFlags::READONLY);
        let lent = header(ME, RecFlags::RO_HAVE_DELEGATIONS);
        let store = header(ME, RecFlags::RO_HAVE_DELEGATIONS | RecFlags::RO_REVOKING_READONLY);
        let write = on_client_call(&here, CallFlags::empty(), &lent);
        assert_eq!(write.then, ClientCall::StartRevoke { store });
        let read = on_client_call(&here, CallFlags::WANT_READONLY, &lent);
        assert_eq!((read.then, read.readonly_fetch), (ClientCall::RunLocally, true));
    }

    #[test]
    fn a_read_only_wish_counts_only_where_the_database_has_read_only_records() {
        let plain = place(LMASTER, DbFlags::empty());
        let plan = on_client_call(
            &plain,
            CallFlags::WANT_READONLY,
            &header(CALLER, RecFlags::empty()),
        );
        assert_eq!(
            (plan.then, plan.readonly_fetch),
            (ClientCall::SendTo(CALLER), false)
        );
        let got = on_req_call(
            &plain,
            &readonly_req(CALLER),
            &header(ME, RecFlags::empty()),
            0,
            &AROUND,
        );
        assert!(matches!(got, ReqAction::Migrate(..)));
    }

    #[test]
    fn an_ended_revoke_is_tidied_up_before_anything_else() {
        let here = place(LMASTER, DbFlags::READONLY);
        let ended = header(ME, RecFlags::RO_MASK | RecFlags::MIGRATED_WITH_DATA);
        let store = header(ME, RecFlags::MIGRATED_WITH_DATA);
        let client = on_client_call(&here, CallFlags::empty(), &ended);
        assert_eq!(client.then, ClientCall::FinishRevoke { store });
        assert_eq!(
            on_client_call(&here, CallFlags::empty(), &store).then,
            ClientCall::RunLocally
        );
        let other = on_req_call(&here, &req(ME), &ended, 4, &AROUND);
        assert_eq!(other, ReqAction::FinishRevoke { store });
    }

    #[test]
    fn a_call_that_misses_goes_to_the_lmaster_and_from_there_to_the_dmaster() {
        let elsewhere = header(Pnn(3), RecFlags::empty());
        let at = |lmaster| {
            on_req_call(
                &place(lmaster, DbFlags::empty()),
                &req(CALLER),
                &elsewhere,
                0,
                &AROUND,
            )
        };
        assert_eq!(
            at(LMASTER),
            ReqAction::Redirect {
                to: LMASTER,
                hopcount: 4,
                worth_a_line: false
            }
        );
        assert_eq!(
            at(ME),
            ReqAction::Redirect {
                to: Pnn(3),
                hopcount: 4,
                worth_a_line: false
            }
        );
        let tired = ReqCall {
            hopcount: u32::MAX,
            ..req(CALLER)
        };
        let got = on_req_call(&place(ME, DbFlags::empty()), &tired, &elsewhere, 0, &AROUND);
        assert_eq!(
            got,
            ReqAction::Redirect {
                to: Pnn(3),
                hopcount: u32::MAX,
                worth_a_line: false
            }
        );
    }

    #[test]
    fn the_record_goes_to_the_callers_node_directly_or_by_the_lmaster() {
        let mine = header(ME, RecFlags::empty());
        let arrived = Arrived {
            hop_bucket: 2,
            make_sticky: false,
        };
        let store = header(CALLER, RecFlags::MIGRATED_WITH_DATA);
        let direct = on_req_call(&place(ME, DbFlags::empty()), &req(CALLER), &mine, 7, &AROUND);
        assert_eq!(direct, ReqAction::Migrate(arrived, Handover::Direct { store }));
        let store = header(CALLER, RecFlags::empty());
        let via = on_req_call(&place(LMASTER, DbFlags::empty()), &req(CALLER), &mine, 0, &AROUND);
        assert_eq!(
            via,
            ReqAction::Migrate(
                arrived,
                Handover::ViaLmaster {
                    store,
                    lmaster: LMASTER
                }
            )
        );
    }

    #[test]
    fn a_node_does_not_borrow_from_itself() {
        let here = place(LMASTER, DbFlags::READONLY);
        let own = on_req_call(
            &here,
            &readonly_req(ME),
            &header(ME, RecFlags::empty()),
            1,
            &AROUND,
        );
        assert!(matches!(own, ReqAction::RunLocally(_)));
    }

    #[test]
    fn a_running_commit_keeps_the_record_and_a_hot_record_becomes_sticky() {
        let around = ReqCircumstances {
            commit_running: true,
            ..AROUND
        };
        let hot = ReqCall {
            hopcount: 50,
            ..req(CALLER)
        };
        let got = on_req_call(
            &place(ME, DbFlags::STICKY),
            &hot,
            &header(ME, RecFlags::empty()),
            1,
            &around,
        );
        assert_eq!(
            got,
            ReqAction::HoldForCommit(Arrived {
                hop_bucket: 6,
                make_sticky: true
            })
        );
    }

    #[test]
    fn delegations_are_lent_by_who_has_delegations_even_if_another_is_dmaster() {
        let here = place(LMASTER, DbFlags::READONLY);
        let odd = header(Pnn(3), RecFlags::RO_HAVE_DELEGATIONS);
        let got = on_req_call(&here, &readonly_req(CALLER), &odd, 1, &AROUND);
        assert!(matches!(got, ReqAction::Delegate(_)));
        let got = on_req_call(&here, &req(CALLER), &odd, 1, &AROUND);
        assert!(matches!(got, ReqAction::StartRevoke { .. }));
    }

    /// `daemon.md` §5: "migration +2 at the new dmaster (store on arrival, store by the call), 0 at the giver
    /// and the lmaster".
    #[test]
    fn a_migration_adds_2_at_the_new_dmaster_and_nothing_elsewhere() {
        let giver = place(LMASTER, DbFlags::empty());
        let plan = on_req_call(&giver, &req(CALLER), &header(ME, RecFlags::empty()), 5, &AROUND);
        let ReqAction::Migrate(_, Handover::ViaLmaster { store, .. }) = plan else {
            panic!("{plan:?}")
        };
        let left = decide_store(StoreInput::at(&giver, store, 5));
        assert_eq!((left.keep, left.header.rsn), (true, Rsn(10)));

        let taker = Place {
            me: CALLER,
            lmaster: LMASTER,
            db: DbFlags::empty(),
        };
        let arrived = become_dmaster(
            &taker,
            left.header.rsn,
            left.header.flags,
            Pending::Found { vacuum: false },
        );
        let on_arrival = decide_store(StoreInput::at(&taker, arrived.store, 5));
        let by_the_call = decide_store(StoreInput::at(&taker, on_arrival.header, 5));
        assert_eq!(by_the_call.header.rsn, Rsn(12));
    }
}
