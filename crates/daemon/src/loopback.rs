//! Packets from this node to itself: never through a socket, but also never from within the call that
//! sent them, so that a handler finds the rooms as it left them. They are handled in the next turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::{Daemon, dispatch};

/// See the module.
#[derive(Default)]
pub struct Loopback {
    packets: RefCell<VecDeque<Vec<u8>>>,
    running: Cell<bool>,
}

/// Packets handled before other tasks get their turn.
const BATCH: usize = 64;

/// Queues what `encode` appends: one whole packet.
pub fn queue(d: &Rc<Daemon>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut packet = Vec::new();
    encode(&mut packet);
    queue_packet(d, packet);
}

/// Queues a packet that came before and has to be looked at again.
pub fn queue_packet(d: &Rc<Daemon>, packet: Vec<u8>) {
    d.loopback.packets.borrow_mut().push_back(packet);
    if !d.loopback.running.replace(true) {
        let daemon = d.clone();
        d.rt.spawn_urgent(async move { drain(&daemon).await }).detach();
    }
}

async fn drain(d: &Rc<Daemon>) {
    let mut handled = 0;
    while let Some(packet) = next(d) {
        dispatch::on_packet(d, &packet);
        handled += 1;
        if handled % BATCH == 0 {
            d.rt.yield_now().await;
        }
    }
}

fn next(d: &Daemon) -> Option<Vec<u8>> {
    let packet = d.loopback.packets.borrow_mut().pop_front();
    d.loopback.running.set(packet.is_some());
    packet
}
