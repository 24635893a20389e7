//! Packets between the event daemon and its clients, over a unix stream socket.
//!
//! | offset | field |
//! |---|---|
//! | 0 | u32 length of the whole packet |
//! | 4 | u32 version: 0 is written, nobody looks at it |
//! | 8 | u32 reqid, chosen by the client and given back |
//! | 12 | u32 command |
//! | 16 | request: its payload; reply: i32 result |
//! | 20 | reply to STATUS with result 0: its payload |
//!
//! Upstream has a constant for version 1 but never puts it into a packet (seen in 4.17.12, the same in today's sources).
//! A string is a u32 length that counts the NUL, and the bytes; length 0 is "no string". There is no padding.
//! Source: `ctdb/event/event_protocol.c`.

use ctdb_protocol::{Reader, WireError};
use ctdb_runtime::WallTime;

/// What every implementation writes as version.
const VERSION: u32 = 0;
/// Bytes in front of the command.
pub const HEADER_LEN: usize = 12;
/// Longest request that is taken; the longest honest one has some names and arguments.
pub const REQUEST_LEN_MAX: usize = 64 * 1024;
/// Longest reply that is taken: some hundred scripts with all the output that is kept.
pub const REPLY_LEN_MAX: usize = 64 * 1024 * 1024;
/// Run all scripts although one fails.
pub const FLAG_RUN_ALL: u32 = 1;

const RUN: u32 = 1;
const STATUS: u32 = 2;
const SCRIPT: u32 = 3;

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run an event.
    Run(Run),
    /// Tell how an event ended last time.
    Status {
        /// Directory of scripts.
        component: Option<String>,
        /// Name of the event.
        event: Option<String>,
    },
    /// Enable or disable a script.
    Script {
        /// Directory of scripts.
        component: Option<String>,
        /// Name of the script.
        script: Option<String>,
        /// Which of the two.
        enable: bool,
    },
}

/// Payload of RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Directory of scripts.
    pub component: Option<String>,
    /// Name of the event.
    pub event: Option<String>,
    /// Arguments, divided by blanks.
    pub args: Option<String>,
    /// The whole event, waiting for its turn included, must be over after so many seconds.
    pub timeout_secs: u32,
    /// [`FLAG_RUN_ALL`]
    pub flags: u32,
}

/// Answer to any request: 0 or an errno, and for STATUS what is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Number of the command that is answered.
    pub command: u32,
    /// 0, or a positive errno.
    pub result: i32,
    /// Only with STATUS and result 0.
    pub status: Option<Status>,
}

/// How an event ended last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Result of the script that failed, or 0.
    pub summary: i32,
    /// In order of their names.
    pub scripts: Vec<ScriptStatus>,
}

/// How one script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptStatus {
    /// Name without `.script`.
    pub name: String,
    /// When it was started.
    pub begin: WallTime,
    /// When it ended or was given up.
    pub end: WallTime,
    /// Exit status, or a negative errno; see [`crate::walk`].
    pub result: i32,
    /// What it printed; `None` for nothing.
    pub output: Option<Vec<u8>>,
}

impl Request {
    /// Number of the command.
    pub fn command(&self) -> u32 {
        match self {
            Request::Run(_) => RUN,
            Request::Status { .. } => STATUS,
            Request::Script { .. } => SCRIPT,
        }
    }

    /// The whole packet.
    pub fn encode(&self, reqid: u32) -> Vec<u8> {
        packet(reqid, |out| {
            put_u32(out, self.command());
            match self {
                Request::Run(run) => {
                    put_text(out, run.component.as_deref());
                    put_text(out, run.event.as_deref());
                    put_text(out, run.args.as_deref());
                    put_u32(out, run.timeout_secs);
                    put_u32(out, run.flags);
                }
                Request::Status { component, event } => {
                    put_text(out, component.as_deref());
                    put_text(out, event.as_deref());
                }
                Request::Script {
                    component,
                    script,
                    enable,
                } => {
                    put_text(out, component.as_deref());
                    put_text(out, script.as_deref());
                    put_u32(out, u32::from(*enable));
                }
            }
        })
    }

