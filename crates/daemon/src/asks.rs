//! Controls that went to other nodes and whose answers are awaited: forwarded ones of clients, and
//! this daemon's own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::Request;
use ctdb_protocol::packet::{ControlHead, Packet, ReplyControl, ReqControl};
use ctdb_protocol::{ClientId, ControlFlags, Opcode, Pnn, Reqid};
use ctdb_runtime::Instant;
use ctdb_runtime::sync::{OneshotReceiver, oneshot};

use crate::Daemon;
use crate::control::{self, Asked};
use crate::responder::Responder;

/// What a control was answered, whatever the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// 0 for success, or whatever the control returns in it.
    pub status: i32,
    /// Payload.
    pub data: Vec<u8>,
    /// Error text, empty when there was none.
    pub text: String,
}

impl Answered {
    fn failed(text: &str) -> Answered {
        Answered {
            status: -1,
            data: Vec::new(),
            text: text.to_owned(),
        }
    }
}

/// A control under way.
struct Ask {
    to: Pnn,
    opcode: Opcode,
    answer: Responder,
    /// `None`: waits for ever (tunable ControlTimeout=0).
    deadline: Option<Instant>,
}

/// All controls under way to other nodes, and the numbers given to requests.
#[derive(Default)]
pub struct Asks {
    pending: RefCell<BTreeMap<u32, Ask>>,
    last: Cell<u32>,
}

impl Asks {
    /// A request number that is not in use here. Calls draw from it, too, so that a late answer to
    /// one kind never meets the other.
    pub fn next_reqid(&self) -> Reqid {
        loop {
            let next = self.last.get().wrapping_add(1);
            self.last.set(next);
            if next != 0 && Reqid(next) != Reqid::INVALID && !self.pending.borrow().contains_key(&next) {
                return Reqid(next);
            }
        }
    }

    /// Number of controls whose answer is awaited.
    pub fn pending(&self) -> usize {
        self.pending.borrow().len()
    }

    fn add(&self, reqid: Reqid, ask: Ask) {
        self.pending.borrow_mut().insert(reqid.0, ask);
    }

    fn take(&self, reqid: Reqid) -> Option<Ask> {
        self.pending.borrow_mut().remove(&reqid.0)
    }

    /// An answer belongs to a control only if it comes from the node that was asked.
    fn take_from(&self, from: Pnn, reqid: Reqid) -> Option<Ask> {
        let mut pending = self.pending.borrow_mut();
        let asked = pending.get(&reqid.0).is_some_and(|ask| ask.to == from);
        if asked { pending.remove(&reqid.0) } else { None }
    }

    fn take_where(&self, which: impl Fn(&Ask) -> bool) -> Vec<Ask> {
        let mut pending = self.pending.borrow_mut();
        let numbers: Vec<u32> = pending
            .iter()
            .filter(|(_, a)| which(a))
            .map(|(n, _)| *n)
            .collect();
        numbers.iter().filter_map(|n| pending.remove(n)).collect()
    }
}

/// A control that a client wants carried out on another node; the answer goes back to the client.
pub struct Forward<'a> {
    /// The other node.
    pub to: Pnn,
    /// Who asked.
    pub client: ClientId,
    /// Its number for it.
    pub reqid: Reqid,
    /// As it came.
    pub control: &'a ReqControl<'a>,
}

/// Sends a client's control to another node.
pub fn forward(d: &Rc<Daemon>, f: &Forward<'_>) {
    let reqid = d.asks.next_reqid();
    let control = f.control.on_behalf_of(f.client);
    if control.wants_reply() {
        let limit = d.tunables.borrow().control_timeout();
        let ask = Ask {
            to: f.to,
            opcode: control.head.opcode,
            answer: Responder::to_client(d, f.client, f.reqid),
            deadline: (!limit.is_zero()).then(|| d.rt.now() + limit),
        };
        d.asks.add(reqid, ask);
    }
    d.send(f.to, &Packet::ReqControl(control), reqid);
}

