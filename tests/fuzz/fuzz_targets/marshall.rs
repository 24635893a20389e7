//! A marshall buffer: what decodes has as many records as it says, and a writer given them makes the same bytes.

#![no_main]

use ctdb_protocol::{Reader, RecBuffer, RecBufferWriter, Wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut r = Reader::new(bytes);
    let Ok(buffer) = RecBuffer::decode(&mut r) else { return };
    let mut writer = RecBufferWriter::new(buffer.db_id());
    for record in &buffer {
        let _ = record.header_and_value();
        writer.push_raw(record.reqid, record.key, record.data);
    }
    assert_eq!(writer.count(), buffer.count());
    assert_eq!(writer.as_bytes(), &bytes[..bytes.len() - r.left()]);
});
