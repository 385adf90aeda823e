//! Who administers: every admin token, in memory, so that one that is revoked opens nothing from then on.

use crate::admission::directory::KeyHash;
use crate::admission::revocation::Revocation;
use crate::store::AdminTokenRow;
use farebox_domain::role::Role;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// An admin token, without its secret.
#[derive(Debug)]
pub struct AdminToken {
    /// Its id, `tok_...`.
    pub id: String,
    /// Whose it is.
    pub name: Arc<str>,
    /// What may be done with it.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it ends, in milliseconds since 1970; `None` is never.
    pub expires_at_ms: Option<u64>,
    revocation: Revocation,
}

impl AdminToken {
    /// When it was revoked, in milliseconds since 1970.
    pub fn revoked_at_ms(&self) -> Option<u64> {
        self.revocation.at_ms()
    }

    /// Whether it opens anything at this time.
    pub fn holds(&self, now_ms: u64) -> bool {
        self.revoked_at_ms().is_none() && self.expires_at_ms.is_none_or(|end| now_ms < end)
    }

    fn revoke(&self, at_ms: u64) {
        self.revocation.revoke(at_ms);
    }
}

/// The admin tokens that there are, but for the first, which is given at start.
#[derive(Debug, Default)]
pub struct AdminTokens(RwLock<HashMap<KeyHash, Arc<AdminToken>>>);

impl AdminTokens {
    /// Takes over what the store holds now.
    pub fn refresh(&self, rows: Vec<AdminTokenRow>) {
        for row in rows {
            let known = self.0.read().get(&row.hash).cloned();
            match (known, row.revoked_at_ms) {
                (Some(token), Some(at_ms)) => token.revoke(at_ms),
                (Some(_), None) => {}
                (None, _) => drop(self.add(row)),
            }
        }
    }

    /// Puts a new token in.
    pub fn add(&self, row: AdminTokenRow) -> Arc<AdminToken> {
        let token = Arc::new(AdminToken {
            id: row.id,
            name: row.name.into(),
            role: row.role,
            created_at_ms: row.created_at_ms,
            expires_at_ms: row.expires_at_ms,
            revocation: Revocation::new(row.revoked_at_ms),
        });
        self.0.write().insert(row.hash, Arc::clone(&token));
        token
    }

    /// The token whose secret has this hash, if it holds now. Nobody who guesses a secret can choose the bytes of its hash,
    /// so the time that it takes tells nothing of one.
    pub fn find(&self, hash: &KeyHash, now_ms: u64) -> Option<Arc<AdminToken>> {
        let token = self.0.read().get(hash).cloned();
        token.filter(|token| token.holds(now_ms))
    }

    /// The token with this id, whether it holds or not.
    pub fn get(&self, id: &str) -> Option<Arc<AdminToken>> {
        self.0.read().values().find(|token| token.id == id).cloned()
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<AdminToken>> {
        let mut all: Vec<_> = self.0.read().values().cloned().collect();
        all.sort_by(|a, b| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
        all
    }

    /// Ends one at once. False if there is none with this id.
    pub fn revoke(&self, id: &str, now_ms: u64) -> bool {
        let found = self.get(id);
        if let Some(token) = &found {
            token.revoke(now_ms);
        }
        found.is_some()
    }
}
