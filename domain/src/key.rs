//! What an API key may do: its scopes, the models that it is for, and the addresses that it is used from.

use crate::catalog::Model;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Patterns or networks that a key may have at most.
pub const LIST_AT_MOST: usize = 100;
/// Bytes of a pattern at most.
const GLOB_BYTES_AT_MOST: usize = 200;

/// One kind of things that a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Chat completions, completions and embeddings.
    Inference,
    /// Usage, costs, receipts, entries, the balance and statements of the account.
    Usage,
    /// Signing in to the dashboard, and the account's keys: what is shown by `usage` is its own scope still.
    Dashboard,
    /// Kept for administration of the account. It opens nothing today, and never the admin API.
    Admin,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Inference, Self::Usage, Self::Dashboard, Self::Admin];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Usage => "usage",
            Self::Dashboard => "dashboard",
            Self::Admin => "admin",
        }
    }

    /// The scope with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Inference => 1,
            Self::Usage => 2,
            Self::Dashboard => 4,
            Self::Admin => 8,
        }
    }
}

/// The scopes of a key. In JSON: a list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Default for Scopes {
    /// `inference` and `usage`: what every key could do before there were scopes.
    fn default() -> Self {
        [Scope::Inference, Scope::Usage].into_iter().collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl Scopes {
    /// Whether this one is among them.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether the others have nothing that these have not.
    pub const fn cover(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Reads what [`Display`](fmt::Display) writes; `None` where a name is not known.
    pub fn parse(text: &str) -> Option<Self> {
        let names = text.split(',').filter(|name| !name.is_empty());
        names.map(Scope::named).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, scope) in self.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{}", scope.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Scope>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// A pattern of model names: `*` stands for any letters, `?` for one; all else for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelGlob(String);

/// A pattern that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is 1 to {GLOB_BYTES_AT_MOST} visible characters without spaces, such as `org/*`")]
pub struct NotAGlob;

impl TryFrom<String> for ModelGlob {
    type Error = NotAGlob;

    fn try_from(text: String) -> Result<Self, NotAGlob> {
        let fits = !text.is_empty() && text.len() <= GLOB_BYTES_AT_MOST;
        if fits && !text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            Ok(Self(text))
        } else {
            Err(NotAGlob)
        }
    }
}

impl From<ModelGlob> for String {
    fn from(glob: ModelGlob) -> Self {
        glob.0
    }
}

impl ModelGlob {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is one of those that it stands for.
    pub fn matches(&self, name: &str) -> bool {
        stands_for(self.0.as_bytes(), name.as_bytes(), |_| true)
    }

    /// Whether it surely stands for every name that the other stands for.
    pub fn covers(&self, other: &Self) -> bool {
        // The other's own text, where `*` may be any letters: one letter of ours does not stand for it.
        stands_for(self.0.as_bytes(), other.0.as_bytes(), |letter| letter != b'*')
    }
}

/// Whether the pattern stands for the name, in time of their lengths' product and without recursion: after a `*`, what
/// does not fit is tried again one letter on. `single` says which letters a `?` may be.
fn stands_for(pattern: &[u8], name: &[u8], single: impl Fn(u8) -> bool) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                again = Some((at + 1, of));
                at += 1;
                continue;
            }
            Some(b'?') if single(name[of]) => {
                at += 1;
                of += 1;
                continue;
            }
            Some(letter) if *letter != b'?' && *letter == name[of] => {
                at += 1;
                of += 1;
                continue;
            }
            _ => {}
        }
        let Some((after_star, tried)) = again else {
            return false;
        };
        again = Some((after_star, tried + 1));
        (at, of) = (after_star, tried + 1);
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

/// What a key may do. Money and time are apart from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRights {
    /// What it is for.
    pub scopes: Scopes,
    /// The models that it is for, by id or alias; none: every model.
    pub allowed_models: Vec<ModelGlob>,
    /// From where it may be used; none: from anywhere.
    pub allowed_ips: Vec<IpNet>,
    /// Requests in flight with it at once, at most; `None`: as many as its account may have.
    pub concurrent_requests: Option<u32>,
}

/// Whether a model is one of those that patterns stand for, by any of its names. None stand for every model.
pub fn allow(globs: &[ModelGlob], model: &Model) -> bool {
    let matches = |name: &str| globs.iter().any(|glob| glob.matches(name));
    globs.is_empty()
        || matches(model.id.as_str())
        || model.aliases.iter().any(|alias| matches(alias.as_str()))
}

impl KeyRights {
    /// Whether it may use this model.
    pub fn allow_model(&self, model: &Model) -> bool {
        allow(&self.allowed_models, model)
    }

    /// Whether it may be used from this address. One that is not known is none of a list.
    pub fn allow_ip(&self, ip: Option<IpAddr>) -> bool {
        let listed = |ip: IpAddr| self.allowed_ips.iter().any(|net| net.contains(&ip));
        self.allowed_ips.is_empty() || ip.is_some_and(|ip| listed(ip.to_canonical()))
    }

