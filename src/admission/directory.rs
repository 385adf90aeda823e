//! Every account and every key, in memory. The store is behind it: what is written there is put here next, and
//! acts on the very next request.

use crate::admission::concurrency::Gate;
use crate::admission::jwt::{ScopedToken, Unverified};
pub use crate::admission::keys::ApiKey;
use crate::admission::keys::{Keys, Signer};
use crate::admission::listing::{ByAge, Listed};
use crate::admission::purse::Purses;
use crate::admission::rate::RateGate;
use crate::admission::wallet::Wallet;
use crate::secrets::KEY_PREFIX;
use crate::store::{AccountRow, KeyRow, LimitRow, RateRow, Store, StoreFault};
use farebox_domain::catalog::Model;
use farebox_domain::ids::{AccountId, KeyId, ModelId};
use farebox_domain::limits::RateLimits;
use farebox_domain::refusal::KeyFault;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
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
    /// Where it stands in a list.
    pub fn age(&self) -> (u64, AccountId) {
        (self.created_at_ms, self.id.clone())
    }

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
        let known = self.model_rates.read().get(model.limited_as()).cloned();
        let gate = known.unwrap_or_else(|| {
            let mut all = self.model_rates.write();
            // Whoever has one in hand may still take of it, or give back.
            all.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle(now));
            Arc::clone(all.entry(model.limited_as().clone()).or_default())
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

impl Listed for Account {
    type Id = AccountId;

    fn place(&self) -> (u64, &AccountId) {
        (self.created_at_ms, &self.id)
    }
}

/// The accounts and keys that there are.
#[derive(Debug, Default)]
pub struct Directory {
    /// Whether wallets allow only what was granted: this process is one of several.
    leased: bool,
    accounts: RwLock<BTreeMap<AccountId, Arc<Account>>>,
    accounts_by_age: RwLock<ByAge<Account>>,
    keys: RwLock<Keys>,
    /// What is spent with signed tokens.
    pub purses: Purses,
}

impl Directory {
    /// That of one of several replicas: its wallets allow only what was granted.
    pub fn leased() -> Self {
        Self {
            leased: true,
            ..Self::default()
        }
    }

    /// Reads what the store holds of accounts and keys, their limits and rates; what is in flight goes on.
    pub async fn read(&self, store: &Store) -> Result<(), StoreFault> {
        self.refresh_accounts(store.accounts().await?);
        store.each_key(|row| self.refresh_key(row)).await?;
        self.sort_keys();
        self.refresh_limits(&store.limits().await?);
        self.refresh_rates(&store.rates().await?);
        Ok(())
    }

    /// Takes over the accounts that the store holds now: what is new, and what was changed of the rest. What is in flight goes on.
    fn refresh_accounts(&self, rows: Vec<AccountRow>) {
        for row in rows {
            match self.account(&row.id) {
                Some(account) => account.refresh(&row),
                None => drop(self.add_account(row)),
            }
        }
    }

    /// The same of a key, after its account.
    fn refresh_key(&self, row: KeyRow) {
        if !self.keys.read().is_as(&row) {
            self.add_key(row);
        } else if let Some(account) = self.account(&row.account) {
            account.wallet.set_key_monthly_limit(&row.id, row.monthly_limit);
        }
    }

    /// All keys were taken over.
    fn sort_keys(&self) {
        self.keys.write().sort();
    }

    /// Takes over the limits that the store holds now: what is not among them has none of its own.
    fn refresh_limits(&self, limits: &[LimitRow]) {
        let mut by_account = grouped(limits, |limit| &limit.account);
        for account in self.accounts() {
            let own = by_account.remove(&account.id).unwrap_or_default();
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
    fn refresh_rates(&self, rows: &[RateRow]) {
        let mut by_account = grouped(rows, |row| &row.account);
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
        let mut by_age = self.accounts_by_age.write();
        by_age.add(Arc::clone(&account));
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

    /// At most `most` keys of an account or of all that come behind `after`, the newest first.
    pub fn newest_keys(
        &self,
        account: Option<&AccountId>,
        after: Option<&(u64, KeyId)>,
        most: usize,
    ) -> Vec<Arc<ApiKey>> {
        let mut keys = self.keys.write();
        keys.list(account)
            .map_or_else(Vec::new, |list| list.newest(after, most))
    }

    /// At most `most` accounts that come behind `after`, the newest first.
    pub fn newest_accounts(&self, after: Option<&(u64, AccountId)>, most: usize) -> Vec<Arc<Account>> {
        self.accounts_by_age.write().newest(after, most)
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
}

/// Rows by the account that they are of.
fn grouped<Row>(rows: &[Row], account: impl Fn(&Row) -> &AccountId) -> HashMap<&AccountId, Vec<&Row>> {
    let mut by_account: HashMap<&AccountId, Vec<&Row>> = HashMap::new();
    for row in rows {
        by_account.entry(account(row)).or_default().push(row);
    }
    by_account
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use crate::admission::rate::{Limited, take};
    use crate::clock::Clock;
    use farebox_domain::refusal::Whose;
    use std::time::Duration;

    fn limit(account: &str, model: Option<&str>, concurrent_requests: u32) -> LimitRow {
        LimitRow {
            account: account.into(),
            model: model.map(Into::into),
            concurrent_requests,
        }
    }

    #[test]
    fn each_account_has_its_own_limits_and_loses_what_the_store_has_no_more() {
        let row = |id: &str| AccountRow::new(id.into(), id.to_owned(), 1);
        let accounts = || vec![row("a"), row("b"), row("c")];
        let directory = Directory::default();
        let limits_now = || -> Vec<_> {
            let reading = |account: &Arc<Account>| account.gate.read(200);
            let limits = |reading: crate::admission::concurrency::GateReading| {
                let models = reading
                    .models
                    .into_iter()
                    .map(|of| (of.model.to_string(), of.limit));
                (reading.limit, models.collect::<Vec<_>>())
            };
            let all = directory.accounts();
            all.iter().map(|account| limits(reading(account))).collect()
        };
        let limits = vec![
            limit("a", None, 1),
            limit("a", Some("m"), 2),
            limit("c", Some("m"), 3),
        ];
        directory.refresh_accounts(accounts());
        directory.refresh_limits(&limits);
        let of_model = |limit| vec![("m".to_owned(), Some(limit))];
        assert_eq!(
            limits_now(),
            [(1, of_model(2)), (200, vec![]), (200, of_model(3))]
        );
        directory.refresh_limits(&[limit("b", None, 4)]);
        assert_eq!(limits_now(), [(200, vec![]), (4, vec![]), (200, vec![])]);
    }

    #[test]
    fn a_list_goes_from_the_newest_on_and_shows_what_was_changed() {
        let directory = Directory::default();
        directory.add_account(AccountRow::new("a".into(), "a".to_owned(), 1));
        let row = |id: &str, at_ms| KeyRow::new(id.into(), "a".into(), id.to_owned(), hash_secret(id), at_ms);
        for (id, at_ms) in [("k2", 5), ("k1", 5), ("k3", 4), ("k4", 6)] {
            directory.add_key(row(id, at_ms));
        }
        let mut changed = row("k1", 5);
        changed.name = "changed".to_owned();
        directory.add_key(changed);
        for account in [None, Some(&AccountId::from("a"))] {
            let names = |after: Option<&(u64, KeyId)>, most| -> Vec<String> {
                let keys = directory.newest_keys(account, after, most);
                keys.iter().map(|key| key.name.clone()).collect()
            };
            assert_eq!(names(None, 9), ["k4", "k2", "changed", "k3"]);
            assert_eq!(names(Some(&(5, "k2".into())), 1), ["changed"]);
            assert_eq!(names(Some(&(4, "k3".into())), 1), Vec::<String>::new());
        }
        assert!(directory.newest_keys(Some(&"b".into()), None, 9).is_empty());
    }

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
