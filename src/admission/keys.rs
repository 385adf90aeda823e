//! API keys in memory: found by the hash of a secret, by id, and in the order in which they were made.

use super::directory::{Account, KeyHash};
use super::jwt::Unverified;
use super::revocation::Revocation;
use crate::store::{JwtVerifier, KeyRow};
use farebox_domain::ids::{AccountId, KeyId};
use farebox_domain::key::KeyRights;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// An API key, without its secret. What is changed of it is a new one in its place: a request goes on with the one that
/// it came with.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// The account that pays for it.
    pub account: Arc<Account>,
    /// The owner's name for it.
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it ends, in milliseconds since 1970; `None` is never.
    pub expires_at_ms: Option<u64>,
    /// What it may do.
    pub rights: KeyRights,
    /// Until when the secret before this one holds, in milliseconds since 1970; `None` where there is none.
    pub overlap_until_ms: Option<u64>,
    /// Whether its owner may sign tokens with it.
    pub signs_tokens: bool,
    revocation: Arc<Revocation>,
}

/// Keys of one account with one name, of which one may have signed a token.
const SIGNERS_AT_MOST: usize = 16;

impl ApiKey {
    fn new(row: &KeyRow, account: Arc<Account>) -> Self {
        Self {
            id: row.id.clone(),
            account,
            name: row.name.clone(),
            created_at_ms: row.created_at_ms,
            expires_at_ms: row.expires_at_ms,
            rights: row.rights.clone(),
            overlap_until_ms: row.previous.as_ref().map(|previous| previous.until_ms),
            signs_tokens: row.jwt_verifier.is_some(),
            revocation: Arc::new(Revocation::new(row.revoked_at_ms)),
        }
    }

    /// The same key as the store has it now. What does not come from there is shared.
    fn changed(&self, row: &KeyRow) -> Self {
        Self {
            name: row.name.clone(),
            expires_at_ms: row.expires_at_ms,
            rights: row.rights.clone(),
            overlap_until_ms: row.previous.as_ref().map(|previous| previous.until_ms),
            signs_tokens: row.jwt_verifier.is_some(),
            ..self.clone()
        }
    }

    /// Where it stands in a list.
    pub fn age(&self) -> (u64, KeyId) {
        (self.created_at_ms, self.id.clone())
    }

    /// When it was revoked, in milliseconds since 1970.
    pub fn revoked_at_ms(&self) -> Option<u64> {
        self.revocation.at_ms()
    }

    /// Ends it at once.
    pub(super) fn revoke(&self, at_ms: u64) {
        self.revocation.revoke(at_ms);
    }

    /// Whether it opens anything.
    pub fn holds(&self, now_ms: u64) -> bool {
        self.revoked_at_ms().is_none()
            && self.expires_at_ms.is_none_or(|end| now_ms < end)
            && !self.account.is_closed()
    }
}

/// Who may have signed a token.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The key.
    pub key: Arc<ApiKey>,
    /// What tells whether it was signed with its secret.
    pub verifier: JwtVerifier,
}

/// All keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_hash: HashMap<KeyHash, Held>,
    by_id: HashMap<KeyId, Known>,
    by_age: ByAge<KeyId, ApiKey>,
    by_account: HashMap<AccountId, ByAge<KeyId, ApiKey>>,
}

/// What is listed, by when it was made, in milliseconds since 1970, and by its id.
pub(super) type ByAge<Id, T> = BTreeMap<(u64, Id), Arc<T>>;

/// At most `most` of a list that come behind `after`, the newest first.
pub(super) fn newest<Id: Ord, T>(list: &ByAge<Id, T>, after: Option<&(u64, Id)>, most: usize) -> Vec<Arc<T>> {
    let end = after.map_or(Bound::Unbounded, Bound::Excluded);
    let older = list.range((Bound::Unbounded, end)).rev();
    older.take(most).map(|(_, one)| Arc::clone(one)).collect()
}

/// What a secret opens.
#[derive(Debug)]
struct Held {
    key: Arc<ApiKey>,
    /// Until when; `None` is as long as the key holds.
    until_ms: Option<u64>,
}

