//! Names of things. Cheap to clone: an id is carried by every request from authentication to its ledger entry.

use alloc::sync::Arc;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<alloc::string::String> for $name {
            fn from(text: alloc::string::String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// An account: who is billed. `acct_` and 16 hex digits.
    AccountId
}
text_id! {
    /// An API key's public name, never the secret. `key_` and 16 hex digits.
    KeyId
}
text_id! {
    /// A model as it is sold, for example `meta-llama/Llama-3.3-70B-Instruct-Turbo`.
    ModelId
}
text_id! {
    /// An engine as the operator calls it. Never shown to a client.
    EngineName
}

/// The text is not a prefix and 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an id: `{0}` and 32 lower-case hex digits")]
pub struct NotAnId(&'static str);

macro_rules! time_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, most significant first.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The lowest id that could have been made at this time, in milliseconds since 1970: where reading from a
            /// time on begins.
            pub const fn lowest_at_ms(unix_ms: u64) -> Self {
                let at_most_48_bits = if unix_ms >> 48 == 0 { unix_ms } else { (1 << 48) - 1 };
                Self(((at_most_48_bits as u128) << 80).to_be_bytes())
            }

            /// When it was made, in milliseconds since 1970.
            pub const fn made_at_ms(&self) -> u64 {
                let [a, b, c, d, e, f, ..] = self.0;
                u64::from_be_bytes([0, 0, a, b, c, d, e, f])
            }

            /// The text form, without an allocation.
            pub fn to_text(&self) -> IdText {
                IdText::new($prefix, &self.0)
            }

            /// Reads the text form.
            pub fn parse(text: &str) -> Result<Self, NotAnId> {
                read_hex($prefix, text).map(Self).ok_or(NotAnId($prefix))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.to_text().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.to_text().as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = alloc::string::String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

time_id! {
    /// One request's id: 128 bits, the upper 48 of them the milliseconds since 1970, so that ids sort by time
    /// (the layout of UUID version 7). Written as `req_` and 32 hex digits.
    RequestId, "req_"
}
time_id! {
    /// An adjustment's id, made like a request's. Written as `adj_` and 32 hex digits.
    AdjustmentId, "adj_"
}

/// An id's text on the stack.
#[derive(Clone, Copy)]
pub struct IdText([u8; IdText::LEN]);

impl IdText {
    /// The length of every id's text.
    pub const LEN: usize = 36;

    fn new(prefix: &str, id: &[u8; 16]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'0'; Self::LEN];
        for (to, from) in text.iter_mut().zip(prefix.bytes()) {
            *to = from;
        }
        for (byte, pair) in id.iter().zip(text[4..].chunks_exact_mut(2)) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn read_hex(prefix: &str, text: &str) -> Option<[u8; 16]> {
    let hex = text.strip_prefix(prefix).filter(|hex| hex.len() == 32)?;
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_request_id_reads_back() {
        let id = RequestId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xab, 0xcd, 0xef, 254, 255, 16]);
        assert_eq!(RequestId::parse(&id.to_string()), Ok(id));
        assert_eq!(RequestId::parse("req_00"), Err(NotAnId("req_")));
        assert_eq!(
            RequestId::parse("req_g0000000000000000000000000000000"),
            Err(NotAnId("req_"))
        );
        assert!(AdjustmentId::parse(&id.to_string()).is_err());
    }

    #[test]
    fn ids_of_a_time_begin_with_it() {
        let lowest = RequestId::lowest_at_ms(0x0123_4567_89ab);
        assert_eq!(lowest.to_string(), "req_0123456789ab00000000000000000000");
        assert!(RequestId::lowest_at_ms(u64::MAX) > lowest);
        assert_eq!(lowest.made_at_ms(), 0x0123_4567_89ab);
    }
}
