//! Tokens that an account's owner signs with an API key, without asking anybody: DeepInfra's scoped JWTs (FACTS.md).
//!
//! `jwt:` and a JWT of HS256 whose secret is the API key itself. Its `kid` is the key's or the account's id, a colon, and
//! the key's name in base64. It says for which models and until when it holds, and never opens more than its key does.
//!
//! A library for JWTs is given the secret, which is not here: what is here checks HMACs without it ([`super::hmac`]). So
//! the three parts are read by hand, and one algorithm is known, which a token can only name or be refused.

use super::hmac::hmac_by;
use super::keys::Signer;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use farebox_domain::key::ModelGlob;
use farebox_domain::money::Picodollars;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every such token begins with.
pub const JWT_PREFIX: &str = "jwt:";
/// The longest token that is read.
const TOKEN_BYTES_AT_MOST: usize = 8 * 1024;
/// Models that a token may name.
const MODELS_AT_MOST: usize = 100;

/// A token that was signed by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopedToken {
    /// By what its spending is told from others': what its key and its `jti` come to, or its text where it has none.
    pub id: [u8; 32],
    /// The models that it is for; none: those of its key.
    pub models: Vec<ModelGlob>,
    /// From when it no longer holds, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// What may be spent with it, all in all.
    pub spending_limit: Option<Picodollars>,
}

/// A token whose signature was not looked at yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    /// The key's or the account's id.
    pub owner: String,
    /// The key's name, where it is said.
    pub key_name: Option<String>,
    signed: &'a str,
    payload: &'a str,
    signature: [u8; 32],
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    exp: &'a RawValue,
    #[serde(borrow, default)]
    nbf: Option<&'a RawValue>,
    #[serde(default)]
    models: Option<Vec<ModelGlob>>,
    #[serde(default)]
    model: Option<ModelGlob>,
    #[serde(borrow, default)]
    spending_limit: Option<&'a RawValue>,
    #[serde(default)]
    jti: Option<String>,
}

impl<'a> Unverified<'a> {
    /// Reads who should have signed it; `None` where it is no token of this kind.
    pub fn read(token: &'a str) -> Option<Self> {
        let jwt = token.strip_prefix(JWT_PREFIX)?;
        if jwt.len() > TOKEN_BYTES_AT_MOST {
            return None;
        }
        let (signed, signature) = jwt.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.alg != "HS256" || header.crit.is_some() {
            return None;
        }
        let (owner, key_name) = match header.kid.split_once(':') {
            None => (header.kid, None),
            Some((owner, name)) => (owner.to_owned(), Some(any_base64(name)?)),
        };
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self {
            owner,
            key_name,
            signed,
            payload,
            signature: signature.try_into().ok()?,
        })
    }

    /// Whether this key signed it, and it holds: what it says then.
    pub fn verify(&self, signer: &Signer, now_ms: u64) -> Option<ScopedToken> {
        let made = hmac_by(&signer.verifier, self.signed.as_bytes());
        if !bool::from(made.ct_eq(&self.signature)) {
            return None;
        }
        let payload = BASE64_URL_SAFE_NO_PAD.decode(self.payload).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).ok()?;
        let expires_at_ms = seconds(claims.exp)?.saturating_mul(1000);
        let begins_at_ms = match claims.nbf {
            Some(nbf) => seconds(nbf)?.saturating_mul(1000),
            None => 0,
        };
        if now_ms >= expires_at_ms || now_ms < begins_at_ms {
            return None;
        }
        let models: Vec<ModelGlob> = match (claims.models, claims.model) {
            (Some(_), Some(_)) => return None,
            // No model is not every model.
            (Some(models), None) if models.is_empty() || models.len() > MODELS_AT_MOST => return None,
            (Some(models), None) => models,
            (None, one) => one.into_iter().collect(),
        };
        let spending_limit = match claims.spending_limit {
            Some(limit) => Some(usd(limit)?),
            None => None,
        };
        let told_apart = claims.jti.as_deref().unwrap_or(self.signed);
        let id = Sha256::new()
            .chain_update(signer.key.id.as_str())
            .chain_update([0, u8::from(claims.jti.is_some())])
            .chain_update(told_apart)
            .finalize();
        Some(ScopedToken {
            id: id.into(),
            models,
            expires_at_ms,
            spending_limit,
        })
    }
}

/// Base64 in either alphabet, with or without its end.
fn any_base64(text: &str) -> Option<String> {
    let plain = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    String::from_utf8(BASE64_STANDARD_NO_PAD.decode(plain).ok()?).ok()
}

/// Seconds since 1970 (RFC 7519: a number, perhaps with a fraction, which is cut off).
fn seconds(number: &RawValue) -> Option<u64> {
    let text = number.get();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok()
}

/// An amount in USD, as a number's own digits or as text; above zero, or nothing could be spent.
fn usd(limit: &RawValue) -> Option<Picodollars> {
    let text = limit.get().trim_matches('"');
    Picodollars::parse_usd(text).filter(|limit| *limit >= Picodollars::ZERO)
}

/// Signs a token: what an account's owner does, with nothing but the key. `claims` are JSON.
pub fn sign(secret: &str, kid: &str, claims: &str) -> String {
    let header = serde_json::json!({ "alg": "HS256", "typ": "JWT", "kid": kid }).to_string();
    let signed = format!(
        "{}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(header),
        BASE64_URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = hmac_by(&super::hmac::verifier_of(secret), signed.as_bytes());
    format!(
        "{JWT_PREFIX}{signed}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(signature)
    )
}

/// The `kid` of a token that this key signs.
pub fn kid(owner: &str, key_name: Option<&str>) -> String {
    match key_name {
        Some(name) => format!("{owner}:{}", BASE64_STANDARD_NO_PAD.encode(name)),
        None => owner.to_owned(),
    }
}
