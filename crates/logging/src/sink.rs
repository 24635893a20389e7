//! Writing lines without ever holding up the program that logs.
//!
//! A full disk, a reader of our standard error who stopped reading and a syslog daemon that is down are ordinary.
//! A line that cannot be written at once (or within [`WAIT_MAX`] where waiting is allowed) is dropped and counted;
//! the next line that gets through is preceded by one that says how many were lost and why.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Location;
use crate::line::Form;

/// The socket of the local syslog daemon.
const SYSLOG_SOCKET: &str = "/dev/log";
/// Where `syslog:udp` sends.
const SYSLOG_UDP: &str = "127.0.0.1:514";
/// Longest wait for a pipe or for the syslog daemon before a line is dropped.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// A syslog daemon that went away is looked for this often.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// An open log target.
pub struct Sink {
    target: Target,
    lost: u64,
    reason: String,
}

enum Target {
    Stderr,
    /// A descriptor of which somebody else reads lines.
    Lines(File),
    File {
        path: PathBuf,
        file: File,
        torn: bool,
    },
    Unix {
        path: PathBuf,
        socket: Option<UnixDatagram>,
        wait: Duration,
        tried: Option<Instant>,
    },
    Udp {
        socket: UdpSocket,
        form: Form,
    },
}

impl Sink {
    /// Opens the target. A syslog daemon that is not there is no error: it may come later.
    ///
    /// # Errors
    /// Of opening the file or of making the UDP socket.
    pub fn open(location: &Location) -> io::Result<Sink> {
        let target = match location {
            Location::Stderr => Target::Stderr,
            Location::File(path) => Target::File {
                path: path.clone(),
                file: open_file(path)?,
                torn: false,
            },
            Location::Syslog => Target::unix(SYSLOG_SOCKET, WAIT_MAX),
            Location::SyslogNonblocking => Target::unix(SYSLOG_SOCKET, Duration::ZERO),
            Location::SyslogUdp => Target::udp(SYSLOG_UDP, Form::Rfc3164)?,
            Location::SyslogUdpRfc5424 => Target::udp(SYSLOG_UDP, Form::Rfc5424)?,
        };
        Ok(Sink {
            target,
            lost: 0,
            reason: String::new(),
        })
    }

    /// Plain lines into a descriptor.
    pub fn lines(fd: OwnedFd) -> Sink {
        Sink {
            target: Target::Lines(fd.into()),
            lost: 0,
            reason: String::new(),
        }
    }

    /// The form in which lines for this target are made.
    pub fn form(&self) -> Form {
        match &self.target {
            Target::Stderr | Target::Lines(_) => Form::Plain,
            Target::File { .. } => Form::File,
            Target::Unix { .. } => Form::Rfc3164,
            Target::Udp { form, .. } => *form,
        }
    }

    /// Writes one line or drops it. `lost_note` makes the line that tells of lost ones from (count, reason).
    pub fn write(&mut self, line: &[u8], lost_note: impl FnOnce(u64, &str) -> Vec<u8>) {
        let done = if self.lost == 0 {
            self.target.write(line)
        } else {
            let note = lost_note(self.lost, &self.reason);
            self.target.write(&note).and_then(|()| {
                self.lost = 0;
                self.target.write(line)
            })
        };
        if let Err(error) = done {
            self.lost += 1;
            self.reason = error.to_string();
        }
    }

    /// Opens the file anew under its name, for log rotation. Other targets have nothing to reopen.
    ///
    /// # Errors
    /// Of opening; the file that was open stays in use.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Target::File { path, file, torn } = &mut self.target {
            *file = open_file(path)?;
            *torn = false;
        }
        Ok(())
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
}

impl Target {
    fn unix(path: &str, wait: Duration) -> Target {
        Target::Unix {
            path: path.into(),
            socket: None,
            wait,
            tried: None,
        }
    }

    fn udp(to: &str, form: Form) -> io::Result<Target> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        Ok(Target::Udp { socket, form })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Target::Stderr => {
                let stderr = io::stderr();
                wait_writable(stderr.as_fd(), WAIT_MAX)?;
                stderr.lock().write_all(line)
            }
            Target::Lines(file) => {
                wait_writable(file.as_fd(), WAIT_MAX)?;
                file.write_all(line)
            }
            Target::File { file, torn, .. } => write_file(file, torn, line),
            Target::Unix {
                path,
                socket,
                wait,
                tried,
            } => write_unix(path, socket, *wait, tried, line),
            Target::Udp { socket, .. } => match socket.send(line) {
                // Nobody listened to an earlier datagram; this one was not sent, the next try is.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => socket.send(line).map(drop),
                done => done.map(drop),
            },
        }
    }
}

/// A line of which only a part fitted on the disk is lost; the next line begins on a line of its own.
fn write_file(file: &mut File, torn: &mut bool, line: &[u8]) -> io::Result<()> {
    if *torn {
        file.write_all(b"\n")?;
        *torn = false;
    }
    let written = file.write(line)?;
    if written < line.len() {
        *torn = true;
        file.write_all(&line[written..])?;
        *torn = false;
    }
    Ok(())
}

