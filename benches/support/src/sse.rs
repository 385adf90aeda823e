//! Counts the events of a stream and knows whether it ended as OpenAI's do.

use memchr::memmem;

/// What a complete stream ends with.
const END: &[u8] = b"data: [DONE]\n\n";

/// Fed a stream's body in any pieces.
#[derive(Default)]
pub struct EventCount {
    tail: Vec<u8>,
}

impl EventCount {
    /// How many events ended within `piece`.
    pub fn feed(&mut self, piece: &[u8]) -> u64 {
        let split_across = self.tail.last() == Some(&b'\n') && piece.first() == Some(&b'\n');
        let within = memmem::find_iter(piece, b"\n\n").count();
        let kept_from = piece.len().saturating_sub(END.len());
        self.tail.extend_from_slice(&piece[kept_from..]);
        let too_long = self.tail.len().saturating_sub(END.len());
        self.tail.drain(..too_long);
        u64::try_from(within).unwrap_or(u64::MAX) + u64::from(split_across)
    }

    /// Whether the last event was `[DONE]`.
    pub fn complete(&self) -> bool {
        self.tail == END
    }
}
