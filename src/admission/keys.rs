//! API keys in memory: found by the hash of a secret, by id, and in the order in which they were made.
//!
//! There may be a million, so what is known of a key is held once, in its [`ApiKey`], and whatever finds it holds no more than
//! a pointer to it.

use super::directory::{Account, KeyHash};
use super::jwt::Unverified;
use super::listing::{ByAge, Listed};
use super::revocation::Revocation;
use crate::store::{JwtVerifier, KeyRow, PreviousSecret};
use farebox_domain::ids::{AccountId, KeyId};
use farebox_domain::key::KeyRights;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An API key, without its secret. What is changed of it is a new one in its place: a request goes on with the one that
/// it came with.
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
    hash: KeyHash,
    /// The secret before this one, while that holds too.
    previous: Option<Box<PreviousSecret>>,
    jwt_verifier: Option<Box<JwtVerifier>>,
    revocation: Arc<Revocation>,
}

/// Keys of one account with one name, of which one may have signed a token.
const SIGNERS_AT_MOST: usize = 16;

impl ApiKey {
    /// The key of this row. What does not come from there is `before`'s, where there was one with this id.
    fn new(row: KeyRow, account: Arc<Account>, before: Option<&Self>) -> Self {
        let revocation = before.map(|before| Arc::clone(&before.revocation));
        let revocation = revocation.unwrap_or_default();
        if let Some(at_ms) = row.revoked_at_ms {
            revocation.revoke(at_ms);
        }
        Self {
            id: before.map_or(row.id, |before| before.id.clone()),
            account,
            name: row.name,
            created_at_ms: before.map_or(row.created_at_ms, |before| before.created_at_ms),
            expires_at_ms: row.expires_at_ms,
            rights: row.rights,
            hash: row.hash,
            previous: row.previous.map(Box::new),
            jwt_verifier: row.jwt_verifier.map(Box::new),
            revocation,
        }
    }

    /// Whether it is as in this row, but for what is the wallet's.
    fn is_as(&self, row: &KeyRow) -> bool {
        let KeyRow {
            id,
            account,
            name,
            hash,
            created_at_ms,
            expires_at_ms,
            revoked_at_ms,
            monthly_limit: _,
            rights,
            previous,
            jwt_verifier,
        } = row;
        (id, account, name, hash) == (&self.id, &self.account.id, &self.name, &self.hash)
            && (*created_at_ms, *expires_at_ms) == (self.created_at_ms, self.expires_at_ms)
            && *revoked_at_ms == self.revoked_at_ms()
            && *rights == self.rights
            && previous.as_ref() == self.previous.as_deref()
            && jwt_verifier.as_ref() == self.jwt_verifier.as_deref()
    }

    /// Until when the secret before this one holds, in milliseconds since 1970; `None` where there is none.
    pub fn overlap_until_ms(&self) -> Option<u64> {
        self.previous.as_ref().map(|previous| previous.until_ms)
    }

    /// Whether its owner may sign tokens with it.
    pub fn signs_tokens(&self) -> bool {
        self.jwt_verifier.is_some()
    }

    /// What tells tokens that were signed with its secret, and with the one before while that holds.
    fn verifiers(&self, now_ms: u64) -> impl Iterator<Item = JwtVerifier> {
        let before = self.previous.as_ref();
        let before = before.filter(|before| now_ms < before.until_ms);
        let both = [
            self.jwt_verifier.as_deref().copied(),
            before.and_then(|before| before.jwt_verifier),
        ];
        both.into_iter().flatten()
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

/// Its id alone: what tells its secrets is of no use in a log.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiKey").field(&self.id).finish()
    }
}

impl Listed for ApiKey {
    type Id = KeyId;

