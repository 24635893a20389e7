//! Packets of a tunnel: opaque data between clients that registered the tunnel on their nodes.

use crate::reader::{Reader, WireError, put_datan, put_u32, put_u64};
use crate::{TunnelFlags, TunnelId};

/// Behind the header: `tunnel_id (u64), flags, datalen`, data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReqTunnel<'a> {
    /// Which tunnel.
    pub tunnel_id: TunnelId,
    /// Question or answer.
    pub flags: TunnelFlags,
    /// What is carried.
    pub data: &'a [u8],
}

impl<'a> ReqTunnel<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(ReqTunnel {
            tunnel_id: TunnelId(r.u64("tunnel_id")?),
            flags: TunnelFlags::from_bits_retain(r.u32("flags")?),
            data: r.datan("datalen")?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.tunnel_id.0);
        put_u32(out, self.flags.bits());
        put_datan(out, self.data);
    }
}
