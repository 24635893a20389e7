//! What holds for all values and all bytes: a value comes back as it was written, and no bytes make a decoder
//! panic or believe a count that they can't hold.

// A test that can't unwrap fails as it should.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use ctdb_protocol::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Messages of a known service, and any.
fn srvid() -> impl Strategy<Value = Srvid> {
    prop_oneof![
        (0xF0u64..=0xFE, 0u64..5, 0u64..3)
            .prop_map(|(top, second, low)| { Srvid(top << 56 | second << 48 | low) }),
        any::<u64>().prop_map(Srvid),
    ]
}

fn opcode() -> impl Strategy<Value = Opcode> {
    proptest::sample::select(Opcode::ALL)
}

/// Bytes that look a little like payloads: small numbers are frequent, so that counts and lengths often fit.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let smaller = |byte| match byte {
        0..128 => 0,
        128..215 => byte % 6,
        _ => byte,
    };
    vec(any::<u8>(), 0..300).prop_map(move |bytes| bytes.into_iter().map(smaller).collect())
}

fn head() -> impl Strategy<Value = PacketHeader> {
    any::<[u32; 4]>().prop_map(|[generation, destnode, srcnode, reqid]| PacketHeader {
        generation: Generation(generation),
        destnode: Pnn(destnode),
        srcnode: Pnn(srcnode),
        reqid: Reqid(reqid),
    })
}

fn sock_addr() -> impl Strategy<Value = SockAddr> {
    prop_oneof![
        (any::<u32>(), any::<u16>())
            .prop_map(|(ip, port)| SockAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port))),
        (any::<u128>(), any::<u16>(), any::<u32>(), any::<u32>()).prop_map(|(ip, port, flow, scope)| {
            SockAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope))
        }),
        Just(SockAddr::NONE),
    ]
}

