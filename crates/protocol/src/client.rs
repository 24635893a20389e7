//! What concerns clients of a daemon: notifications, their ids, smbd's server ids and g_lock.

use crate::reader::{Reader, Wire, WireError, layout, put_datan, put_u32, put_u64};
use crate::{Srvid, Text};

/// REGISTER_NOTIFY: what to tell whom when the client is gone. `srvid u64, len u32`, data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyData<'a> {
    /// Who is told, on all connected nodes.
    pub srvid: Srvid,
    /// What is told.
    pub data: &'a [u8],
}

impl<'a> Wire<'a> for NotifyData<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(NotifyData {
            srvid: Srvid(r.u64("srvid")?),
            data: r.datan("notify data")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.srvid.0);
        put_datan(out, self.data);
    }
}

layout! {
    /// CHECK_PID_SRVID. 12 bytes, the srvid unaligned.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PidSrvid [12] {
        /// Process id of a client.
        pid: i32;
        /// What it should have registered.
        srvid: Srvid;
    }
}

/// ECHO_DATA, question and answer alike. `timeout u32, len u32`, data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoData<'a> {
    /// Has no effect.
    pub timeout: u32,
    /// What comes back.
    pub data: &'a [u8],
}

impl<'a> Wire<'a> for EchoData<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(EchoData {
            timeout: r.u32("timeout")?,
            data: r.datan("echo data")?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.timeout);
        put_datan(out, self.data);
    }
}

layout! {
    /// Who a process is, for smbd and for locks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ServerId [24] {
        /// Process id.
        pid: u64;
        /// Part of the process.
        task_id: u32;
        /// Node.
        vnn: u32;
        /// Tells apart processes that had the same id one after the other.
        unique_id: u64;
    }
}

layout! {
    /// One holder in a record of `g_lock.tdb`, as the ctdb client library has it (smbd's form is another one).
    /// A record is a sequence of these to its end.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GLock [32] {
        /// [`GLock::READ`] or [`GLock::WRITE`].
        lock_type: u32, pad 4;
        /// Holder.
        server_id: ServerId;
    }
}

impl GLock {
    /// Shared.
    pub const READ: u32 = 0;
    /// Exclusive.
    pub const WRITE: u32 = 1;

    /// The holders in a record's value.
    ///
    /// # Errors
    /// `Short` when the last one is cut off.
    pub fn decode_list(value: &[u8]) -> Result<Vec<GLock>, WireError> {
        let mut r = Reader::new(value);
        let mut locks = Vec::with_capacity(value.len() / GLock::LEN);
        while r.left() > 0 {
            locks.push(GLock::decode(&mut r)?);
        }
        Ok(locks)
    }

    /// The bytes of a record's value.
    pub fn encode_list(locks: &[GLock], out: &mut Vec<u8>) {
        for lock in locks {
            lock.encode(out);
        }
    }
}

layout! {
    /// A question by message (TAKEOVER_RUN, MEM_DUMP) and where to answer it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SrvidRequest [16] {
        /// Node of who asks; a u32 because the leader writes -1 when it wants no answer.
        pnn: u32, pad 4;
        /// Service of who asks; 0 wants no answer.
        srvid: Srvid;
    }
}

layout! {
    /// DISABLE_TAKEOVER_RUNS and DISABLE_RECOVERIES.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DisableRequest [24] {
        /// As in [`SrvidRequest`].
        pnn: u32, pad 4;
        /// As in [`SrvidRequest`].
        srvid: Srvid;
        /// Seconds; 0 enables again.
        timeout_s: u32, pad 4;
    }
}

/// LIST_TUNABLES' answer: `len u32`, names with a ':' before or between them, NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarList<'a> {
    /// The text without its NUL.
    pub text: Text<'a>,
}

impl<'a> VarList<'a> {
    /// The names.
    pub fn names(&self) -> impl Iterator<Item = Text<'a>> {
        self.text
            .0
            .split(|&b| b == b':')
            .filter(|name| !name.is_empty())
            .map(Text)
    }
}

impl<'a> Wire<'a> for VarList<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(VarList {
            text: Text::until_nul(r.datan("list")?),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        crate::reader::put_stringn(out, Some(self.text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_list_are_between_colons() {
        let list = VarList {
            text: ":A:B::C".into(),
        };
        let names: Vec<_> = list.names().map(|name| name.to_string()).collect();
        assert_eq!(names, ["A", "B", "C"]);
    }

    #[test]
    fn a_g_lock_record_is_its_holders_one_after_the_other() {
        let server_id = ServerId {
            pid: 1,
            task_id: 2,
            vnn: 3,
            unique_id: 4,
        };
        let locks = [
            GLock {
                lock_type: GLock::READ,
                server_id,
            },
            GLock {
                lock_type: GLock::WRITE,
                server_id,
            },
        ];
        let mut bytes = Vec::new();
        GLock::encode_list(&locks, &mut bytes);
        assert_eq!(bytes.len(), 64);
        assert_eq!(GLock::decode_list(&bytes).unwrap(), locks);
        assert!(GLock::decode_list(&bytes[..63]).is_err());
    }
}