    /// Reads a whole packet; the first part is its reqid.
    ///
    /// # Errors
    /// The field that is missing or wrong.
    pub fn decode(bytes: &[u8]) -> Result<(u32, Request), WireError> {
        let (reqid, mut r) = header(bytes)?;
        let request = match r.u32("command")? {
            RUN => Request::Run(Run {
                component: text(&mut r, "component")?,
                event: text(&mut r, "event")?,
                args: text(&mut r, "args")?,
                timeout_secs: r.u32("timeout")?,
                flags: r.u32("flags")?,
            }),
            STATUS => Request::Status {
                component: text(&mut r, "component")?,
                event: text(&mut r, "event")?,
            },
            SCRIPT => Request::Script {
                component: text(&mut r, "component")?,
                script: text(&mut r, "script")?,
                enable: match r.u32("action")? {
                    0 => false,
                    1 => true,
                    other => {
                        return Err(WireError::BadValue {
                            field: "action",
                            value: other.into(),
                        });
                    }
                },
            },
            other => {
                return Err(WireError::BadValue {
                    field: "command",
                    value: other.into(),
                });
            }
        };
        r.finish("request")?;
        Ok((reqid, request))
    }
}

impl Reply {
    /// A reply with nothing but a number.
    pub fn result(command: u32, result: i32) -> Reply {
        Reply {
            command,
            result,
            status: None,
        }
    }

    /// A reply to STATUS.
    pub fn status(status: Status) -> Reply {
        Reply {
            command: STATUS,
            result: 0,
            status: Some(status),
        }
    }

    /// The whole packet.
    pub fn encode(&self, reqid: u32) -> Vec<u8> {
        packet(reqid, |out| {
            put_u32(out, self.command);
            out.extend_from_slice(&self.result.to_le_bytes());
            if let Some(status) = &self.status {
                out.extend_from_slice(&status.summary.to_le_bytes());
                put_u32(out, len_u32(status.scripts.len()));
                for script in &status.scripts {
                    script.encode(out);
                }
            }
        })
    }

    /// Reads a whole packet; the first part is its reqid.
    ///
    /// # Errors
    /// The field that is missing or wrong.
    pub fn decode(bytes: &[u8]) -> Result<(u32, Reply), WireError> {
        let (reqid, mut r) = header(bytes)?;
        let command = r.u32("command")?;
        let result = r.i32("result")?;
        let status = match (command, result) {
            (STATUS, 0) => Some(Status {
                summary: r.i32("summary")?,
                scripts: {
                    let count = r.count("number of scripts", ScriptStatus::LEN_MIN)?;
                    (0..count)
                        .map(|_| ScriptStatus::decode(&mut r))
                        .collect::<Result<_, _>>()?
                },
            }),
            (RUN | STATUS | SCRIPT, _) => None,
            (other, _) => {
                return Err(WireError::BadValue {
                    field: "command",
                    value: other.into(),
                });
            }
        };
        r.finish("reply")?;
        Ok((
            reqid,
            Reply {
                command,
                result,
                status,
            },
        ))
    }
}

impl ScriptStatus {
    /// Two empty strings, two times, one number.
    const LEN_MIN: usize = 4 + 16 + 16 + 4 + 4;

    fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, Some(&self.name));
        put_time(out, self.begin);
        put_time(out, self.end);
        out.extend_from_slice(&self.result.to_le_bytes());
        put_bytes(out, self.output.as_deref());
    }

    fn decode(r: &mut Reader<'_>) -> Result<ScriptStatus, WireError> {
        Ok(ScriptStatus {
            name: text(r, "script name")?.unwrap_or_default(),
            begin: time(r, "begin")?,
            end: time(r, "end")?,
            result: r.i32("script result")?,
            output: bytes(r, "output")?.map(<[u8]>::to_vec),
        })
    }
}

/// The length that the packet beginning with these 4 bytes says it has, if it is possible.
///
/// # Errors
/// Less than a header or more than `len_max`.
pub fn packet_len(first: [u8; 4], len_max: usize) -> Result<usize, WireError> {
    let len = u32::from_le_bytes(first);
    let possible = HEADER_LEN..=len_max;
    match usize::try_from(len) {
        Ok(len) if possible.contains(&len) => Ok(len),
        _ => Err(WireError::BadValue {
            field: "packet length",
            value: len.into(),
        }),
    }
}

fn header(bytes: &[u8]) -> Result<(u32, Reader<'_>), WireError> {
    let mut r = Reader::new(bytes);
    let length = r.u32("length")?;
    if usize::try_from(length) != Ok(bytes.len()) {
        return Err(WireError::BadValue {
            field: "length",
            value: length.into(),
        });
    }
    r.u32("version")?;
    Ok((r.u32("reqid")?, r))
}