    /// What the others have that these have not, in words; `None` where there is nothing.
    pub fn lack_of(&self, others: &Self) -> Option<String> {
        if let Some(scope) = others.scopes.iter().find(|scope| !self.scopes.has(*scope)) {
            return Some(alloc::format!("the scope `{}`", scope.as_str()));
        }
        if !self.allowed_models.is_empty() {
            if others.allowed_models.is_empty() {
                return Some("every model".into());
            }
            let covered = |other: &&ModelGlob| !self.allowed_models.iter().any(|own| own.covers(other));
            if let Some(glob) = others.allowed_models.iter().find(covered) {
                return Some(alloc::format!("models of `{}`", glob.as_str()));
            }
        }
        if !self.allowed_ips.is_empty() {
            if others.allowed_ips.is_empty() {
                return Some("every address".into());
            }
            let outside = |other: &&IpNet| !self.allowed_ips.iter().any(|own| own.contains(*other));
            if let Some(net) = others.allowed_ips.iter().find(outside) {
                return Some(alloc::format!("addresses of {net}"));
            }
        }
        match (self.concurrent_requests, others.concurrent_requests) {
            (Some(_), None) => Some("as many requests at once as the account may have".into()),
            (Some(own), Some(other)) if other > own => {
                Some(alloc::format!("{other} requests at once where it has {own}"))
            }
            _ => None,
        }
    }
}

/// Reads an address or a network such as `10.0.0.0/8`. What is behind the network's length is left out, and an IPv4
/// address in IPv6's clothes is IPv4.
pub fn parse_net(text: &str) -> Option<IpNet> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(IpNet::from(ip.to_canonical()));
    }
    text.parse::<IpNet>().ok().map(|net| net.trunc())
}

/// An address alone, or a network with its length.
pub fn show_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> ModelGlob {
        ModelGlob::try_from(String::from(text)).unwrap()
    }

    fn rights(scopes: &str, models: &[&str], ips: &[&str]) -> KeyRights {
        KeyRights {
            scopes: Scopes::parse(scopes).unwrap(),
            allowed_models: models.iter().map(|text| glob(text)).collect(),
            allowed_ips: ips.iter().map(|text| parse_net(text).unwrap()).collect(),
            concurrent_requests: None,
        }
    }

    #[test]
    fn a_pattern_stands_for_what_it_says() {
        for (pattern, name, expected) in [
            ("*", "org/large", true),
            ("org/*", "org/large", true),
            ("org/*", "other/large", false),
            ("*large", "org/large", true),
            ("o*/l?rge", "org/large", true),
            ("org/larg?", "org/large", true),
            ("org/large?", "org/large", false),
            ("org/large", "org/larger", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(glob(pattern).matches(name), expected, "{pattern} {name}");
        }
        assert_eq!(ModelGlob::try_from(String::from("a b")), Err(NotAGlob));
    }

    #[test]
    fn an_address_is_of_a_network_in_either_clothes() {
        let rights = rights(
            "inference",
            &[],
            &["10.1.0.0/16", "2001:db8::/32", "::ffff:192.0.2.7"],
        );
        for (ip, expected) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("192.0.2.7", true),
        ] {
            assert_eq!(rights.allow_ip(ip.parse().ok()), expected, "{ip}");
        }
        assert!(!rights.allow_ip(None));
        assert_eq!(show_net(&rights.allowed_ips[0]), "10.1.0.0/16");
        assert_eq!(show_net(&rights.allowed_ips[2]), "192.0.2.7");
    }

    #[test]
    fn what_is_more_is_named() {
        let own = rights("inference,dashboard", &["org/*"], &["10.0.0.0/8"]);
        let more = |scopes, models: &[&str], ips: &[&str]| own.lack_of(&rights(scopes, models, ips));
        assert_eq!(more("inference", &["org/l*"], &["10.1.0.0/16"]), None);
        assert_eq!(
            more("usage", &["org/l*"], &["10.1.0.0/16"]).unwrap(),
            "the scope `usage`"
        );
        assert_eq!(more("inference", &[], &["10.1.0.0/16"]).unwrap(), "every model");
        assert_eq!(
            more("inference", &["o*"], &["10.1.0.0/16"]).unwrap(),
            "models of `o*`"
        );
        assert_eq!(
            more("inference", &["org/a"], &["0.0.0.0/0"]).unwrap(),
            "addresses of 0.0.0.0/0"
        );
    }

    proptest! {
        #[test]
        fn a_pattern_that_covers_another_stands_for_all_that_it_does(
            own in "[ab?*]{1,5}", other in "[ab?*]{1,5}", name in "[ab]{0,6}"
        ) {
            let (own, other) = (glob(&own), glob(&other));
            if own.covers(&other) && other.matches(&name) {
                prop_assert!(own.matches(&name));
            }
        }
    }
}
