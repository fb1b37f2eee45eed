//! Looks whether somebody is there, at one connection: one at a time, however many wait for it.
//!
//! Nothing bounds how often it is asked, and a look that nobody waits for any more still waits to be sent. Whoever asks
//! while one is under way waits for the next, for that one may have been answered before.

use parking_lot::Mutex;
use tokio::sync::watch;

#[derive(Default)]
pub(crate) struct Looks {
    state: Mutex<State>,
    /// How many have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    begun: u64,
    is_under_way: bool,
    is_wanted_again: bool,
}

impl Looks {
    /// The number of the look to be waited for, and whether it is begun now, by whoever asks.
    pub fn want(&self) -> (u64, bool) {
        let mut state = self.state.lock();
        if state.is_under_way {
            state.is_wanted_again = true;
            return (state.begun + 1, false);
        }
        state.is_under_way = true;
        state.begun += 1;
        (state.begun, true)
    }

    /// One has ended; whether another begins now.
    pub fn end(&self) -> bool {
        let mut state = self.state.lock();
        self.ended.send_replace(state.begun);
        state.is_under_way = std::mem::take(&mut state.is_wanted_again);
        state.begun += u64::from(state.is_under_way);
        state.is_under_way
    }

    pub async fn ended(&self, number: u64) {
        let mut ended = self.ended.subscribe();
        // There is a sender for as long as there is this.
        let _ = ended.wait_for(|ended| *ended >= number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_while_a_look_is_under_way_waits_for_the_next_with_all_others() {
        let looks = Looks::default();
        assert_eq!(looks.want(), (1, true));
        assert_eq!([looks.want(), looks.want()], [(2, false); 2]);
        assert!(looks.end());
        assert_eq!(looks.want(), (3, false));
        assert!(looks.end());
        assert!(!looks.end());
        assert_eq!(looks.want(), (4, true));
    }
}
