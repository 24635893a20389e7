//! Data of a control: 4 bytes of opcode, then data, taken as question and as answer. What decodes must encode to
//! bytes that decode and encode to themselves (values are not compared: a number may be NaN).

#![no_main]

use ctdb_protocol::{Opcode, Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((number, data)) = bytes.split_first_chunk::<4>() else { return };
    // Most numbers are no control; fold them onto those that are, and leave some unknown.
    let opcode = Opcode(u32::from_le_bytes(*number) % 170);
    if let Ok(request) = Request::decode(opcode, data) {
        assert_eq!(request.opcode(), opcode);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        request.encode(&mut first);
        Request::decode(opcode, &first).expect("what we encode decodes").encode(&mut second);
        assert_eq!(first, second);
    }
    if let Ok(reply) = Reply::decode(opcode, data) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        reply.encode(&mut first);
        Reply::decode(opcode, &first).expect("what we encode decodes").encode(&mut second);
        assert_eq!(first, second);
    }
});
