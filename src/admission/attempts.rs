//! Guesses at a secret, slowed: each address may be wrong a few times, and waits longer after each time more.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use tokio::time::Instant;

/// Wrong tries that cost nothing: people mistype.
const FREE: u32 = 5;
/// After the first that is not free; each one more waits twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What an address did is forgotten after so long without another try.
const REMEMBERED: Duration = Duration::from_secs(900);
/// Addresses that are remembered. With more, the one that has not tried for longest is forgotten.
const ADDRESSES: usize = 10_000;

/// Who tried in vain. Each replica counts for itself.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<Whence, Failures>>);

/// An address, or of IPv6 its network of 64 bits, which is one customer's; `None` where it is not known.
type Whence = Option<IpAddr>;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn wait(self) -> Duration {
        match self.count.checked_sub(FREE) {
            None | Some(0) => Duration::ZERO,
            Some(beyond) => FIRST_WAIT
                .saturating_mul(1_u32.checked_shl(beyond - 1).unwrap_or(u32::MAX))
                .min(LONGEST_WAIT),
        }
    }
}

impl Attempts {
    /// Begins a try from there, which counts as a failure until [`Attempts::succeeded`]; or says how long to wait before the
    /// next. So many tries at once are as many as one after another.
    pub fn begin(&self, from: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let mut all = self.0.lock();
        let whence = whence(from);
        let forgotten = |failures: &Failures| now.saturating_duration_since(failures.last) > REMEMBERED;
        let before = all.get(&whence).copied().filter(|failures| !forgotten(failures));
        if let Some(failures) = before {
            let passed = now.saturating_duration_since(failures.last);
            if let Some(left) = failures.wait().checked_sub(passed).filter(|left| !left.is_zero()) {
                return Err(left);
            }
        }
        if all.len() >= ADDRESSES {
            all.retain(|_, failures| !forgotten(failures));
        }
        if all.len() >= ADDRESSES
            && let Some(oldest) = all.iter().min_by_key(|(_, failures)| failures.last)
        {
            let oldest = *oldest.0;
            all.remove(&oldest);
        }
        let count = before.map_or(0, |failures| failures.count).saturating_add(1);
        all.insert(whence, Failures { count, last: now });
        Ok(())
    }

    /// The try was right: what went before it is forgotten.
    pub fn succeeded(&self, from: Option<IpAddr>) {
        self.0.lock().remove(&whence(from));
    }
}

fn whence(from: Option<IpAddr>) -> Whence {
    from.map(|address| match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_guessing_waits_twice_as_long_each_time() {
        let attempts = Attempts::default();
        let guesser = address("2001:db8::1");
        let mut now = Clock::system().now();
        for _ in 0..=FREE {
            assert_eq!(attempts.begin(guesser, now), Ok(()));
        }
        let mut waits = Vec::new();
        while let Err(wait) = attempts.begin(guesser, now) {
            waits.push(wait.as_secs());
            if waits.len() > 10 {
                break;
            }
            now += wait;
            assert_eq!(attempts.begin(guesser, now), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        // A neighbour in its network is the same, another is not.
        assert!(attempts.begin(address("2001:db8::2"), now).is_err());
        assert_eq!(attempts.begin(address("2001:db8:1::2"), now), Ok(()));
        assert_eq!(attempts.begin(address("192.0.2.1"), now), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_right_begins_anew_and_so_does_who_waits_long() {
        let attempts = Attempts::default();
        let (person, now) = (address("192.0.2.1"), Clock::system().now());
        for _ in 0..3 {
            for _ in 0..FREE {
                assert_eq!(attempts.begin(person, now), Ok(()));
            }
            attempts.succeeded(person);
        }
        for _ in 0..=FREE {
            assert_eq!(attempts.begin(person, now), Ok(()));
        }
        assert!(attempts.begin(person, now).is_err());
        let later = now + REMEMBERED + Duration::from_secs(1);
        for _ in 0..=FREE {
            assert_eq!(attempts.begin(person, later), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_addresses_are_remembered_and_no_more() {
        let attempts = Attempts::default();
        let now = Clock::system().now();
        for number in 0..u32::try_from(ADDRESSES).unwrap() + 100 {
            attempts.begin(Some(IpAddr::V4(number.into())), now).unwrap();
        }
        assert_eq!(attempts.0.lock().len(), ADDRESSES);
    }
}
