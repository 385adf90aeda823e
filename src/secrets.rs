//! Where ids and secrets come from: one seeded source of randomness, given at start.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use farebox_domain::ids::{AccountId, AdjustmentId, KeyId, RequestId};
use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
use std::sync::Arc;

/// What every account's id begins with.
pub const ACCOUNT_PREFIX: &str = "acct_";
/// What every key's secret begins with.
pub const KEY_PREFIX: &str = "fb_";
/// What every admin token's secret begins with.
pub const ADMIN_TOKEN_PREFIX: &str = "fba_";
/// Random bytes of an account's or a key's id.
const ID_BYTES: usize = 8;
/// Random bytes of a key's secret.
const KEY_BYTES: usize = 32;

/// A source of randomness fit for keys.
#[derive(Clone)]
pub struct Secrets {
    rng: Arc<Mutex<StdRng>>,
    /// For the ids of what an administrator asks: how often one looks moves no key.
    asked: Arc<Mutex<StdRng>>,
}

impl Secrets {
    /// Seeded by the operating system.
    pub fn from_system() -> Result<Self, rand::rngs::SysError> {
        let asked = StdRng::try_from_rng(&mut SysRng)?;
        Ok(Self::from_rngs(StdRng::try_from_rng(&mut SysRng)?, asked))
    }

    /// Seeded by a number, for tests alone: whoever knows the number knows every key.
    pub fn seeded(seed: u64) -> Self {
        Self::from_rngs(StdRng::seed_from_u64(seed), StdRng::seed_from_u64(!seed))
    }

    fn from_rngs(rng: StdRng, asked: StdRng) -> Self {
        Self {
            rng: Arc::new(Mutex::new(rng)),
            asked: Arc::new(Mutex::new(asked)),
        }
    }

    /// Fills a buffer.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.rng.lock().fill_bytes(bytes);
    }

    /// This many random bytes as hex digits.
    pub fn random_hex(&self, bytes: usize) -> String {
        let mut random = vec![0; bytes];
        self.fill(&mut random);
        hex::encode(&random)
    }

    /// A new account's id.
    pub fn account_id(&self) -> AccountId {
        AccountId::from(format!("{ACCOUNT_PREFIX}{}", self.random_hex(ID_BYTES)))
    }

    /// A new key's id.
    pub fn key_id(&self) -> KeyId {
        KeyId::from(format!("key_{}", self.random_hex(ID_BYTES)))
    }

    /// A new key's secret: 256 random bits in the alphabet that needs no escaping in URLs and shells.
    pub fn api_key(&self) -> String {
        let mut random = [0; KEY_BYTES];
        self.fill(&mut random);
        format!("{KEY_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random))
    }

    /// A new admin token's id.
    pub fn admin_token_id(&self) -> String {
        format!("tok_{}", self.random_hex(ID_BYTES))
    }

    /// A new admin token's secret: 256 random bits.
    pub fn admin_token(&self) -> String {
        format!("{ADMIN_TOKEN_PREFIX}{}", self.random_hex(KEY_BYTES))
    }

    /// A new id of a request for a higher limit.
    pub fn limit_request_id(&self) -> String {
        format!("ask_{}", self.random_hex(ID_BYTES))
    }

    /// A new request's id.
    pub fn request_id(&self, unix_ms: u64) -> RequestId {
        RequestId::from_bytes(self.time_id(unix_ms))
    }

    /// The id of a request to the admin listener.
    pub fn admin_request_id(&self, unix_ms: u64) -> RequestId {
        let mut random = [0; 10];
        self.asked.lock().fill_bytes(&mut random);
        RequestId::from_bytes(time_id(unix_ms, &random))
    }

    /// A new adjustment's id.
    pub fn adjustment_id(&self, unix_ms: u64) -> AdjustmentId {
        AdjustmentId::from_bytes(self.time_id(unix_ms))
    }

    /// The milliseconds since 1970, and 74 random bits (RFC 9562, UUID version 7).
    fn time_id(&self, unix_ms: u64) -> [u8; 16] {
        let mut random = [0; 10];
        self.fill(&mut random);
        time_id(unix_ms, &random)
    }
}

fn time_id(unix_ms: u64, random: &[u8; 10]) -> [u8; 16] {
    *uuid::Builder::from_unix_timestamp_millis(unix_ms, random)
        .as_uuid()
        .as_bytes()
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
