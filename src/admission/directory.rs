//! Every account and every key, in memory. The store is behind it: what is written there is put here next, and
//! acts on the very next request.

use crate::admission::concurrency::Gate;
use crate::admission::jwt::{ScopedToken, Unverified};
pub use crate::admission::keys::ApiKey;
use crate::admission::keys::{Keys, Signer};
use crate::admission::purse::Purses;
use crate::admission::rate::RateGate;
use crate::admission::wallet::Wallet;
use crate::secrets::KEY_PREFIX;
use crate::store::{AccountRow, KeyRow, LimitRow, RateRow};
use farebox_domain::catalog::Model;
use farebox_domain::ids::{AccountId, KeyId, ModelId};
use farebox_domain::limits::RateLimits;
use farebox_domain::refusal::KeyFault;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// The SHA-256 of a key's secret: all that is kept of it.
pub type KeyHash = [u8; 32];

/// Hashes a secret. A secret has 256 random bits, so it needs no salt and no slow hash.
pub fn hash_secret(secret: &str) -> KeyHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// An account: who is billed, and how much of it is in flight.
#[derive(Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The operator's name for it.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Its cap.
    pub gate: Arc<Gate>,
    /// What it asked for in the last minute.
    pub rates: Arc<RateGate>,
    /// The same of each key that has rates of its own, or had.
    key_rates: RwLock<BTreeMap<KeyId, Arc<RateGate>>>,
    /// The same of each model that has rates, while any of them is used.
    model_rates: RwLock<BTreeMap<ModelId, Arc<RateGate>>>,
    /// Its money.
    pub wallet: Arc<Wallet>,
    closed: AtomicBool,
}

impl Account {
    /// Whether it is over. What it has in flight goes on, and is billed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What this key asked for in the last minute, if it has rates of its own.
    pub fn key_rates(&self, key: &KeyId) -> Option<Arc<RateGate>> {
        self.key_rates.read().get(key).cloned()
    }

    /// What the account asked for of this model in the last minute; nothing where the model has no rates.
    pub fn model_rates(&self, model: &Model, now: Instant) -> Option<Arc<RateGate>> {
        if model.limits.is_empty() {
            return None;
        }
        let known = self.model_rates.read().get(&model.id).cloned();
        let gate = known.unwrap_or_else(|| {
            let mut all = self.model_rates.write();
            // Whoever has one in hand may still take of it, or give back.
            all.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle(now));
            Arc::clone(all.entry(model.id.clone()).or_default())
        });
        gate.set_own(model.limits);
        Some(gate)
    }

    /// Sets the account's own rates, or a key's. What was used stays used.
    pub fn set_rates(&self, key: Option<&KeyId>, rates: RateLimits) {
        match key {
            None => self.rates.set_own(rates),
            Some(key) => {
                let mut all = self.key_rates.write();
                all.entry(key.clone()).or_default().set_own(rates);
            }
        }
    }

    /// Sets all of them: who is not among these has none.
    fn set_all_rates(&self, rows: &[&RateRow]) {
        self.rates.set_own(RateLimits::default());
        for gate in self.key_rates.read().values() {
            gate.set_own(RateLimits::default());
        }
        for row in rows {
            self.set_rates(
                row.key.as_ref(),
                RateLimits {
                    requests: row.requests_per_minute,
                    tokens: row.tokens_per_minute,
                },
            );
        }
    }

    fn refresh(&self, row: &AccountRow) {
        self.wallet.set_credit_limit(row.credit_limit);
        self.wallet.set_monthly_limit(row.monthly_limit);
        if row.closed_at_ms.is_some() {
            self.close();
        }
    }

    /// Ends it: none of its keys holds any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// The accounts and keys that there are.
#[derive(Debug, Default)]
pub struct Directory {
    /// Whether wallets allow only what was granted: this process is one of several.
    leased: bool,
    accounts: RwLock<BTreeMap<AccountId, Arc<Account>>>,
    keys: RwLock<Keys>,
    /// What is spent with signed tokens.
    pub purses: Purses,
}