/// A REPLY_CONTROL from another node.
pub fn on_reply(d: &Rc<Daemon>, from: Pnn, reqid: Reqid, reply: &ReplyControl<'_>) {
    match d.asks.take_from(from, reqid) {
        Some(ask) => ask.answer.pass_on(reply),
        None => log::debug!("Answer {reqid} from node {from} comes too late or was not asked for: dropped"),
    }
}

/// Nobody will answer from there any more.
pub fn fail_node(d: &Rc<Daemon>, pnn: Pnn) {
    for ask in d.asks.take_where(|a| a.to == pnn) {
        ask.answer.fail(-1, "node is disconnected");
    }
}

/// Gives up controls that got no answer in ControlTimeout; called once a second.
pub fn expire(d: &Rc<Daemon>) {
    let now = d.rt.now();
    for ask in d.asks.take_where(|a| a.deadline.is_some_and(|t| t <= now)) {
        log::error!(
            "Node {} did not answer the control {} of {} within ControlTimeout: look at that node's log, or raise the \
             tunable here",
            ask.to,
            ask.opcode,
            ask.answer.asker()
        );
        d.stats.count(|s| s.timeouts.control += 1);
        ask.answer.fail(-1, "ctdb_control timed out");
    }
}

/// Removes the entry when the asking task is dropped or has given up.
struct Forget<'a>(&'a Asks, Reqid);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.take(self.1);
    }
}

impl Daemon {
    /// Asks a node (this one included) on behalf of the daemon itself.
    ///
    /// A node that is not there, or doesn't answer within `limit`, counts as status -1 with a text.
    pub async fn ask(self: &Rc<Self>, to: Pnn, request: &Request<'_>, limit: Duration) -> Answered {
        let mut data = Vec::new();
        request.encode(&mut data);
        let (sender, receiver) = oneshot();
        let (answer, opcode) = (Responder::to_own(self, sender), request.opcode());
        if to == self.me() {
            control::dispatch(self, &Asked::from_daemon(opcode, to, &data), answer);
            return self.wait_answer(receiver, limit, to, opcode).await;
        }
        if !self.nodes.get(to).is_some_and(|n| n.is_connected()) {
            answer.fail(-1, "ctdb_control to disconnected node");
            return self.wait_answer(receiver, limit, to, opcode).await;
        }
        let reqid = self.asks.next_reqid();
        self.asks.add(
            reqid,
            Ask {
                to,
                opcode,
                answer,
                deadline: None,
            },
        );
        let _forget = Forget(&self.asks, reqid);
        self.send(
            to,
            &Packet::ReqControl(own_control(request, &data, ControlFlags::empty())),
            reqid,
        );
        self.wait_answer(receiver, limit, to, opcode).await
    }

    async fn wait_answer(
        &self,
        answer: OneshotReceiver<Answered>,
        limit: Duration,
        to: Pnn,
        opcode: Opcode,
    ) -> Answered {
        match self.rt.timeout(limit, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Answered::failed("no answer"),
            Err(_) => {
                self.stats.count(|s| s.timeouts.control += 1);
                log::error!("Node {to} did not answer this daemon's control {opcode} within {limit:?}");
                Answered::failed("ctdb_control timed out")
            }
        }
    }

    /// Tells nodes something that wants no answer; `to` may be a broadcast.
    pub fn tell(self: &Rc<Self>, to: Pnn, request: &Request<'_>) {
        let mut data = Vec::new();
        request.encode(&mut data);
        let control = own_control(request, &data, ControlFlags::NOREPLY);
        self.send(to, &Packet::ReqControl(control), self.asks.next_reqid());
    }
}

fn own_control<'a>(request: &Request<'_>, data: &'a [u8], flags: ControlFlags) -> ReqControl<'a> {
    ControlHead::new(request.opcode())
        .with_flags(flags)
        .with_data(data)
}
