//! Tokens that run a course: each sends a packet, waits for what comes of it, and goes on to its next step.
//!
//! One thread serves all connections, so that many clients cost the machine little beside the daemons. The same loop
//! drives the daemons and the bare relays of the floor.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::connection::Connection;

/// A daemon that is silent this long while steps are under way has lost one.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at whether to go on.
const LOOK: Duration = Duration::from_millis(20);

/// What the tokens do.
pub trait Course {
    /// On which connection a token's step begins.
    fn connection(&self, token: usize, step: u64) -> usize;

    /// Appends the packet of a token's step.
    fn begin(&mut self, token: usize, step: u64, out: &mut Vec<u8>);

    /// Looks at a packet that came on a connection: the token whose step it ends, or none for a packet that is
    /// something else.
    fn end(&mut self, connection: usize, packet: &[u8]) -> Result<Option<usize>>;
}

/// What came of it.
pub struct Laps {
    /// Steps of all tokens together that ended in the time.
    pub steps: u64,
    /// That time.
    pub elapsed: Duration,
}

impl Laps {
    pub fn per_second(&self) -> f64 {
        self.steps as f64 / self.elapsed.as_secs_f64()
    }
}

/// Runs the course with so many tokens as long as `go_on` says, then waits until nothing is under way.
pub fn run(
    connections: &mut [Connection],
    tokens: usize,
    course: &mut impl Course,
    go_on: impl Fn(Duration) -> bool,
) -> Result<Laps> {
    let mut poll = watch(connections)?;
    let mut events = Events::with_capacity(connections.len().max(1));
    let mut steps = vec![0; tokens];
    let mut ended = Vec::new();
    let mut under_way = tokens;
    let mut laps = None;
    let start = Instant::now();
    let mut last_sign = start;
    for token in 0..tokens {
        begin(connections, course, token, 0)?;
    }
    while under_way > 0 {
        poll.poll(&mut events, Some(LOOK))?;
        for event in &events {
            let index = event.token().0;
            connections[index].receive_all(|packet| {
                ended.extend(course.end(index, packet)?);
                Ok(())
            })?;
        }
        let elapsed = start.elapsed();
        if laps.is_none() && !go_on(elapsed) {
            let steps = steps.iter().sum::<u64>() + ended.len() as u64;
            laps = Some(Laps { steps, elapsed });
        }
        if !ended.is_empty() {
            last_sign = Instant::now();
        }
        ensure!(
            last_sign.elapsed() < SILENCE_LIMIT,
            "{under_way} steps have not ended for {SILENCE_LIMIT:?}"
        );
        for token in ended.drain(..) {
            steps[token] += 1;
            if laps.is_some() {
                under_way -= 1;
            } else {
                begin(connections, course, token, steps[token])?;
            }
        }
    }
    laps.context("a course without tokens")
}

fn watch(connections: &[Connection]) -> Result<Poll> {
    let poll = Poll::new()?;
    for (index, connection) in connections.iter().enumerate() {
        connection.set_nonblocking()?;
        let fd = connection.fd();
        poll.registry()
            .register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
    }
    Ok(poll)
}

fn begin(connections: &mut [Connection], course: &mut impl Course, token: usize, step: u64) -> Result<()> {
    let connection = course.connection(token, step);
    connections[connection].send_with(|out| course.begin(token, step, out))
}