impl Directory {
    /// Everything that the store holds.
    pub fn load(accounts: Vec<AccountRow>, keys: Vec<KeyRow>, limits: Vec<LimitRow>) -> Self {
        let directory = Self::default();
        for account in accounts {
            directory.add_account(account);
        }
        for key in keys {
            directory.add_key(key);
        }
        for limit in limits {
            if let Some(account) = directory.account(&limit.account) {
                account
                    .gate
                    .set_limit(limit.model.as_ref(), Some(limit.concurrent_requests));
            }
        }
        directory
    }

    /// The same for one of several replicas: its wallets allow only what was granted.
    pub fn leased() -> Self {
        Self {
            leased: true,
            ..Self::default()
        }
    }

    /// Takes over what the store holds now: what is new, and what was changed of the rest. What is in flight goes on.
    pub fn refresh(&self, accounts: Vec<AccountRow>, keys: Vec<KeyRow>, limits: Vec<LimitRow>) {
        for row in accounts {
            match self.account(&row.id) {
                Some(account) => account.refresh(&row),
                None => drop(self.add_account(row)),
            }
        }
        for row in keys {
            if !self.keys.read().is_as(&row) {
                self.add_key(row);
            }
        }
        for account in self.accounts() {
            let of_account = |limit: &&LimitRow| limit.account == account.id;
            let own: Vec<_> = limits.iter().filter(of_account).collect();
            let whole = own.iter().find(|limit| limit.model.is_none());
            account
                .gate
                .set_limit(None, whole.map(|limit| limit.concurrent_requests));
            let of_models = own.iter().filter_map(|limit| {
                let model = limit.model.clone()?;
                Some((model, limit.concurrent_requests))
            });
            account.gate.set_model_limits(of_models.collect());
        }
    }

    /// Takes over the rates that the store holds now.
    pub fn refresh_rates(&self, rows: &[RateRow]) {
        let mut by_account: BTreeMap<&AccountId, Vec<&RateRow>> = BTreeMap::new();
        for row in rows {
            by_account.entry(&row.account).or_default().push(row);
        }
        for account in self.accounts() {
            let own = by_account.remove(&account.id).unwrap_or_default();
            account.set_all_rates(&own);
        }
    }

    /// Puts a new account in.
    pub fn add_account(&self, row: AccountRow) -> Arc<Account> {
        let account = Arc::new(Account {
            id: row.id.clone(),
            name: row.name,
            created_at_ms: row.created_at_ms,
            gate: Arc::default(),
            rates: Arc::default(),
            key_rates: RwLock::default(),
            model_rates: RwLock::default(),
            wallet: Arc::default(),
            closed: AtomicBool::new(row.closed_at_ms.is_some()),
        });
        if self.leased {
            account.wallet.lease();
        }
        account.wallet.set_credit_limit(row.credit_limit);
        account.wallet.set_monthly_limit(row.monthly_limit);
        self.accounts.write().insert(row.id, Arc::clone(&account));
        account
    }

    /// Puts a key in, or what was changed of it: it acts on the very next request. A key whose account is not known is
    /// left out: it could not be billed.
    pub fn add_key(&self, row: KeyRow) -> Option<Arc<ApiKey>> {
        let account = self.account(&row.account)?;
        account.wallet.set_key_monthly_limit(&row.id, row.monthly_limit);
        Some(self.keys.write().put(row, account))
    }

    /// Ends a key at once. Requests that it has in flight go on. False if there is no such key.
    pub fn revoke_key(&self, id: &KeyId, now_ms: u64) -> bool {
        let keys = self.keys.read();
        let found = keys.get(id);
        if let Some(key) = found {
            key.revoke(now_ms);
        }
        found.is_some()
    }