fn write_unix(
    path: &Path,
    slot: &mut Option<UnixDatagram>,
    wait: Duration,
    tried: &mut Option<Instant>,
    line: &[u8],
) -> io::Result<()> {
    if slot.is_none() {
        if tried.is_some_and(|at| at.elapsed() < RECONNECT_INTERVAL) {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the syslog daemon is not there",
            ));
        }
        *tried = Some(Instant::now());
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        *slot = Some(socket);
    }
    let Some(socket) = slot else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    let mut sent = socket.send(line);
    if would_block(&sent) && !wait.is_zero() {
        wait_writable(socket.as_fd(), wait)?;
        sent = socket.send(line);
    }
    if sent.is_err() && !would_block(&sent) {
        // The daemon was restarted: its socket is another one now.
        *slot = None;
    }
    sent.map(drop)
}

fn would_block(sent: &io::Result<usize>) -> bool {
    sent.as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Waits until a line can be written (a pipe then takes at least 4096 bytes).
fn wait_writable(fd: BorrowedFd<'_>, wait: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout) {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "the reader does not keep up",
        )),
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(lost: u64, reason: &str) -> Vec<u8> {
        format!("lost {lost}: {reason}").into_bytes()
    }

    fn unix_sink(path: &Path, wait: Duration) -> Sink {
        let target = Target::Unix {
            path: path.into(),
            socket: None,
            wait,
            tried: None,
        };
        Sink {
            target,
            lost: 0,
            reason: String::new(),
        }
    }

    fn receive(receiver: &UnixDatagram) -> Vec<u8> {
        let mut buf = [0; 2048];
        let len = receiver.recv(&mut buf).unwrap();
        buf[..len].to_vec()
    }

    #[test]
    fn a_full_syslog_socket_drops_lines_and_says_so_when_there_is_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut sink = unix_sink(&path, Duration::ZERO);
        let begin = Instant::now();
        for _ in 0..5000 {
            sink.write(b"line", note);
        }
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "nonblocking never waits"
        );
        assert!(sink.lost > 0);
        let lost = sink.lost;
        for _ in 0..5000 - lost {
            assert_eq!(receive(&receiver), b"line");
        }
        sink.write(b"after", note);
        assert!(receive(&receiver).starts_with(format!("lost {lost}: ").as_bytes()));
        assert_eq!(receive(&receiver), b"after");
        assert_eq!(sink.lost, 0);
    }

    #[test]
    fn a_syslog_daemon_that_comes_back_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut sink = unix_sink(&path, WAIT_MAX);
        sink.write(b"one", note);
        assert_eq!(sink.lost, 1);
        let receiver = UnixDatagram::bind(&path).unwrap();
        if let Target::Unix { tried, .. } = &mut sink.target {
            *tried = None; // as if the interval were over
        }
        sink.write(b"two", note);
        assert!(receive(&receiver).starts_with(b"lost 1: "));
        assert_eq!(receive(&receiver), b"two");
    }

    #[test]
    fn a_full_disk_loses_lines_but_nothing_else() {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let target = Target::File {
            path: "/dev/full".into(),
            file,
            torn: false,
        };
        let mut sink = Sink {
            target,
            lost: 0,
            reason: String::new(),
        };
        sink.write(b"a\n", note);
        sink.write(b"b\n", note);
        assert_eq!(sink.lost, 2);
        assert!(sink.reason.contains("No space left"), "{}", sink.reason);
    }

    #[test]
    fn a_descriptor_gets_plain_lines_until_its_reader_is_gone() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut sink = Sink::lines(writer.into());
        assert_eq!(sink.form(), Form::Plain);
        sink.write(b"one\n", note);
        let mut buf = [0; 16];
        assert_eq!(io::Read::read(&mut reader, &mut buf).unwrap(), 4);
        drop(reader);
        sink.write(b"two\n", note);
        assert_eq!(sink.lost, 1);
    }

    #[test]
    fn a_rotated_file_is_opened_anew_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut sink = Sink::open(&Location::File(path.clone())).unwrap();
        sink.write(b"old\n", note);
        std::fs::rename(&path, &moved).unwrap();
        sink.write(b"still old\n", note);
        sink.reopen().unwrap();
        sink.write(b"new\n", note);
        assert_eq!(std::fs::read(&moved).unwrap(), b"old\nstill old\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    }

    #[test]
    fn udp_without_a_listener_is_no_failure_of_the_program() {
        let mut sink = Sink {
            target: Target::udp("127.0.0.1:9", Form::Rfc3164).unwrap(),
            lost: 0,
            reason: String::new(),
        };
        for _ in 0..10 {
            sink.write(b"x", note);
        }
        assert!(sink.lost <= 10);
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap().to_string();
        let mut sink = Sink {
            target: Target::udp(&to, Form::Rfc3164).unwrap(),
            lost: 0,
            reason: String::new(),
        };
        sink.write(b"hello", note);
        let mut buf = [0; 16];
        assert_eq!(receiver.recv(&mut buf).unwrap(), 5);
    }
}
