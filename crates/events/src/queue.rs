//! Which event of a component runs. Pure: requests and ends go in, actions come out.
//!
//! - One event runs at a time; others wait and run in the order in which they came.
//! - `monitor` is only a look: any event (another `monitor` too) that comes while it runs cancels it. So takeip never
//!   waits for a health check.
//! - `monitor` that comes while another event runs is refused: it would see a node in the middle of a change.

use std::collections::VecDeque;

/// Events that may wait. Far above what one ctdbd asks; beyond it something is broken and asking more makes it worse.
pub const WAITING_MAX: usize = 1000;

/// Names one request for as long as it is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the event; tell [`Queue::ended`] when it is over.
    Start(Ticket),
    /// Kill the running event and answer it with ECANCELED. Its end is not told to the queue.
    Cancel(Ticket),
    /// Answer without running it.
    Refuse(Ticket, Refusal),
}

/// Why an event does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A `monitor` while another event runs: ECANCELED.
    Busy,
    /// [`WAITING_MAX`] events wait: EBUSY.
    Full,
}

/// The events of one component.
#[derive(Debug, Default)]
pub struct Queue {
    running: Option<Entry>,
    waiting: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ticket: Ticket,
    is_monitor: bool,
}

impl Queue {
    /// An event is asked for.
    pub fn submit(&mut self, ticket: Ticket, is_monitor: bool, todo: &mut Vec<Action>) {
        match self.running {
            Some(running) if running.is_monitor => {
                self.running = None;
                todo.push(Action::Cancel(running.ticket));
            }
            Some(_) if is_monitor => return todo.push(Action::Refuse(ticket, Refusal::Busy)),
            Some(_) | None => {}
        }
        if self.waiting.len() >= WAITING_MAX {
            todo.push(Action::Refuse(ticket, Refusal::Full));
        } else {
            self.waiting.push_back(Entry { ticket, is_monitor });
        }
        self.start_next(todo);
    }

    /// A running event is over. One that was cancelled meanwhile is not ours any more.
    pub fn ended(&mut self, ticket: Ticket, todo: &mut Vec<Action>) {
        if self.running.is_some_and(|running| running.ticket == ticket) {
            self.running = None;
            self.start_next(todo);
        }
    }

    fn start_next(&mut self, todo: &mut Vec<Action>) {
        if self.running.is_none()
            && let Some(next) = self.waiting.pop_front()
        {
            self.running = Some(next);
            todo.push(Action::Start(next.ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const MONITOR: bool = true;
    const OTHER: bool = false;

    fn submit(queue: &mut Queue, ticket: u64, is_monitor: bool) -> Vec<Action> {
        let mut todo = Vec::new();
        queue.submit(Ticket(ticket), is_monitor, &mut todo);
        todo
    }

    fn ended(queue: &mut Queue, ticket: u64) -> Vec<Action> {
        let mut todo = Vec::new();
        queue.ended(Ticket(ticket), &mut todo);
        todo
    }

    #[test]
    fn events_run_one_after_the_other_as_they_came() {
        let mut queue = Queue::default();
        assert_eq!(submit(&mut queue, 1, OTHER), [Start(Ticket(1))]);
        assert_eq!(submit(&mut queue, 2, OTHER), []);
        assert_eq!(submit(&mut queue, 3, OTHER), []);
        assert_eq!(ended(&mut queue, 1), [Start(Ticket(2))]);
        assert_eq!(ended(&mut queue, 2), [Start(Ticket(3))]);
        assert_eq!(ended(&mut queue, 3), []);
    }

    #[test]
    fn any_event_pushes_a_running_monitor_aside() {
        for second in [OTHER, MONITOR] {
            let mut queue = Queue::default();
            submit(&mut queue, 1, MONITOR);
            assert_eq!(
                submit(&mut queue, 2, second),
                [Cancel(Ticket(1)), Start(Ticket(2))]
            );
            assert_eq!(
                ended(&mut queue, 1),
                [],
                "the late end of the cancelled one starts nothing"
            );
        }
    }

    #[test]
    fn monitor_is_refused_while_another_event_runs() {
        let mut queue = Queue::default();
        submit(&mut queue, 1, OTHER);
        assert_eq!(submit(&mut queue, 2, MONITOR), [Refuse(Ticket(2), Refusal::Busy)]);
        assert_eq!(ended(&mut queue, 1), []);
    }

    #[test]
    fn too_many_waiting_events_are_refused() {
        let mut queue = Queue::default();
        for ticket in 0..=WAITING_MAX as u64 {
            submit(&mut queue, ticket, OTHER);
        }
        assert_eq!(
            submit(&mut queue, 9999, OTHER),
            [Refuse(Ticket(9999), Refusal::Full)]
        );
    }

    proptest! {
        #[test]
        fn every_request_is_answered_once_and_only_monitors_are_cancelled(
            steps in proptest::collection::vec(prop_oneof![Just(Some(OTHER)), Just(Some(MONITOR)), Just(None)], 0..60)
        ) {
            let mut queue = Queue::default();
            let (mut running, mut monitors) = (None, BTreeSet::new());
            let (mut asked, mut answered, mut started) = (0u64, 0, Vec::new());
            let steps = steps.into_iter().chain(std::iter::repeat_n(None, 100));
            for step in steps {
                let mut todo = Vec::new();
                match (step, running) {
                    (Some(is_monitor), _) => {
                        asked += 1;
                        if is_monitor {
                            monitors.insert(asked);
                        }
                        queue.submit(Ticket(asked), is_monitor, &mut todo);
                    }
                    (None, Some(ticket)) => {
                        answered += 1;
                        running = None;
                        queue.ended(Ticket(ticket), &mut todo);
                    }
                    (None, None) => {}
                }
                for action in todo {
                    match action {
                        Start(Ticket(ticket)) => {
                            prop_assert_eq!(running, None, "two events at a time");
                            running = Some(ticket);
                            started.push(ticket);
                        }
                        Cancel(Ticket(ticket)) => {
                            prop_assert_eq!(running, Some(ticket));
                            prop_assert!(monitors.contains(&ticket));
                            running = None;
                            answered += 1;
                        }
                        Refuse(Ticket(ticket), _) => {
                            prop_assert!(monitors.contains(&ticket));
                            answered += 1;
                        }
                    }
                }
            }
            prop_assert_eq!(asked, answered);
            prop_assert!(started.is_sorted(), "{:?}", started);
        }
    }
}