    /// The key with this secret, if it holds now.
    pub fn find_key(&self, secret: &str, now_ms: u64) -> Result<Arc<ApiKey>, KeyFault> {
        if !secret.starts_with(KEY_PREFIX) {
            return Err(KeyFault::Invalid);
        }
        self.key_with(&hash_secret(secret), now_ms)
            .ok_or(KeyFault::Invalid)
    }

    /// The key whose secret has this hash, if it holds now.
    pub fn key_with(&self, hash: &KeyHash, now_ms: u64) -> Option<Arc<ApiKey>> {
        self.keys.read().opened(hash, now_ms)
    }

    /// The key that signed this token, and what the token says, if both hold now.
    pub fn find_token(&self, token: &str, now_ms: u64) -> Result<(Arc<ApiKey>, ScopedToken), KeyFault> {
        let unverified = Unverified::read(token).ok_or(KeyFault::Invalid)?;
        let signers = self.keys.read().signers_of(&unverified, now_ms);
        let signed = |signer: Signer| Some((unverified.verify(&signer, now_ms)?, signer.key));
        let found = signers.into_iter().find_map(signed);
        found.map(|(token, key)| (key, token)).ok_or(KeyFault::Invalid)
    }

    /// The key with this id.
    pub fn key(&self, id: &KeyId) -> Option<Arc<ApiKey>> {
        self.keys.read().get(id).cloned()
    }

    /// The keys of an account, oldest first.
    pub fn keys_of(&self, account: &AccountId) -> Vec<Arc<ApiKey>> {
        sorted(self.keys.read().of_account(account).cloned().collect())
    }

    /// The account with this id.
    pub fn account(&self, id: &AccountId) -> Option<Arc<Account>> {
        self.accounts.read().get(id).cloned()
    }

    /// The account with this id, or else with this name.
    pub fn account_named(&self, id_or_name: &str) -> Option<Arc<Account>> {
        let accounts = self.accounts.read();
        let by_id = accounts.get(&AccountId::from(id_or_name));
        by_id
            .or_else(|| accounts.values().find(|account| account.name == id_or_name))
            .cloned()
    }

    /// All accounts, in the order of their ids.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.read().values().cloned().collect()
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> Vec<Arc<ApiKey>> {
        sorted(self.keys.read().iter().cloned().collect())
    }
}

fn sorted(mut keys: Vec<Arc<ApiKey>>) -> Vec<Arc<ApiKey>> {
    keys.sort_by(|a, b| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
    keys
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::admission::rate::{Limited, take};
    use crate::clock::Clock;
    use farebox_domain::refusal::Whose;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_model_s_rates_are_kept_while_any_of_them_is_used_or_held() {
        let mut text = "engines: [{ name: e, kind: tei, url: \"http://e\" }]\nmodels:\n".to_owned();
        for model in ["m0", "m1", "m2"] {
            text += &format!(
                r#"- {{ id: {model}, task: embedding, context_length: 1, price: {{ input: "0" }}, engines: [{{ engine: e }}], limits: {{ requests_per_minute: 2 }} }}"#
            );
            text += "\n";
        }
        let catalog = crate::config::parse(&text, "models.yaml").unwrap().catalog;
        let account = Directory::default().add_account(AccountRow::new("acct_1".into(), "Acme".into(), 1));
        let clock = Clock::standing_at(0);
        let known = || {
            let all = account.model_rates.read();
            all.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        let gate = |n: usize| account.model_rates(&catalog.models()[n], clock.now()).unwrap();
        let limited = Limited {
            limits: gate(0).own(),
            gate: gate(0),
            whose: Whose::Model("m0".into()),
        };
        let held = take(vec![limited], 0, &clock).unwrap();
        gate(1);
        assert_eq!(known(), ["m0", "m1"]);
        gate(2);
        assert_eq!(known(), ["m0", "m2"], "of m1 nothing was used");
        tokio::time::advance(Duration::from_secs(30)).await;
        gate(1);
        assert_eq!(known(), ["m0", "m1"], "what leaked may be given back still");
        held.settle(0);
        gate(2);
        assert_eq!(known(), ["m2"]);
    }
}
