//! Messages: bytes for whoever registered a service id. What the bytes are: [`crate::Message`].

use super::{fill_and_set_len, write_packet};
use crate::header::Ending;
use crate::reader::{Reader, WireError, put_datan, put_u32, put_u64};
use crate::{Operation, PacketHeader, Srvid};

/// Behind the header: `srvid (u64), datalen`, data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqMessage<'a> {
    /// Who it is for.
    pub srvid: Srvid,
    /// What it says.
    pub data: &'a [u8],
}

impl<'a> ReqMessage<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(ReqMessage {
            srvid: Srvid(r.u64("srvid")?),
            data: r.datan("datalen")?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.srvid.0);
        put_datan(out, self.data);
    }
}

impl ReqMessage<'_> {
    /// Appends a padded packet whose data `fill` writes in place.
    pub fn encode_packet(
        head: &PacketHeader,
        srvid: Srvid,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        write_packet(head, Operation::REQ_MESSAGE, Ending::Padded, out, |out| {
            put_u64(out, srvid.0);
            let len_at = out.len();
            put_u32(out, 0);
            fill_and_set_len(out, len_at, fill);
        });
    }
}
