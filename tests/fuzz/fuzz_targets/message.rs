//! Data of a message: 1 byte picks the service, then data. What decodes must encode to what means the same.

#![no_main]

use ctdb_protocol::{Message, Srvid};
use libfuzzer_sys::fuzz_target;

const SERVICES: &[Srvid] = &[
    Srvid::RECOVERY,
    Srvid::BANNING,
    Srvid::ELECTION,
    Srvid::LEADER,
    Srvid::RECONFIGURE,
    Srvid::RELEASE_IP,
    Srvid::TAKE_IP,
    Srvid::SET_NODE_FLAGS,
    Srvid::RECD_UPDATE_IP,
    Srvid::VACUUM_FETCH,
    Srvid::DETACH_DATABASE,
    Srvid::MEM_DUMP,
    Srvid::PUSH_NODE_FLAGS,
    Srvid::RELOAD_NODES,
    Srvid::TAKEOVER_RUN,
    Srvid::REBALANCE_NODE,
    Srvid::DISABLE_TAKEOVER_RUNS,
    Srvid::DISABLE_RECOVERIES,
    Srvid::DISABLE_IP_CHECK,
    Srvid::SAMBA_NOTIFY,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&pick, data)) = bytes.split_first() else { return };
    let srvid = SERVICES[usize::from(pick) % SERVICES.len()];
    if let Ok(message) = Message::decode(srvid, data) {
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(Message::decode(srvid, &again).as_ref(), Ok(&message));
    }
});
