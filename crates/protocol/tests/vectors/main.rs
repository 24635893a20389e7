//! The packets that the C implementation sent, against this crate: they decode to what their notes say, type in
//! full, and encode back to the same bytes. Samples and their README: `tests/vectors` of the repository.

// A test that can't unwrap fails as it should.
#![allow(clippy::unwrap_used)]

mod describe;
mod masks;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use ctdb_protocol::{DbId, Header, Message, Opcode, Packet, Pnn, Reply, Request, VnnMap, jenkins_hash};
use serde::Deserialize;

/// One line of a `wire-*.jsonl`.
#[derive(Deserialize)]
struct Line {
    from: String,
    operation: String,
    opcode: Option<u32>,
    name: Option<String>,
    hex: String,
    note: String,
}

impl Line {
    fn bytes(&self) -> Vec<u8> {
        unhex(&self.hex)
    }

    fn opcode(&self) -> Opcode {
        Opcode(self.opcode.unwrap())
    }

    /// The payload was made wrong on purpose; only the answer to it says something about C.
    fn is_malformed(&self) -> bool {
        self.note.contains("[payload deliberately malformed")
    }

    /// smbd and its tools, and packets made like theirs, end with their last byte of data.
    fn is_exact(&self) -> bool {
        let like_smbd = [
            "smbd",
            "smbstatus",
            "smbcontrol",
            "testparm",
            "vector client, hand built",
        ];
        like_smbd.contains(&self.from.as_str())
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `check` on every recorded packet; says which one it fails on.
fn for_every_packet(check: impl Fn(&Line, &[u8]) -> Result<(), String>) {
    let mut failures = Vec::new();
    let mut count = 0;
    for file in ["wire-4.24.5.jsonl", "wire-4.17.12.jsonl"] {
        for (number, text) in read(file).lines().enumerate() {
            let line: Line = serde_json::from_str(text).unwrap();
            count += 1;
            if let Err(error) = check(&line, &line.bytes()) {
                let name = line.name.as_deref().unwrap_or_default();
                failures.push(format!("{file}:{number} {} {name}: {error}", line.operation));
            }
        }
    }
    assert!(count > 2000, "only {count} packets were found");
    assert!(
        failures.is_empty(),
        "{} failures, such as\n{}",
        failures.len(),
        first(&failures)
    );
}

fn first(failures: &[String]) -> String {
    failures.iter().take(12).cloned().collect::<Vec<_>>().join("\n")
}

fn same(got: &[u8], wanted: &[u8]) -> Result<(), String> {
    if got == wanted {
        return Ok(());
    }
    let at = got
        .iter()
        .zip(wanted)
        .position(|(a, b)| a != b)
        .unwrap_or(got.len().min(wanted.len()));
    let tail = |bytes: &[u8]| {
        bytes[at..]
            .iter()
            .take(16)
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    Err(format!(
        "{} bytes instead of {}, different at {at}: {} instead of {}",
        got.len(),
        wanted.len(),
        tail(got),
        tail(wanted)
    ))
}

#[test]
fn every_packet_decodes_and_encodes_to_the_same_bytes() {
    for_every_packet(|line, bytes| {
        let (header, packet) = Packet::decode(bytes).map_err(|e| e.to_string())?;
        if header.operation.to_string() != line.operation || header.length as usize != bytes.len() {
            return Err(format!("decoded as {header:?}"));
        }
        let mut again = Vec::new();
        match line.is_exact() {
            true => packet.encode_exact(&header.packet_header(), &mut again),
            false => packet.encode(&header.packet_header(), &mut again),
        }
        same(&again, bytes)
    });
}

#[test]
fn every_payload_is_typed_and_encodes_to_the_same_bytes() {
    let garbage = RefCell::new(BTreeSet::new());
    for_every_packet(|line, bytes| {
        let (_, packet) = Packet::decode(bytes).map_err(|e| e.to_string())?;
        let mut again = Vec::new();
        let data = match packet {
            Packet::ReqControl(control) => {
                let name = control.head.opcode.name().unwrap_or("unknown");
                if Some(name) != line.name.as_deref() || control.head.opcode != line.opcode() {
                    return Err(format!("named {name}"));
                }
                if control.head.opcode.status() != ctdb_protocol::Status::Implemented {
                    let refused = control.request().is_err();
                    return refused.then_some(()).ok_or("is not refused".to_owned());
                }
                if line.is_malformed() {
                    return Ok(());
                }
                let request = control.request().map_err(|e| e.to_string())?;
                assert_eq!(request.opcode(), control.head.opcode);
                request.encode(&mut again);
                control.data
            }
            Packet::ReplyControl(reply) if reply.status == 0 => {
                reply
                    .reply(line.opcode())
                    .map_err(|e| e.to_string())?
                    .encode(&mut again);
                reply.data
            }
            Packet::ReqMessage(message) => {
                Message::decode(message.srvid, message.data)
                    .map_err(|e| e.to_string())?
                    .encode(&mut again);
                message.data
            }
            _ => return Ok(()),
        };
        let mut data = data.to_vec();
        garbage.borrow_mut().extend(masks::clear(line, &mut data));
        if !masks::clear(line, &mut again).is_empty() {
            return Err("we write something where nothing has a meaning".to_owned());
        }
        same(&again, &data)
    });
    let masked: BTreeSet<_> = masks::fields().into_iter().collect();
    assert_eq!(
        garbage.into_inner(),
        masked,
        "a mask that no packet needs hides mistakes"
    );
}

#[test]
fn every_packet_means_what_its_note_says() {
    for_every_packet(|line, bytes| {
        let (header, packet) = Packet::decode(bytes).map_err(|e| e.to_string())?;
        let described = describe::packet(&header, &packet, line);
        let note = masks::without_remarks(&line.note);
        if described == note {
            return Ok(());
        }
        let at = described.bytes().zip(note.bytes()).position(|(a, b)| a != b);
        let at = at.unwrap_or(described.len().min(note.len())).saturating_sub(20);
        let part = |text: &str| text.chars().skip(at).take(120).collect::<String>();
        Err(format!(
            "...{}\n  instead of ...{}",
            part(&described),
            part(&note)
        ))
    });
}

#[test]
fn messages_are_classed_by_their_service() {
    for_every_packet(|line, bytes| {
        let (_, packet) = Packet::decode(bytes).map_err(|e| e.to_string())?;
        let Packet::ReqMessage(message) = packet else {
            return Ok(());
        };
        let class = message
            .srvid
            .name()
            .map_or_else(|| message.srvid.range().to_string(), str::to_owned);
        if Some(&class) == line.name.as_ref() {
            Ok(())
        } else {
            Err(class)
        }
    });
}

#[test]
fn a_packet_cut_anywhere_is_refused_or_read_without_what_is_gone() {
    for_every_packet(|line, bytes| {
        // The end of long packets is like their middle.
        let cuts = (0..bytes.len().min(600)).chain(bytes.len().saturating_sub(20)..bytes.len());
        for cut in cuts {
            if Packet::decode(&bytes[..cut]).is_ok() {
                return Err(format!("cut at {cut} but accepted with its old length"));
            }
            let mut shorter = bytes[..cut].to_vec();
            if cut >= Header::LEN {
                shorter[..4].copy_from_slice(&(cut as u32).to_le_bytes());
            }
            let Ok((_, packet)) = Packet::decode(&shorter) else {
                continue;
            };
            decode_payload(&packet, line.opcode.map(Opcode), usize::MAX);
        }
        Ok(())
    });
}

#[test]
fn a_payload_cut_anywhere_is_refused_or_read_without_what_is_gone() {
    for_every_packet(|line, bytes| {
        let (_, packet) = Packet::decode(bytes).map_err(|e| e.to_string())?;
        let len = match packet {
            Packet::ReqControl(control) => control.data.len(),
            Packet::ReplyControl(reply) => reply.data.len(),
            Packet::ReqMessage(message) => message.data.len(),
            _ => 0,
        };
        for cut in 0..len.min(600) {
            decode_payload(&packet, line.opcode.map(Opcode), cut);
        }
        Ok(())
    });
}

/// Decodes the first `cut` bytes of a packet's payload: it must not panic.
fn decode_payload(packet: &Packet<'_>, opcode: Option<Opcode>, cut: usize) {
    let cut = |data: &[u8]| cut.min(data.len());
    match packet {
        Packet::ReqControl(control) => {
            let data = &control.data[..cut(control.data)];
            let _ = Request::decode(control.head.opcode, data);
        }
        Packet::ReplyControl(reply) => {
            let _ = Reply::decode(opcode.unwrap(), &reply.data[..cut(reply.data)]);
        }
        Packet::ReqMessage(message) => {
            let _ = Message::decode(message.srvid, &message.data[..cut(message.data)]);
        }
        _ => {}
    }
}

/// One line of `hash.jsonl`.
#[derive(Deserialize)]
struct Hash {
    key: String,
    hash: u32,
    lmaster: Vec<u32>,
    database: Option<String>,
}

#[test]
fn keys_hash_and_find_their_lmaster_as_in_libtdb() {
    let text = read("hash.jsonl");
    assert_eq!(text.lines().count(), 500);
    for line in text.lines() {
        let row: Hash = serde_json::from_str(line).unwrap();
        let key = unhex(&row.key);
        assert_eq!(jenkins_hash(&key), row.hash, "key {}", row.key);
        if let Some(name) = row.database {
            assert_eq!(DbId::of_name(name.as_bytes()), DbId(row.hash), "database {name}");
        }
        for (size, lmaster) in (1..).zip(row.lmaster) {
            let map = VnnMap {
                generation: ctdb_protocol::Generation(2),
                map: (0..size).map(Pnn).collect(),
            };
            assert_eq!(map.lmaster(&key), Some(Pnn(lmaster)), "key {} of {size}", row.key);
        }
    }
}