fn bytes(of: &impl for<'a> Wire<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    of.encode(&mut out);
    out
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in payload()) {
        let _ = Packet::decode(&bytes);
    }

    #[test]
    fn what_was_decoded_from_any_bytes_encodes_and_decodes_to_the_same(
        head in head(), operation in 0u32..12, body in payload(),
    ) {
        let mut packet = Vec::new();
        Packet::Keepalive(None).encode(&head, &mut packet);
        packet[16..20].copy_from_slice(&operation.to_le_bytes());
        packet.extend(body);
        let length = packet.len() as u32;
        packet[..4].copy_from_slice(&length.to_le_bytes());
        if let Ok((header, decoded)) = Packet::decode(&packet) {
            for exact in [false, true] {
                let mut again = Vec::new();
                match exact {
                    true => decoded.encode_exact(&header.packet_header(), &mut again),
                    false => decoded.encode(&header.packet_header(), &mut again),
                }
                prop_assert_eq!(&Packet::decode(&again).unwrap().1, &decoded);
                prop_assert!(exact || again.len() % 8 == 0);
            }
        }
    }

    #[test]
    fn any_data_of_any_control_is_a_request_or_an_error(opcode in opcode(), data in payload()) {
        if let Ok(request) = Request::decode(opcode, &data) {
            let mut first = Vec::new();
            request.encode(&mut first);
            let mut second = Vec::new();
            Request::decode(opcode, &first).unwrap().encode(&mut second);
            prop_assert_eq!(first, second);
            prop_assert_eq!(request.opcode(), opcode);
        }
    }

    #[test]
    fn any_data_of_any_answer_is_a_reply_or_an_error(opcode in opcode(), data in payload()) {
        if let Ok(reply) = Reply::decode(opcode, &data) {
            let mut first = Vec::new();
            reply.encode(&mut first);
            let mut second = Vec::new();
            Reply::decode(opcode, &first).unwrap().encode(&mut second);
            prop_assert_eq!(first, second);
        }
    }

    #[test]
    fn any_data_of_any_service_is_a_message_or_an_error(srvid in srvid(), data in payload()) {
        if let Ok(message) = Message::decode(srvid, &data) {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(Message::decode(srvid, &again).unwrap(), message);
        }
    }

    #[test]
    fn calls_come_back(
        head in head(), numbers in any::<[u32; 4]>(), key in payload(), calldata in payload(),
    ) {
        let packet = Packet::ReqCall(ReqCall {
            flags: CallFlags::from_bits_retain(numbers[0]),
            db_id: DbId(numbers[1]),
            callid: CallId(numbers[2]),
            hopcount: numbers[3],
            key: &key,
            calldata: &calldata,
        });
        let mut out = vec![0xAA; 3];
        packet.encode(&head, &mut out);
        let (header, decoded) = Packet::decode(&out[3..]).unwrap();
        prop_assert_eq!(header.packet_header(), head);
        prop_assert_eq!(decoded, packet);
    }

    #[test]
    fn migrations_come_back(
        head in head(), rsn in any::<u64>(), numbers in any::<[u32; 3]>(), key in payload(), data in payload(),
    ) {
        let packet = Packet::ReqDmaster(ReqDmaster {
            db_id: DbId(numbers[0]),
            rsn: Rsn(rsn),
            dmaster: Pnn(numbers[1]),
            key: &key,
            data: &data,
            flags: RecFlags::from_bits_retain(numbers[2]),
        });
        let mut out = Vec::new();
        packet.encode(&head, &mut out);
        prop_assert_eq!(Packet::decode(&out).unwrap().1, packet);
    }

    #[test]
    fn answers_come_back_with_data_and_error(
        head in head(), status in any::<i32>(), data in payload(), error in payload(),
    ) {
        let packet = Packet::ReplyControl(ReplyControl { status, data: &data, error: &error });
        let mut out = Vec::new();
        packet.encode(&head, &mut out);
        prop_assert_eq!(Packet::decode(&out).unwrap().1, packet);
    }

    #[test]
    fn addresses_come_back(addr in sock_addr()) {
        prop_assert_eq!(SockAddr::decode_all(&bytes(&addr), "addr"), Ok(addr));
    }

    #[test]
    fn node_maps_come_back(nodes in vec((any::<u32>(), any::<u32>(), sock_addr()), 0..20)) {
        let nodes = nodes.into_iter().map(|(pnn, flags, addr)| {
            NodeAndFlags { pnn: Pnn(pnn), flags: NodeFlags::from_bits_retain(flags), addr }
        });
        let map = NodeMap { nodes: nodes.collect() };
        let encoded = bytes(&map);
        prop_assert_eq!(encoded.len(), 4 + 36 * map.nodes.len());
        prop_assert_eq!(NodeMap::decode_all(&encoded, "map"), Ok(map));
    }

    #[test]
    fn records_come_back(records in vec((any::<u32>(), payload(), any::<u64>(), payload()), 0..10)) {
        let mut writer = RecBufferWriter::new(DbId(7));
        for (reqid, key, rsn, value) in &records {
            writer.push(*reqid, key, &LtdbHeader::new(Rsn(*rsn), Pnn(1)), value);
        }
        let buffer = RecBuffer::decode_all(writer.as_bytes(), "records").unwrap();
        prop_assert_eq!(buffer.iter().len(), records.len());
        for (got, (reqid, key, rsn, value)) in buffer.iter().zip(&records) {
            prop_assert_eq!((got.reqid, got.key), (*reqid, &key[..]));
            prop_assert_eq!(
                got.header_and_value(),
                Some((LtdbHeader::new(Rsn(*rsn), Pnn(1)), &value[..]))
            );
        }
    }
}

#[test]
fn absurd_counts_are_refused_in_every_payload_that_has_one() {
    // With these counts, an allocation before the check would ask for more memory than exists.
    let data = [0xff; 256];
    for opcode in Opcode::ALL {
        let _ = Request::decode(*opcode, &data);
        let _ = Reply::decode(*opcode, &data);
    }
    for (opcode, count_at) in [
        (Opcode::GET_NODEMAP, 0),
        (Opcode::GETVNNMAP, 4),
        (Opcode::GET_DBMAP, 0),
        (Opcode::GET_PUBLIC_IPS, 0),
        (Opcode::GET_PUBLIC_IP_INFO, 36),
        (Opcode::GET_IFACES, 0),
        (Opcode::GET_TCP_TICKLE_LIST, 28),
        (Opcode::GET_STAT_HISTORY, 0),
        (Opcode::TRY_DELETE_RECORDS, 4),
        (Opcode::LIST_TUNABLES, 0),
    ] {
        let mut data = [0; 256];
        data[count_at..count_at + 4].fill(0xff);
        let error = Reply::decode(opcode, &data);
        let is_short = matches!(
            error,
            Err(ControlError::Malformed {
                error: WireError::Short { .. },
                ..
            })
        );
        assert!(is_short, "{opcode}: {error:?}");
    }
}
