//! How many tries again all requests together may have: so that engines which fail get a little more to do, and not three times
//! as much.

/// The window's length.
const SECONDS: u64 = 10;
const SLOTS: usize = 10;

/// What part of the requests may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryShare {
    /// Tries again for each hundred requests of the last ten seconds.
    pub percent: u32,
    /// And besides, for each of these seconds: where there are few requests, each may be tried as often as its own budget says.
    pub min_per_second: u32,
}

impl Default for RetryShare {
    /// Generous: an engine that dies with two hundred requests before their first token costs none of them, however few come
    /// besides.
    fn default() -> Self {
        Self {
            percent: 20,
            min_per_second: 20,
        }
    }
}

/// Requests and tries again of the last ten seconds. Every `second` is of the same clock.
#[derive(Debug, Default)]
pub struct RetryWindow([Slot; SLOTS]);

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    second: u64,
    requests: u32,
    retries: u32,
}

impl RetryWindow {
    /// A request comes.
    pub fn request(&mut self, second: u64) {
        if let Some(slot) = self.slot(second) {
            slot.requests = slot.requests.saturating_add(1);
        }
    }

    /// A request is tried again.
    pub fn retry(&mut self, second: u64) {
        if let Some(slot) = self.slot(second) {
            slot.retries = slot.retries.saturating_add(1);
        }
    }

    /// Whether one more may be tried again.
    pub fn has_room(&self, share: RetryShare, second: u64) -> bool {
        let young = self
            .0
            .iter()
            .filter(|slot| second.saturating_sub(slot.second) < SECONDS);
        let (requests, retries) = young.fold((0_u64, 0_u64), |(requests, retries), slot| {
            (
                requests + u64::from(slot.requests),
                retries + u64::from(slot.retries),
            )
        });
        let floor = u64::from(share.min_per_second) * SECONDS;
        retries < floor + requests * u64::from(share.percent) / 100
    }

    fn slot(&mut self, second: u64) -> Option<&mut Slot> {
        let index = usize::try_from(second % SECONDS).ok()?;
        let slot = self.0.get_mut(index)?;
        if slot.second != second {
            *slot = Slot {
                second,
                ..Slot::default()
            };
        }
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that come at this rate, each of which fails and would be tried twice more. Returns tries again of each second.
    fn in_an_outage(share: RetryShare, requests_per_second: u32, seconds: u64) -> alloc::vec::Vec<u32> {
        let mut window = RetryWindow::default();
        let of_second = |second| {
            let mut retries = 0;
            for _ in 0..requests_per_second {
                window.request(second);
                for _ in 0..2 {
                    if window.has_room(share, second) {
                        window.retry(second);
                        retries += 1;
                    }
                }
            }
            retries
        };
        (0..seconds).map(of_second).collect()
    }

    #[test]
    fn an_outage_adds_a_fifth_and_the_floor_to_the_load() {
        let retries = in_an_outage(RetryShare::default(), 1_000, 60);
        let all: u32 = retries.iter().sum();
        let most = 1_000 * 60 / 5 + 20 * 60;
        assert!(all <= most && all > most * 8 / 10, "{all} of {most}");
    }

    #[test]
    fn a_few_requests_are_tried_as_often_as_their_own_budget_says() {
        assert_eq!(in_an_outage(RetryShare::default(), 10, 30), [20; 30]);
        let none = RetryShare {
            percent: 0,
            min_per_second: 0,
        };
        assert_eq!(in_an_outage(none, 10, 3), [0; 3]);
    }

    #[test]
    fn two_hundred_that_fail_at_once_are_all_tried_again() {
        let mut window = RetryWindow::default();
        for turn in 0..200 {
            assert!(window.has_room(RetryShare::default(), 5), "{turn}");
            window.retry(5);
        }
        assert!(!window.has_room(RetryShare::default(), 5));
        assert!(
            window.has_room(RetryShare::default(), 15),
            "it is spent for ten seconds"
        );
    }
}
