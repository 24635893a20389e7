//! The connection: what is sent on it, what comes, how it ends.

use std::cell::{OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{Generation, Packet, PacketHeader, Pnn, Reqid, Request, WireError};
use ctdb_runtime::sync::Notify;
use ctdb_runtime::{Class, Handle};
use ctdb_transport::{Connection, Flow, Limits, LinkKind};

use crate::ClientError;
use crate::database::Known;
use crate::messages::Handlers;
use crate::requests::{Answer, Requests};

/// For questions to the own daemon that have no deadline of their caller: it answers them in its next turn, so that this
/// much silence means that it does not run any more.
pub(crate) const LOCAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a daemon. Clones are the same connection; it is closed with the last of them, and of what was
/// made from them ([`crate::Registration`]s, databases).
#[derive(Clone)]
pub struct Client(pub(crate) Rc<Inner>);

pub(crate) struct Inner {
    handle: Handle,
    connection: Connection,
    state: Rc<State>,
    pnn: OnceCell<Pnn>,
    pub(crate) databases: Known,
}

/// What both sides of the connection work on: the one that sends, and the task that receives.
pub(crate) struct State {
    pub(crate) requests: Rc<Requests>,
    pub(crate) handlers: Handlers,
    /// Why the connection ended.
    closed: RefCell<Option<String>>,
    ended: Notify,
}

impl Client {
    /// Connects to the daemon's socket and asks for its node number.
    ///
    /// # Errors
    /// `Connect`; those of [`Client::control`].
    pub async fn connect(handle: &Handle, socket: &Path) -> Result<Client, ClientError> {
        let failed = |source| ClientError::Connect {
            socket: socket.to_owned(),
            source,
        };
        let stream = handle.connect_unix(socket).await.map_err(failed)?;
        let client = Client::over(handle, stream, &format!("ctdbd at {}", socket.display()));
        let answer = client
            .control(Pnn::CURRENT, &Request::GetPnn, LOCAL_TIMEOUT)
            .await?;
        let pnn = Pnn(answer.status.cast_unsigned());
        client.0.pnn.get_or_init(|| pnn);
        Ok(client)
    }

    fn over(handle: &Handle, stream: ctdb_runtime::Stream, name: &str) -> Client {
        let state = Rc::new(State {
            requests: Rc::new(Requests::new()),
            handlers: Handlers::default(),
            closed: RefCell::new(None),
            ended: Notify::new(),
        });
        let limits = Limits {
            // A daemon that stops reading until we take its answers, and a client that stops reading until the
            // daemon takes its questions, would wait for each other. What comes is handled in place and does not pile up.
            pause_reading_above: usize::MAX,
            ..Limits::default()
        };
        let (receiving, closing) = (state.clone(), state.clone());
        let connection = Connection::start(
            handle,
            stream,
            name,
            Class::Normal,
            LinkKind::Client,
            limits,
            move |packet| receiving.receive(packet),
            move |closed| closing.close(closed.to_string()),
        );
        Client(Rc::new(Inner {
            handle: handle.clone(),
            connection,
            state,
            pnn: OnceCell::new(),
            databases: Known::default(),
        }))
    }

    /// The daemon's node.
    pub fn pnn(&self) -> Pnn {
        self.0.pnn.get().copied().unwrap_or(Pnn::UNKNOWN)
    }

    /// The runtime that the client lives on.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Waits until the connection is gone.
    pub async fn disconnected(&self) {
        loop {
            let ended = self.state().ended.notified();
            if self.state().closed.borrow().is_some() {
                return;
            }
            ended.await;
        }
    }

    /// Whether the connection is gone.
    pub fn is_disconnected(&self) -> bool {
        self.0.connection.is_closed()
    }

    /// Waits until everything sent so far is with the kernel, from where the daemon gets it even if this process
    /// ends: for programs that exit right after a message or a control without answer.
    ///
    /// # Errors
    /// `Disconnected`.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.drained(0).await
    }

    /// Waits until at most `mark` bytes wait to be sent: how senders of bulk data keep in step with the daemon.
    ///
    /// # Errors
    /// `Disconnected`.
    pub async fn drained(&self, mark: usize) -> Result<(), ClientError> {
        let drained = self.0.connection.drained(mark).await;
        drained.map_err(|error| ClientError::not_sent(error, self.closed_reason()))
    }

    /// Bytes that wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.0.connection.queued_bytes()
    }

    pub(crate) fn state(&self) -> &Rc<State> {
        &self.0.state
    }

    /// Sends the packet that `encode` writes behind the header that it is given.
    pub(crate) fn send(
        &self,
        to: Pnn,
        reqid: Reqid,
        encode: impl FnOnce(&PacketHeader, &mut Vec<u8>),
    ) -> Result<(), ClientError> {
        // Clients are in no generation.
        let head = PacketHeader::new(Generation(0), self.pnn(), to, reqid);
        let sent = self.0.connection.send_with(|out| encode(&head, out));
        sent.map_err(|error| ClientError::not_sent(error, self.closed_reason()))
    }

    /// The error of a request whose connection is gone.
    pub(crate) fn lost(&self) -> ClientError {
        ClientError::Disconnected {
            reason: self.closed_reason(),
        }
    }

    fn closed_reason(&self) -> String {
        let closed = self.state().closed.borrow();
        closed
            .clone()
            .unwrap_or_else(|| "the connection is closed".to_owned())
    }
}

