//! Where ids and secrets come from: one seeded source of randomness, given at start.

use farebox_domain::ids::RequestId;
use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
use std::sync::Arc;

/// A source of randomness fit for keys.
#[derive(Clone)]
pub struct Secrets(Arc<Mutex<StdRng>>);

impl Secrets {
    /// Seeded by the operating system.
    pub fn from_system() -> Result<Self, rand::rngs::SysError> {
        Ok(Self::from_rng(StdRng::try_from_rng(&mut SysRng)?))
    }

    /// Seeded by a number, for tests alone: whoever knows the number knows every key.
    pub fn seeded(seed: u64) -> Self {
        Self::from_rng(StdRng::seed_from_u64(seed))
    }

    fn from_rng(rng: StdRng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }

    /// Fills a buffer.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }

    /// This many random bytes as hex digits.
    pub fn random_hex(&self, bytes: usize) -> String {
        let mut random = vec![0; bytes];
        self.fill(&mut random);
        random.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A new request's id: the milliseconds since 1970, and 74 random bits (RFC 9562, UUID version 7).
    pub fn request_id(&self, unix_ms: u64) -> RequestId {
        let mut random = [0; 10];
        self.fill(&mut random);
        RequestId::from_bytes(
            *uuid::Builder::from_unix_timestamp_millis(unix_ms, &random)
                .as_uuid()
                .as_bytes(),
        )
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_their_time_and_do_not_repeat() {
        let secrets = Secrets::seeded(1);
        let (early, late, same) = (
            secrets.request_id(1_000),
            secrets.request_id(2_000),
            secrets.request_id(2_000),
        );
        assert!(early < late);
        assert_ne!(late, same);
        assert_eq!(secrets.random_hex(32).len(), 64);
    }
}
