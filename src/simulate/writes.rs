//! How events are cut into writes: one each, several together, in the middle of a character, byte by byte.

use std::collections::VecDeque;

use bytes::Bytes;

use super::trouble::Writes;

/// Events that `coalesce` puts into one write.
pub(super) const COALESCED_EVENTS: usize = 4;

/// Bytes to hand on at once, and the tokens that are complete with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) tokens: u64,
}

/// Adds `bytes` to `pieces`, cut as asked. The last piece carries the tokens.
pub(super) fn cut_up(bytes: Bytes, tokens: u64, writes: Writes, pieces: &mut VecDeque<Piece>) {
    if bytes.is_empty() {
        return;
    }
    let mut rest = bytes;
    while let Some(at) = next_cut(&rest, writes) {
        pieces.push_back(Piece {
            bytes: rest.split_to(at),
            tokens: 0,
        });
    }
    pieces.push_back(Piece { bytes: rest, tokens });
}

/// Where the first piece of `bytes` ends, if it is not the last one.
fn next_cut(bytes: &[u8], writes: Writes) -> Option<usize> {
    match writes {
        Writes::Event | Writes::Coalesce => None,
        Writes::Bytewise => (bytes.len() > 1).then_some(1),
        // After the first byte of a character of several: 0b11xxxxxx.
        Writes::SplitUtf8 => bytes
            .iter()
            .position(|byte| *byte >= 0b1100_0000)
            .map(|at| at + 1)
            .filter(|at| *at < bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &'static str, writes: Writes) -> Vec<Piece> {
        let mut pieces = VecDeque::new();
        cut_up(Bytes::from_static(text.as_bytes()), 1, writes, &mut pieces);
        pieces.into()
    }

    #[test]
    fn cuts_fall_inside_characters_and_lose_nothing() {
        let text = "a ü 世 🚆 z";
        for writes in [Writes::Event, Writes::SplitUtf8, Writes::Bytewise] {
            let pieces = pieces(text, writes);
            let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
            assert_eq!(joined, text.as_bytes());
            assert_eq!(pieces.iter().map(|piece| piece.tokens).sum::<u64>(), 1);
            assert_eq!(pieces.last().map(|piece| piece.tokens), Some(1));
        }
        let split = pieces(text, Writes::SplitUtf8);
        assert_eq!(split.len(), 4);
        assert!(
            split
                .iter()
                .all(|piece| std::str::from_utf8(&piece.bytes).is_err())
        );
        assert_eq!(pieces(text, Writes::Bytewise).len(), text.len());
    }
}