#[derive(Debug)]
struct Known {
    key: Arc<ApiKey>,
    row: KeyRow,
}

impl Keys {
    /// Puts a key in, or what was changed of it.
    pub(super) fn put(&mut self, row: KeyRow, account: Arc<Account>) -> Arc<ApiKey> {
        let key = match self.by_id.get(&row.id) {
            Some(known) => {
                let changed = known.key.changed(&row);
                let hashes = [Some(known.row.hash), known.row.previous.as_ref().map(|p| p.hash)];
                for hash in hashes.into_iter().flatten() {
                    self.by_hash.remove(&hash);
                }
                Arc::new(changed)
            }
            None => Arc::new(ApiKey::new(&row, account)),
        };
        if let Some(at_ms) = row.revoked_at_ms {
            key.revoke(at_ms);
        }
        let held = |until_ms| Held {
            key: Arc::clone(&key),
            until_ms,
        };
        if let Some(previous) = &row.previous {
            self.by_hash.insert(previous.hash, held(Some(previous.until_ms)));
        }
        self.by_hash.insert(row.hash, held(None));
        let of_account = self.by_account.entry(row.account.clone()).or_default();
        of_account.insert(key.age(), Arc::clone(&key));
        self.by_age.insert(key.age(), Arc::clone(&key));
        let known = Known {
            key: Arc::clone(&key),
            row,
        };
        self.by_id.insert(key.id.clone(), known);
        key
    }

    /// Whether the key is as in this row.
    pub(super) fn is_as(&self, row: &KeyRow) -> bool {
        self.by_id.get(&row.id).is_some_and(|known| known.row == *row)
    }

    /// What a secret with this hash opens.
    pub(super) fn opened(&self, hash: &KeyHash, now_ms: u64) -> Option<Arc<ApiKey>> {
        let held = self.by_hash.get(hash)?;
        let in_time = held.until_ms.is_none_or(|until| now_ms < until);
        (in_time && held.key.holds(now_ms)).then(|| Arc::clone(&held.key))
    }

    /// The key with this id.
    pub(super) fn get(&self, id: &KeyId) -> Option<&Arc<ApiKey>> {
        Some(&self.by_id.get(id)?.key)
    }

    /// Those of an account, or all.
    pub(super) fn list(&self, account: Option<&AccountId>) -> Option<&ByAge<KeyId, ApiKey>> {
        match account {
            Some(account) => self.by_account.get(account),
            None => Some(&self.by_age),
        }
    }

    /// Who may have signed a token: the key that it names, or those of the account with the name that it says.
    pub(super) fn signers_of(&self, token: &Unverified<'_>, now_ms: u64) -> Vec<Signer> {
        let id = KeyId::from(token.owner.as_str());
        let named = |known: &&Known| token.key_name.as_ref().is_none_or(|name| known.row.name == *name);
        let by_id = self.by_id.get(&id).filter(named);
        let account = AccountId::from(token.owner.as_str());
        // Without a name, an account's id names no key.
        let keys = self.by_account.get(&account).filter(|_| token.key_name.is_some());
        let by_name = keys
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter_map(|key| self.by_id.get(&key.id));
        let candidates = by_id.into_iter().chain(by_name.filter(named));
        let holding = candidates.filter(|known| known.key.holds(now_ms));
        let signing = holding.flat_map(|known| {
            let verifiers = known.verifiers(now_ms);
            verifiers.map(|verifier| Signer {
                key: Arc::clone(&known.key),
                verifier,
            })
        });
        signing.take(SIGNERS_AT_MOST).collect()
    }
}

impl Known {
    /// What tells tokens that were signed with its secret, and with the one before while that holds.
    fn verifiers(&self, now_ms: u64) -> impl Iterator<Item = JwtVerifier> {
        let before = self.row.previous.as_ref();
        let before = before.filter(|before| now_ms < before.until_ms);
        let both = [
            self.row.jwt_verifier,
            before.and_then(|before| before.jwt_verifier),
        ];
        both.into_iter().flatten()
    }
}