impl State {
    fn receive(&self, bytes: &[u8]) -> Flow {
        let (header, packet) = match Packet::decode(bytes) {
            Ok(decoded) => decoded,
            Err(WireError::BadValue {
                field: "operation",
                value,
            }) => {
                log::debug!("ignored a packet of operation {value}, which clients do not know");
                return Flow::Continue;
            }
            Err(error) => return Flow::Close(format!("ctdbd sent a malformed packet: {error}").into()),
        };
        match packet {
            Packet::ReplyControl(reply) => self.answered(
                header.reqid,
                Answer::Control {
                    status: reply.status,
                    data: reply.data.to_vec(),
                    text: reply
                        .error_text()
                        .map(|text| text.to_string())
                        .unwrap_or_default(),
                },
            ),
            Packet::ReplyCall(reply) => self.answered(
                header.reqid,
                Answer::Call {
                    status: reply.status,
                    data: reply.data.to_vec(),
                },
            ),
            Packet::ReplyError(reply) => {
                log::info!("a call failed in ctdbd: {}", reply.text());
                let (status, data) = (reply.status, Vec::new());
                self.answered(header.reqid, Answer::Call { status, data });
            }
            Packet::ReqMessage(message) => self.handlers.deliver(message.srvid, message.data),
            other => log::debug!("ignored a {} from ctdbd, nothing waits for it", other.operation()),
        }
        Flow::Continue
    }

    fn answered(&self, reqid: Reqid, answer: Answer) {
        if !self.requests.answered(reqid, answer) {
            log::debug!("an answer came for request {reqid}, which has been given up");
        }
    }