    fn place(&self) -> (u64, &KeyId) {
        (self.created_at_ms, &self.id)
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
    by_hash: HashSet<ByHash>,
    /// By the hash of the secret that each had before.
    by_previous: HashMap<KeyHash, Arc<ApiKey>>,
    by_id: HashSet<ById>,
    by_age: ByAge<ApiKey>,
    by_account: HashMap<AccountId, ByAge<ApiKey>>,
}

/// A key that stands in a set for one part of it, by which it is found there.
macro_rules! found_by {
    ($name:ident, $part:ident: $type:ty) => {
        #[derive(Debug)]
        struct $name(Arc<ApiKey>);

        impl Borrow<$type> for $name {
            fn borrow(&self) -> &$type {
                &self.0.$part
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.$part.hash(state);
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.$part == other.0.$part
            }
        }

        impl Eq for $name {}
    };
}

found_by!(ByHash, hash: KeyHash);
found_by!(ById, id: KeyId);

impl Keys {
    /// Puts a key in, or what was changed of it.
    pub(super) fn put(&mut self, row: KeyRow, account: Arc<Account>) -> Arc<ApiKey> {
        let before = self.by_id.take(&row.id).map(|ById(before)| before);
        if let Some(before) = &before {
            self.by_hash.remove(&before.hash);
            if let Some(previous) = &before.previous {
                self.by_previous.remove(&previous.hash);
            }
        }
        let key = Arc::new(ApiKey::new(row, account, before.as_deref()));
        if let Some(previous) = &key.previous {
            self.by_previous.insert(previous.hash, Arc::clone(&key));
        }
        self.by_hash.insert(ByHash(Arc::clone(&key)));
        self.by_id.insert(ById(Arc::clone(&key)));
        let of_account = match self.by_account.get_mut(&key.account.id) {
            Some(of_account) => of_account,
            None => self.by_account.entry(key.account.id.clone()).or_default(),
        };
        for list in [of_account, &mut self.by_age] {
            match &before {
                Some(_) => list.replace(&key),
                None => list.add(Arc::clone(&key)),
            }
        }
        key
    }

    /// Whether the key is as in this row, but for what is the wallet's.
    pub(super) fn is_as(&self, row: &KeyRow) -> bool {
        self.get(&row.id).is_some_and(|key| key.is_as(row))
    }

    /// What a secret with this hash opens.
    pub(super) fn opened(&self, hash: &KeyHash, now_ms: u64) -> Option<Arc<ApiKey>> {
        let before = || {
            let key = self.by_previous.get(hash)?;
            key.overlap_until_ms().filter(|&until| now_ms < until)?;
            Some(key)
        };
        let key = self.by_hash.get(hash).map(|ByHash(key)| key).or_else(before)?;
        key.holds(now_ms).then(|| Arc::clone(key))
    }

    /// The key with this id.
    pub(super) fn get(&self, id: &KeyId) -> Option<&Arc<ApiKey>> {
        self.by_id.get(id).map(|ById(key)| key)
    }

    /// Those of an account, or all.
    pub(super) fn list(&mut self, account: Option<&AccountId>) -> Option<&mut ByAge<ApiKey>> {
        match account {
            Some(account) => self.by_account.get_mut(account),
            None => Some(&mut self.by_age),
        }
    }

    /// Sorts what was put in, so that nobody waits for that later.
    pub(super) fn sort(&mut self) {
        self.by_age.sort();
    }

    /// Who may have signed a token: the key that it names, or those of the account with the name that it says.
    pub(super) fn signers_of(&self, token: &Unverified<'_>, now_ms: u64) -> Vec<Signer> {
        let named = |key: &&Arc<ApiKey>| token.key_name.as_ref().is_none_or(|name| key.name == *name);
        let by_id = self.get(&KeyId::from(token.owner.as_str()));
        let account = AccountId::from(token.owner.as_str());
        // Without a name, an account's id names no key.
        let keys = self.by_account.get(&account).filter(|_| token.key_name.is_some());
        let by_name = keys.into_iter().flat_map(ByAge::each);
        let candidates = by_id.into_iter().chain(by_name).filter(named);
        let holding = candidates.filter(|key| key.holds(now_ms));
        let signing = holding.flat_map(|key| {
            let verifiers = key.verifiers(now_ms);
            verifiers.map(|verifier| Signer {
                key: Arc::clone(key),
                verifier,
            })
        });
        signing.take(SIGNERS_AT_MOST).collect()
    }
}
