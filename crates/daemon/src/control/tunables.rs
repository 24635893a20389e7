//! Tunables: read, set, list.

use std::rc::Rc;

use ctdb_conf::{SetTunable, Tunables};
use nix::errno::Errno;

use crate::Daemon;
use crate::responder::Responder;

/// What SET_TUNABLE answers for one that has no effect any more.
const STATUS_OBSOLETE: i32 = 1;

/// SET_TUNABLE.
pub fn set(d: &Rc<Daemon>, name: &str, value: u32, answer: Responder) {
    let result = d.tunables.borrow_mut().set(name, value);
    match result {
        Ok(SetTunable::Done) => {
            log::info!("Tunable {name} is set to {value}");
            answer.ok();
        }
        Ok(SetTunable::Obsolete) => {
            log::warn!("Tunable {name} is set to {value}, but it is obsolete: nothing changes");
            answer.status(STATUS_OBSOLETE);
        }
        Err(_) => {
            log::error!("There is no tunable {name:?}: not set; `ctdb listvars` names all");
            answer.refuse();
        }
    }
}

/// GET_TUNABLE: -EINVAL in the status for one that does not exist.
pub fn get(d: &Rc<Daemon>, name: &str, answer: Responder) {
    let value = d.tunables.borrow().get(name);
    match value {
        Ok(value) => answer.data(&value.to_le_bytes()),
        Err(_) => answer.status(-(Errno::EINVAL as i32)),
    }
}

/// LIST_TUNABLES: `:A:B:C` with its length in front and a NUL behind.
pub fn list(answer: Responder) {
    let mut text: Vec<u8> = Vec::new();
    for name in Tunables::names() {
        text.push(b':');
        text.extend_from_slice(name.as_bytes());
    }
    text.push(0);
    let mut data = (text.len() as u32).to_le_bytes().to_vec();
    data.append(&mut text);
    answer.data(&data);
}

/// GET_ALL_TUNABLES: 62 words in the order of the wire.
pub fn all(d: &Rc<Daemon>, answer: Responder) {
    let mut data = Vec::new();
    for word in d.tunables.borrow().to_wire() {
        data.extend_from_slice(&word.to_le_bytes());
    }
    answer.data(&data);
}