    fn close(&self, reason: String) {
        log::debug!("{reason}");
        self.closed.replace(Some(reason));
        self.requests.give_up();
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ctdb_protocol::packet::{ReplyControl, ReqControl};
    use ctdb_protocol::{Header, Opcode};
    use ctdb_runtime::sync::join2;
    use ctdb_runtime::{Runtime, Stream};

    const LIMIT: Duration = Duration::from_secs(5);

    /// Runs a client against a daemon that is a function on the other end of the stream.
    fn against<D: Future<Output = ()>, C: Future<Output = ()>>(
        daemon: impl FnOnce(Stream) -> D,
        test: impl FnOnce(Client) -> C,
    ) {
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle();
        let (ours, theirs) = handle.stream_pair().unwrap();
        let client = Client::over(&handle, ours, "a daemon in this test");
        let both = join2(daemon(theirs), test(client));
        runtime.block_on(handle.timeout(LIMIT * 2, both)).unwrap();
    }

    async fn receive(stream: &Stream) -> Vec<u8> {
        let mut packet = vec![0; 4];
        stream.read_exact(&mut packet).await.unwrap();
        packet.resize(Header::peek_length(&packet).unwrap() as usize, 0);
        stream.read_exact(&mut packet[4..]).await.unwrap();
        packet
    }

    fn control(packet: &[u8]) -> (Header, ReqControl<'_>) {
        match Packet::decode(packet).unwrap() {
            (header, Packet::ReqControl(control)) => (header, control),
            (header, _) => panic!("{header:?}"),
        }
    }

    async fn answer(stream: &Stream, reqid: Reqid, status: i32) {
        let reply = ReplyControl {
            status,
            data: b"",
            error: b"",
        };
        let head = PacketHeader::new(Generation(1), Pnn(0), Pnn(0), reqid);
        let mut out = Vec::new();
        Packet::ReplyControl(reply).encode(&head, &mut out);
        stream.write_all(&out).await.unwrap();
    }

    #[test]
    fn the_first_packet_is_that_of_upstreams_tool() {
        // tests/vectors/wire-4.17.12.jsonl, "ctdb tool", GET_PNN
        let recorded = "4000000042445443010000000000000007000000010000f0ffffffff38ffff7f2300000000000000\
                        000000000000000000000000000000000000000000000000";
        against(
            async |stream| {
                let packet = receive(&stream).await;
                let hex: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(hex, recorded);
                answer(&stream, control(&packet).0.reqid, 2).await;
            },
            async |client| {
                let answer = client.control(Pnn::CURRENT, &Request::GetPnn, LIMIT).await;
                assert_eq!(answer.unwrap().status, 2);
            },
        );
    }

    #[test]
    fn answers_in_another_order_find_their_questions() {
        against(
            async |stream| {
                let (one, two) = (receive(&stream).await, receive(&stream).await);
                for packet in [&two, &one] {
                    let (header, _) = control(packet);
                    answer(&stream, header.reqid, header.destnode.0.cast_signed()).await;
                }
            },
            async |client| {
                let (one, two) = join2(client.ping(Pnn(1), LIMIT), client.ping(Pnn(2), LIMIT)).await;
                assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
            },
        );
    }

    #[test]
    fn an_answer_after_its_deadline_is_thrown_away() {
        against(
            async |stream| {
                let (late, next) = (receive(&stream).await, receive(&stream).await);
                answer(&stream, control(&late).0.reqid, 1).await;
                answer(&stream, control(&next).0.reqid, 2).await;
            },
            async |client| {
                let late = client.ping(Pnn(1), Duration::from_millis(1)).await;
                assert!(matches!(late, Err(ClientError::Timeout { .. })), "{late:?}");
                assert_eq!(client.ping(Pnn(1), LIMIT).await.unwrap(), 2);
            },
        );
    }

    #[test]
    fn when_the_daemon_goes_every_request_ends_with_the_reason() {
        against(
            async |stream| {
                receive(&stream).await;
                receive(&stream).await;
            },
            async |client| {
                let nodes = [Pnn(0), Pnn(1)];
                for (_, result) in client.control_all(&nodes, &Request::Ping, LIMIT).await {
                    assert!(
                        matches!(result, Err(ClientError::Disconnected { .. })),
                        "{result:?}"
                    );
                }
                client.disconnected().await;
                assert!(client.is_disconnected());
                let error = client.control_noreply(Pnn(0), &Request::RecdPing).unwrap_err();
                let text = error.to_string();
                assert!(
                    text.contains("a daemon in this test: closed by the peer"),
                    "{text}"
                );
                assert!(client.flush().await.is_err());
            },
        );
    }

    #[test]
    fn a_malformed_packet_ends_the_connection_and_an_unknown_one_does_not() {
        against(
            async |stream| {
                let mut packet = receive(&stream).await;
                let reqid = control(&packet).0.reqid;
                packet[16] = 77; // the operation
                stream.write_all(&packet).await.unwrap();
                answer(&stream, reqid, 0).await;
                receive(&stream).await;
                packet[4] = 0; // the magic
                stream.write_all(&packet).await.unwrap();
                stream.readable().await; // the end
            },
            async |client| {
                client.ping(Pnn(0), LIMIT).await.unwrap();
                let error = client.ping(Pnn(0), LIMIT).await.unwrap_err();
                let text = error.to_string();
                assert!(text.contains("malformed packet"), "{text}");
            },
        );
    }

    #[test]
    fn a_refusal_keeps_the_status_and_raw_is_no_error() {
        against(
            async |stream| {
                for _ in 0..2 {
                    let packet = receive(&stream).await;
                    let (header, control) = control(&packet);
                    assert_eq!(control.head.opcode, Opcode::RECD_PING);
                    answer(&stream, header.reqid, 1).await;
                }
            },
            async |client| {
                let refused = client.recd_ping(Pnn(0), LIMIT).await.unwrap_err();
                assert!(
                    matches!(refused, ClientError::Status { status: 1, .. }),
                    "{refused:?}"
                );
                let raw = client.control_raw(Pnn(0), &Request::RecdPing, LIMIT).await;
                assert_eq!(raw.unwrap().status, 1);
            },
        );
    }
}
