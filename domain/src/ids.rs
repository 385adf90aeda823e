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

/// One request's id: 128 bits, the upper 48 of them the milliseconds since 1970, so that ids sort by time
/// (the layout of UUID version 7). Written as `req_` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 16]);

/// The text is not `req_` and 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request id is `req_` followed by 32 lower-case hex digits")]
pub struct NotARequestId;

impl RequestId {
    /// The length of the text form.
    pub const TEXT_LEN: usize = 36;

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The text form, without an allocation.
    pub fn to_text(&self) -> RequestIdText {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"req_00000000000000000000000000000000";
        for (byte, pair) in self.0.iter().zip(text[4..].chunks_exact_mut(2)) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        RequestIdText(text)
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, NotARequestId> {
        let hex = text
            .strip_prefix("req_")
            .filter(|hex| hex.len() == 32)
            .ok_or(NotARequestId)?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn hex_digit(digit: u8) -> Result<u8, NotARequestId> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotARequestId),
    }
}

/// A request id's text on the stack.
#[derive(Clone, Copy)]
pub struct RequestIdText([u8; RequestId::TEXT_LEN]);

impl RequestIdText {
    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("req_")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_text().as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
        assert_eq!(RequestId::parse("req_00"), Err(NotARequestId));
        assert_eq!(
            RequestId::parse("req_g0000000000000000000000000000000"),
            Err(NotARequestId)
        );
    }
}
