//! The one answer to a control. A value that is used up by answering; if a handler loses it, the
//! asker still hears -1, so that nobody waits for an answer that can't come.

use std::rc::Rc;

use ctdb_protocol::packet::{Packet, ReplyControl};
use ctdb_protocol::{ClientId, Pnn, Reqid};
use ctdb_runtime::sync::OneshotSender;

use crate::Daemon;
use crate::asks::Answered;

enum To {
    /// A client of this node asked.
    Client(ClientId, Reqid),
    /// Another daemon asked, for itself or for one of its clients.
    Node(Pnn, Reqid),
    /// A task of this daemon asked.
    Own(OneshotSender<Answered>),
    /// Nobody waits (NOREPLY), or the answer is given.
    Nobody,
}

/// See the module.
pub struct Responder {
    daemon: Rc<Daemon>,
    to: To,
}

impl Responder {
    /// Answers a client of this node.
    pub fn to_client(daemon: &Rc<Daemon>, client: ClientId, reqid: Reqid) -> Responder {
        Responder {
            daemon: daemon.clone(),
            to: To::Client(client, reqid),
        }
    }

    /// Answers another daemon.
    pub fn to_node(daemon: &Rc<Daemon>, pnn: Pnn, reqid: Reqid) -> Responder {
        Responder {
            daemon: daemon.clone(),
            to: To::Node(pnn, reqid),
        }
    }

    /// Answers a task of this daemon.
    pub fn to_own(daemon: &Rc<Daemon>, sender: OneshotSender<Answered>) -> Responder {
        Responder {
            daemon: daemon.clone(),
            to: To::Own(sender),
        }
    }

    /// Nobody waits for the answer.
    pub fn to_nobody(daemon: &Rc<Daemon>) -> Responder {
        Responder {
            daemon: daemon.clone(),
            to: To::Nobody,
        }
    }

    /// Who waits, for the log.
    pub fn asker(&self) -> String {
        match self.to {
            To::Client(id, _) => match self.daemon.clients.get(id) {
                Some(client) => format!("client {id} (pid {})", client.pid),
                None => format!("client {id}, which has gone"),
            },
            To::Node(pnn, _) => format!("node {pnn}"),
            To::Own(_) => "this daemon".into(),
            To::Nobody => "nobody".into(),
        }
    }

    /// Only a status.
    pub fn status(self, status: i32) {
        self.send(status, &[], b"");
    }

    /// Done, nothing to tell.
    pub fn ok(self) {
        self.status(0);
    }

    /// Status 0 with data.
    pub fn data(self, data: &[u8]) {
        self.send(0, data, b"");
    }

    /// Status 0 with what `encode` appends.
    pub fn reply(self, reply: &ctdb_protocol::control::Reply<'_>) {
        let mut data = Vec::new();
        reply.encode(&mut data);
        self.send(0, &data, b"");
    }

    /// Refused, without a text.
    pub fn refuse(self) {
        self.status(-1);
    }

    /// Failed, with a text that the tool shows.
    pub fn fail(self, status: i32, text: &str) {
        self.send(status, &[], text.as_bytes());
    }

    /// Passes on what another node answered.
    pub fn pass_on(self, answer: &ReplyControl<'_>) {
        self.send(answer.status, answer.data, answer.error);
    }

    /// Nobody shall get an answer: the asker learns otherwise.
    pub fn forget(mut self) {
        self.to = To::Nobody;
    }

    fn send(mut self, status: i32, data: &[u8], error: &[u8]) {
        self.deliver(status, data, error);
    }

    fn deliver(&mut self, status: i32, data: &[u8], error: &[u8]) {
        let d = &self.daemon;
        let reply = Packet::ReplyControl(ReplyControl { status, data, error });
        match std::mem::replace(&mut self.to, To::Nobody) {
            To::Nobody => {}
            To::Client(id, reqid) => {
                if let Some(client) = d.clients.get(id) {
                    client.send(d, &reply, reqid);
                }
            }
            To::Node(pnn, reqid) => d.send(pnn, &reply, reqid),
            To::Own(sender) => {
                let text = String::from_utf8_lossy(error).trim_end_matches('\0').to_owned();
                // Whoever asked may have given up.
                let _ = sender.send(Answered {
                    status,
                    data: data.to_vec(),
                    text,
                });
            }
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.deliver(-1, &[], b"");
    }
}
