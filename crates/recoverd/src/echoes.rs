//! Own broadcasts come back, and a message delivered by ctdbd does not say who sent it. "Nobody leads" of this node and
//! of another one are the same bytes, so the own ones are counted.

use std::collections::VecDeque;
use std::time::Duration;

/// An echo that has not come by then does not come; a daemon delivers to its own clients at once.
const LATEST: Duration = Duration::from_secs(2);

/// Own calls that are on their way back. Times are since the start of the program.
#[derive(Debug, Default)]
pub struct Echoes {
    sent: VecDeque<Duration>,
}

impl Echoes {
    /// This node has sent one.
    pub fn sent(&mut self, now: Duration) {
        self.sent.push_back(now);
    }

    /// One has come; whether it counts as an own one. If another node's overtakes the own one, either order says the same.
    pub fn is_own(&mut self, now: Duration) -> bool {
        while self
            .sent
            .front()
            .is_some_and(|&sent| now.saturating_sub(sent) > LATEST)
        {
            self.sent.pop_front();
        }
        self.sent.pop_front().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_own_call_takes_one_echo_away_for_a_while() {
        let mut echoes = Echoes::default();
        let at = Duration::from_secs;
        assert!(!echoes.is_own(at(1)));
        echoes.sent(at(1));
        echoes.sent(at(1));
        assert!(echoes.is_own(at(1)));
        assert!(echoes.is_own(at(2)));
        assert!(!echoes.is_own(at(2)));
        echoes.sent(at(2));
        assert!(!echoes.is_own(at(5)));
    }
}
