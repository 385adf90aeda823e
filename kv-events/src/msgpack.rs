//! MessagePack without a tree of values: each value is a slice of the payload, and is looked into when it is asked for. So
//! a payload costs no memory but its own, whatever it says of itself, and an odd field costs that field alone.

use rmp::Marker;
use rmp::decode::{read_int, read_str_from_slice};

/// One value, looked into one level deep.
#[derive(Debug)]
pub enum Value<'a> {
    Nil,
    Int(i128),
    Str(&'a str),
    Bin(&'a [u8]),
    Array(Values<'a>),
    /// Key, value, key, value.
    Map(Values<'a>),
    /// A float, a boolean, an extension, or text that is not UTF-8.
    Other,
}

/// The values of an array or a map, each as its bytes.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    rest: &'a [u8],
    left: u64,
}

impl<'a> Value<'a> {
    /// A whole payload: exactly one value, all of which is there.
    pub fn of_payload(payload: &'a [u8]) -> Option<Self> {
        (value_len(payload)? == payload.len()).then(|| Self::of(payload))?
    }

    /// Of a value's bytes.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let (marker, shape, rest) = head(bytes)?;
        Some(match (marker, shape) {
            (Marker::Null, _) => Self::Nil,
            (Marker::FixMap(_) | Marker::Map16 | Marker::Map32, Shape::Items(left)) => {
                Self::Map(Values { rest, left })
            }
            (_, Shape::Items(left)) => Self::Array(Values { rest, left }),
            (Marker::Bin8 | Marker::Bin16 | Marker::Bin32, Shape::Bytes(len)) => Self::Bin(rest.get(..len)?),
            (Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32, _) => {
                read_str_from_slice(bytes).map_or(Self::Other, |(text, _)| Self::Str(text))
            }
            _ => read_int(&mut &*bytes).map_or(Self::Other, Self::Int),
        })
    }

    pub fn str(self) -> Option<&'a str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn int<T: TryFrom<i128>>(self) -> Option<T> {
        match self {
            Self::Int(int) => T::try_from(int).ok(),
            _ => None,
        }
    }

    /// All of an array's values, if each of them is a `T`.
    pub fn all<T>(self, of: impl Fn(&'a [u8]) -> Option<T>) -> Option<Vec<T>> {
        match self {
            Self::Array(values) => values.map(of).collect(),
            _ => None,
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (value, rest) = self.rest.split_at_checked(value_len(self.rest)?)?;
        self.rest = rest;
        Some(value)
    }
}

/// What follows a value's head.
enum Shape {
    Bytes(usize),
    Items(u64),
}

/// A value's marker, what follows, and where.
fn head(bytes: &[u8]) -> Option<(Marker, Shape, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let marker = Marker::from_u8(first);
    let sized = |width: usize| -> Option<(u64, &[u8])> {
        let (len, rest) = rest.split_at_checked(width)?;
        let len = len.iter().fold(0, |len, &byte| len << 8 | u64::from(byte));
        Some((len, rest))
    };
    let bytes = |width, more: usize| {
        let (len, rest) = sized(width)?;
        Some((
            marker,
            Shape::Bytes(usize::try_from(len).ok()?.checked_add(more)?),
            rest,
        ))
    };
    let items = |width, each| {
        let (len, rest) = sized(width)?;
        Some((marker, Shape::Items(len * each), rest))
    };
    let fixed = |len| Some((marker, Shape::Bytes(len), rest));
    match marker {
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => fixed(0),
        Marker::U8 | Marker::I8 => fixed(1),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => fixed(2),
        Marker::FixExt2 => fixed(3),
        Marker::U32 | Marker::I32 | Marker::F32 => fixed(4),
        Marker::FixExt4 => fixed(5),
        Marker::U64 | Marker::I64 | Marker::F64 => fixed(8),
        Marker::FixExt8 => fixed(9),
        Marker::FixExt16 => fixed(17),
        Marker::FixStr(len) => fixed(usize::from(len)),
        Marker::Str8 | Marker::Bin8 => bytes(1, 0),
        Marker::Str16 | Marker::Bin16 => bytes(2, 0),
        Marker::Str32 | Marker::Bin32 => bytes(4, 0),
        Marker::Ext8 => bytes(1, 1),
        Marker::Ext16 => bytes(2, 1),
        Marker::Ext32 => bytes(4, 1),
        Marker::FixArray(len) => Some((marker, Shape::Items(u64::from(len)), rest)),
        Marker::Array16 => items(2, 1),
        Marker::Array32 => items(4, 1),
        Marker::FixMap(len) => Some((marker, Shape::Items(2 * u64::from(len)), rest)),
        Marker::Map16 => items(2, 2),
        Marker::Map32 => items(4, 2),
        Marker::Reserved => None,
    }
}

/// How many bytes the first value takes, if all of it is there. Counts instead of descending: no depth can exhaust a stack.
fn value_len(bytes: &[u8]) -> Option<usize> {
    let (mut rest, mut left) = (bytes, 1_u64);
    while left > 0 {
        let (_, shape, after) = head(rest)?;
        left -= 1;
        rest = match shape {
            Shape::Bytes(len) => after.get(len..)?,
            Shape::Items(items) => {
                left += items;
                after
            }
        };
    }
    Some(bytes.len() - rest.len())
}
