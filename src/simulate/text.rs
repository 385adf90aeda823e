//! What the engine says: words that follow from the seed and the prompt, or a fixed text (JSON) piece by piece.

use std::sync::Arc;

use super::tokens::{pieces, scatter};

/// One token of output, as text and as the inside of a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) json: &'a str,
}

/// A word that is the same in text and in JSON.
const fn plain(text: &'static str) -> Token<'static> {
    Token { text, json: text }
}

/// The vocabulary. Two, three and four byte characters are in it, and what JSON must escape.
const WORDS: [Token<'static>; 40] = [
    plain(" the"),
    plain(" of"),
    plain(" and"),
    plain(" a"),
    plain(" to"),
    plain(" in"),
    plain(" train"),
    plain(" station"),
    plain(" ticket"),
    plain(" fare"),
    plain(" line"),
    plain(" river"),
    plain(" window"),
    plain(" morning"),
    plain(" slowly"),
    plain(" arrives"),
    plain(" leaves"),
    plain(" because"),
    plain(" without"),
    plain(" again"),
    plain(" seven"),
    plain(" quiet"),
    plain(" green"),
    plain(" is"),
    plain(" was"),
    plain(","),
    plain("."),
    plain(" ("),
    plain(")"),
    plain(" café"),
    plain(" Straße"),
    plain(" naïve"),
    plain(" señor"),
    plain("世界"),
    plain("列車"),
    plain(" поезд"),
    plain(" 🚆"),
    plain(" 👩‍🚀"),
    Token {
        text: " \"stop\"",
        json: " \\\"stop\\\"",
    },
    Token {
        text: "\n",
        json: "\\n",
    },
];

/// The word that a number picks.
pub(super) fn word(number: u64) -> Token<'static> {
    let index = usize::try_from(number % WORDS.len() as u64).unwrap_or(0);
    WORDS[index]
}

/// A text that is given out token by token.
#[derive(Debug)]
pub(super) struct Fixed {
    tokens: Vec<(String, String)>,
}

impl Fixed {
    pub(super) fn new(text: &str) -> Fixed {
        let tokens = pieces(text)
            .map(|piece| (piece.to_owned(), escape(piece)))
            .collect();
        Fixed { tokens }
    }

    pub(super) fn len(&self) -> u64 {
        self.tokens.len() as u64
    }
}

/// Where a choice's tokens come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Words without end.
    Words {
        /// Decides the words to come.
        state: u64,
    },
    /// A fixed text, from its `next` token on.
    Fixed {
        /// The text, which all choices share.
        text: Arc<Fixed>,
        /// Index of the next token.
        next: usize,
    },
}

impl Source {
    /// The next token; empty once a fixed text is over.
    pub(super) fn next(&mut self) -> Token<'_> {
        match self {
            Source::Words { state } => {
                *state = scatter(*state);
                word(*state >> 8)
            }
            Source::Fixed { text, next } => {
                *next += 1;
                text.tokens
                    .get(*next - 1)
                    .map_or(plain(""), |(text, json)| Token { text, json })
            }
        }
    }
}

/// `text` as it stands between the quotes of a JSON string.
pub(super) fn escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_every_word_is_its_text_escaped() {
        for token in WORDS {
            assert_eq!(escape(token.text), token.json);
        }
    }

    #[test]
    fn words_follow_from_the_state_and_reach_every_width() {
        let say = |state| {
            let mut source = Source::Words { state };
            (0..400)
                .map(|_| source.next().text.to_owned())
                .collect::<String>()
        };
        assert_eq!(say(7), say(7));
        assert_ne!(say(7), say(8));
        for width in 1..=4 {
            assert!(say(7).chars().any(|character| character.len_utf8() == width));
        }
    }

    #[test]
    fn a_fixed_text_comes_out_whole() {
        let text = Arc::new(Fixed::new("{\"a\":\"ü\"}"));
        let length = text.len();
        let mut source = Source::Fixed { text, next: 0 };
        let said: String = (0..length).map(|_| source.next().text.to_owned()).collect();
        assert_eq!(said, "{\"a\":\"ü\"}");
        assert_eq!(source.next().text, "");
    }
}