fn packet(reqid: u32, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_u32(&mut out, VERSION);
    put_u32(&mut out, reqid);
    body(&mut out);
    let len = len_u32(out.len());
    out[..4].copy_from_slice(&len.to_le_bytes());
    out
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len)
        .expect("what we send is bounded far below 4 GiB: output is cut, requests come from arguments")
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_u32(out, 0),
        Some(bytes) => {
            put_u32(out, len_u32(bytes.len() + 1));
            out.extend_from_slice(bytes);
            out.push(0);
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    put_bytes(out, text.map(str::as_bytes));
}

fn put_time(out: &mut Vec<u8>, time: WallTime) {
    out.extend_from_slice(&time.secs.to_le_bytes());
    out.extend_from_slice(&u64::from(time.micros).to_le_bytes());
}

/// Bytes up to the first NUL; `None` for no string.
fn bytes<'a>(r: &mut Reader<'a>, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
    let bytes = r.datan(field)?;
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    Ok((!bytes.is_empty()).then(|| &bytes[..end]))
}

fn text(r: &mut Reader<'_>, field: &'static str) -> Result<Option<String>, WireError> {
    Ok(bytes(r, field)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

fn time(r: &mut Reader<'_>, field: &'static str) -> Result<WallTime, WireError> {
    let (secs, micros) = (r.i64(field)?, r.i64(field)?);
    match u32::try_from(micros) {
        Ok(micros) if micros < 1_000_000 => Ok(WallTime { secs, micros }),
        _ => Err(WireError::BadValue {
            field,
            value: micros as u64,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run() -> Request {
        let some = |text: &str| Some(text.to_owned());
        Request::Run(Run {
            component: some("legacy"),
            event: some("e"),
            args: None,
            timeout_secs: 10,
            flags: 1,
        })
    }

    #[test]
    fn a_run_request_is_the_bytes_upstream_writes() {
        let bytes = run().encode(7);
        assert_eq!(
            bytes,
            *b"\x2d\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\x07\0\0\0legacy\0\x02\0\0\0e\0\0\0\0\0\x0a\0\0\0\x01\0\0\0"
        );
        assert_eq!(Request::decode(&bytes), Ok((7, run())));
        for cut in 0..bytes.len() {
            assert!(Request::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_failed_status_has_no_payload() {
        let bytes = Reply::result(STATUS, 22).encode(1);
        assert_eq!(bytes, *b"\x14\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x16\0\0\0");
        assert_eq!(Reply::decode(&bytes), Ok((1, Reply::result(STATUS, 22))));
    }

    #[test]
    fn a_packet_of_an_impossible_length_is_refused_before_anything_is_allocated() {
        assert_eq!(packet_len(12u32.to_le_bytes(), 100), Ok(12));
        assert!(packet_len(11u32.to_le_bytes(), 100).is_err());
        assert!(packet_len(101u32.to_le_bytes(), 100).is_err());
        assert!(packet_len([0xff; 4], REPLY_LEN_MAX).is_err());
    }

    #[test]
    fn an_unknown_command_is_refused_and_the_version_is_not_looked_at() {
        let mut bytes = run().encode(1);
        bytes[4] = 1;
        assert_eq!(Request::decode(&bytes), Ok((1, run())));
        bytes[12] = 9;
        assert!(Request::decode(&bytes).is_err());
    }

    fn a_script() -> impl Strategy<Value = ScriptStatus> {
        let time = (any::<i64>(), 0u32..1_000_000).prop_map(|(secs, micros)| WallTime { secs, micros });
        (
            "[0-9a-z.]{0,9}",
            time.clone(),
            time,
            any::<i32>(),
            proptest::option::of("[a-z\n]{0,20}"),
        )
            .prop_map(|(name, begin, end, result, output)| ScriptStatus {
                name,
                begin,
                end,
                result,
                output: output.map(String::into_bytes),
            })
    }

    proptest! {
        #[test]
        fn a_status_reply_reads_back(summary in any::<i32>(), scripts in proptest::collection::vec(a_script(), 0..5)) {
            let reply = Reply::status(Status { summary, scripts });
            prop_assert_eq!(Reply::decode(&reply.encode(3)), Ok((3, reply)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), command in 0u8..5) {
            if bytes.len() >= 20 {
                let len = bytes.len() as u32;
                bytes[..4].copy_from_slice(&len.to_le_bytes());
                bytes[12..20].copy_from_slice(&[command, 0, 0, 0, 0, 0, 0, 0]);
            }
            if let Ok((reqid, request)) = Request::decode(&bytes) {
                prop_assert_eq!(Request::decode(&request.encode(reqid)), Ok((reqid, request)));
            }
            let _ = Reply::decode(&bytes);
        }
    }
}
