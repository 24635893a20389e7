//! What a daemon says of itself, asked over its socket.
//!
//! Written from the packet layouts by hand, apart from the project's own codec: a harness that must notice our
//! mistakes does not share them. A question costs microseconds here, and a run of the tool milliseconds of a
//! processor that the measured cluster needs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Bits of a node's flags.
pub mod flags {
    /// Not linked to the node that was asked.
    pub const DISCONNECTED: u32 = 0x1;
    /// Its monitoring failed, or has not yet succeeded.
    pub const UNHEALTHY: u32 = 0x2;
    /// Disabled by the administrator.
    pub const DISABLED: u32 = 0x4;
    /// Banned.
    pub const BANNED: u32 = 0x8;
    /// Deleted from the nodes file.
    pub const DELETED: u32 = 0x10;
    /// Stopped by the administrator.
    pub const STOPPED: u32 = 0x20;
}

/// How far the daemon's start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are those of `ctdb runstate`")]
pub enum RunState {
    Unknown,
    Init,
    Setup,
    FirstRecovery,
    Startup,
    Running,
    Shutdown,
}

impl RunState {
    fn from_wire(number: u32) -> Result<RunState> {
        use RunState::{FirstRecovery, Init, Running, Setup, Shutdown, Startup, Unknown};
        let states = [Unknown, Init, Setup, FirstRecovery, Startup, Running, Shutdown];
        states
            .get(number as usize)
            .copied()
            .with_context(|| format!("run state {number} does not exist"))
    }
}

/// A daemon's view of itself and of the cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// How far its start has come.
    pub runstate: RunState,
    /// Its recovery mode is ACTIVE.
    pub recovering: bool,
    /// Of its vnn map; 1 is the invalid one.
    pub generation: u32,
    /// The nodes of its vnn map.
    pub vnnmap: Vec<u32>,
    /// Flags by pnn.
    pub flags: Vec<u32>,
}

const MAGIC: u32 = 0x4354_4442;
const PROTOCOL_VERSION: u32 = 1;
const REQ_MESSAGE: u32 = 5;
const REQ_CONTROL: u32 = 7;
const REPLY_CONTROL: u32 = 8;
const CURRENT_NODE: u32 = 0xF000_0001;
const UNKNOWN_PNN: u32 = 0xFFFF_FFFF;

const GETVNNMAP: u32 = 5;
const GET_RECMODE: u32 = 15;
const REGISTER_SRVID: u32 = 23;
const SHUTDOWN: u32 = 36;
const GET_NODEMAP: u32 = 91;
const GET_RUNSTATE: u32 = 138;

const NOREPLY: u32 = 0x1;
const SRVID_LEADER: u64 = 0xF101_0000_0000_0000;

/// A client connection for questions.
pub(crate) struct Probe {
    socket: UnixStream,
    next_reqid: u32,
}

struct Packet {
    operation: u32,
    reqid: u32,
    /// From offset 32.
    body: Vec<u8>,
}

impl Probe {
    /// Connects. No answer takes longer than `limit`.
    pub(crate) fn connect(path: &Path, limit: Duration) -> Result<Probe> {
        let socket = UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        Ok(Probe {
            socket,
            next_reqid: 1,
        })
    }

    pub(crate) fn node_state(&mut self) -> Result<NodeState> {
        let (_, runstate) = self.control(GET_RUNSTATE, 0).context("GET_RUNSTATE")?;
        let (recmode, _) = self.control(GET_RECMODE, 0).context("GET_RECMODE")?;
        let (_, vnnmap) = self.control(GETVNNMAP, 0).context("GETVNNMAP")?;
        let (_, nodemap) = self.control(GET_NODEMAP, 0).context("GET_NODEMAP")?;
        // {pnn, flags, address}, behind the number of nodes
        let nodes = nodemap.get(4..).unwrap_or_default().chunks_exact(36);
        let lmasters = word(&vnnmap, 4)? as usize;
        Ok(NodeState {
            runstate: RunState::from_wire(word(&runstate, 0)?)?,
            recovering: recmode != 0,
            generation: word(&vnnmap, 0)?,
            vnnmap: (0..lmasters)
                .map(|i| word(&vnnmap, 8 + 4 * i))
                .collect::<Result<_>>()?,
            flags: nodes.map(|node| word(node, 4)).collect::<Result<_>>()?,
        })
    }

    /// Waits for the next broadcast in which a leader names itself.
    pub(crate) fn leader(&mut self, limit: Duration) -> Result<u32> {
        let (status, _) = self.control(REGISTER_SRVID, SRVID_LEADER)?;
        ensure!(status == 0, "REGISTER_SRVID answered {status}");
        let start = Instant::now();
        while start.elapsed() < limit {
            let packet = self.receive().context("no leader has broadcast")?;
            if packet.operation == REQ_MESSAGE {
                // srvid, datalen, pnn
                match word(&packet.body, 12)? {
                    UNKNOWN_PNN => continue, // an election begins
                    leader => return Ok(leader),
                }
            }
        }
        bail!("no leader has broadcast for {limit:?}")
    }

    /// Asks the daemon to shut down. There is no answer but the end of the connection.
    pub(crate) fn shutdown(&mut self, pnn: u32) -> Result<()> {
        self.send_control(SHUTDOWN, 0, pnn, NOREPLY)?;
        Ok(())
    }

    /// Status and data of the answer.
    fn control(&mut self, opcode: u32, srvid: u64) -> Result<(i32, Vec<u8>)> {
        let reqid = self.send_control(opcode, srvid, CURRENT_NODE, 0)?;
        loop {
            let packet = self.receive()?;
            if packet.operation == REPLY_CONTROL && packet.reqid == reqid {
                let status = word(&packet.body, 0)? as i32;
                let data_len = word(&packet.body, 4)? as usize;
                let data = packet
                    .body
                    .get(12..12 + data_len)
                    .context("the answer is cut short")?;
                return Ok((status, data.to_vec()));
            }
        }
    }

    fn send_control(&mut self, opcode: u32, srvid: u64, to: u32, flags: u32) -> Result<u32> {
        let reqid = self.next_reqid;
        self.next_reqid += 1;
        let [srvid_low, srvid_high] = [srvid as u32, (srvid >> 32) as u32];
        let header = [
            64,
            MAGIC,
            PROTOCOL_VERSION,
            0,
            REQ_CONTROL,
            to,
            CURRENT_NODE,
            reqid,
        ];
        // opcode, padding, srvid, client id, flags, no data, padding to eight bytes
        let body = [opcode, 0, srvid_low, srvid_high, 0, flags, 0, 0];
        let bytes: Vec<u8> = header
            .iter()
            .chain(&body)
            .flat_map(|word| word.to_le_bytes())
            .collect();
        self.socket.write_all(&bytes)?;
        Ok(reqid)
    }

    fn receive(&mut self) -> Result<Packet> {
        let mut header = [0; 32];
        self.socket.read_exact(&mut header).context("no answer")?;
        ensure!(word(&header, 4)? == MAGIC, "the answer is no CTDB packet");
        let len = word(&header, 0)? as usize;
        ensure!((32..1 << 20).contains(&len), "the answer claims {len} bytes");
        let mut body = vec![0; len - 32];
        self.socket.read_exact(&mut body).context("half an answer")?;
        Ok(Packet {
            operation: word(&header, 16)?,
            reqid: word(&header, 28)?,
            body,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes
        .get(at..at + 4)
        .and_then(|word| word.try_into().ok())
        .map(u32::from_le_bytes);
    word.with_context(|| format!("{} bytes end before offset {at}", bytes.len()))
}
