//! A whole packet. What decodes must encode, padded and exact, to a packet that means the same; its payload is
//! decoded too.

#![no_main]

use ctdb_protocol::{Header, Message, Packet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok((header, packet)) = Packet::decode(bytes) else { return };
    assert!(Header::peek_length(bytes) == Some(header.length) && header.length as usize <= bytes.len());
    let head = header.packet_header();
    let (mut padded, mut exact) = (Vec::new(), Vec::new());
    packet.encode(&head, &mut padded);
    packet.encode_exact(&head, &mut exact);
    assert_eq!(padded.len() % 8, 0);
    for again in [&padded, &exact] {
        let (header, decoded) = Packet::decode(again).expect("what we encode decodes");
        assert_eq!(header.packet_header(), head);
        assert_eq!(decoded, packet);
    }
    match packet {
        Packet::ReqControl(control) => drop(control.request()),
        Packet::ReqMessage(message) => drop(Message::decode(message.srvid, message.data)),
        _ => {}
    }
});
