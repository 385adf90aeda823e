//! How many tokens a prompt has, and which, before an engine has seen it: with the model's own tokenizer and chat template.
//!
//! - `files`: the counters of all models, each fault at the line of models.yaml that names the file
//! - `chat`: a chat's request as the variables of a template, the way its engine reads it
//! - `texts`: a completion's or an embedding's
//! - `template`, `json`: the template in the dialect that Hugging Face's are written in
//! - `special`: the names of the special tokens that a template may write
//! - `fault`: why a file is of no use
//!
//! An answer is exact or there is none: where a count cannot be known (images, audio, a template that refuses), the
//! caller falls back on a bound. What is known to differ between engines is in docs/adr/0009.
//!
//! Work is bounded: a body or a rendered prompt above [`COUNTED_BYTES_AT_MOST`] is not counted, and a template has so
//! much fuel. It is CPU work all the same, and takes some 150 bytes of memory for each byte of text while it lasts:
//! whoever counts more than [`QUICK_BYTES_AT_MOST`] does it where nobody else waits, and not many at once.

mod files;
mod chat;
mod texts;
mod template;
mod json;
mod special;
mod fault;
#[cfg(test)]
mod tests;

pub use fault::PromptFault;
pub use files::{PromptCounters, counter_of, load_all};

use crate::clock::Clock;
use chat::{ChatBody, Convention};
use farebox_domain::catalog::{EngineKind, PromptFiles};
use farebox_domain::ledger::Endpoint;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use template::ChatTemplate;
use texts::{TextBody, Texts};
use tokenizers::Tokenizer;

/// The longest body that is counted, and the longest text that a template may make of one. A quarter of a million
/// tokens of English are about as long. It takes up to a second, and 150 MiB.
pub const COUNTED_BYTES_AT_MOST: usize = 1 << 20;

/// A body of this length is counted in milliseconds: on an asynchronous worker, no more than that.
pub const QUICK_BYTES_AT_MOST: usize = 16 << 10;

/// Counts a model's tokens. Shared by every request.
pub struct PromptCounter {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// How the engines that serve the model read a request; at least one.
    conventions: BTreeSet<Convention>,
    /// [`COUNTED_BYTES_AT_MOST`], but for a test.
    bytes_at_most: usize,
}

impl fmt::Debug for PromptCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptCounter")
            .field("chat_template", &self.template.is_some())
            .field("conventions", &self.conventions)
            .finish_non_exhaustive()
    }
}

/// What is known of a prompt's tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// How many they are.
    pub count: Option<u64>,
    /// Which, as vLLM and SGLang read the request: where it has one prompt.
    pub ids: Option<Vec<u32>>,
}

impl PromptCounter {
    /// Reads the files, and tries the template on one message. `kinds` are the engines that serve the model: where
    /// they read a request differently, the highest count is given. `clock` is for templates that write the date.
    pub fn load(
        files: &PromptFiles,
        kinds: impl IntoIterator<Item = EngineKind>,
        clock: &Clock,
    ) -> Result<Self, PromptFault> {
        let mut conventions: BTreeSet<Convention> = kinds.into_iter().map(Convention::of).collect();
        if conventions.is_empty() {
            conventions.insert(Convention::Transformers);
        }
        Ok(Self {
            tokenizer: files::read_tokenizer(files.tokenizer.as_ref())?,
            template: files::read_template(files, clock)?,
            conventions,
            bytes_at_most: COUNTED_BYTES_AT_MOST,
        })
    }

    /// The prompt tokens of a request by any route.
    pub fn count(&self, endpoint: Endpoint, body: &[u8]) -> Option<u64> {
        self.read(endpoint, body).count
    }

    /// The same, and which they are.
    pub fn read(&self, endpoint: Endpoint, body: &[u8]) -> Tokens {
        match endpoint {
            Endpoint::ChatCompletions => self.read_chat(body),
            Endpoint::Completions => self.read_texts(body, "prompt"),
            Endpoint::Embeddings => self.read_texts(body, "input"),
        }
        .unwrap_or_default()
    }

    /// Of a chat's whole request body. None without a template, and where it cannot be known.
    fn read_chat(&self, body: &[u8]) -> Option<Tokens> {
        let template = self.template.as_ref()?;
        if body.len() > self.bytes_at_most {
            return None;
        }
        unharmed(|| {
            let body: ChatBody = serde_json::from_slice(body).ok()?;
            let mut read = Tokens {
                count: Some(0),
                ids: None,
            };
            for &convention in &self.conventions {
                let ids = body
                    .variables(convention, template)
                    .and_then(|variables| template.render(variables).ok())
                    .and_then(|text| self.ids(&text, body.adds_special_tokens()));
                // None of one engine is None of all: any of them may be the one that serves it.
                let count = ids.as_ref().and_then(|ids| u64::try_from(ids.len()).ok());
                read.count = read.count.zip(count).map(|(most, count)| most.max(count));
                if convention == Convention::Transformers {
                    read.ids = ids;
                }
            }
            Some(read)
        })
    }

    /// Of `prompt` (a completion's) or `input` (an embedding's) in a whole request body, over all of its texts or token
    /// lists, with the special tokens that an engine adds to a text.
    fn read_texts(&self, body: &[u8], field: &str) -> Option<Tokens> {
        if body.len() > self.bytes_at_most {
            return None;
        }
        unharmed(|| {
            let body: TextBody<'_> = serde_json::from_slice(body).ok()?;
            let mut prompts = match body.texts(field)? {
                Texts::Tokens(tokens) => vec![tokens],
                Texts::TokenLists(lists) => lists,
                Texts::Text(text) => vec![self.ids(&text, true)?],
                Texts::List(texts) => texts
                    .iter()
                    .map(|text| self.ids(text, true))
                    .collect::<Option<_>>()?,
            };
            Some(Tokens {
                count: sum(prompts.iter().map(|ids| u64::try_from(ids.len()).ok())),
                ids: if prompts.len() == 1 { prompts.pop() } else { None },
            })
        })
    }

    /// The tokens of a text that a model produced, without special tokens. What the tokenizer cannot take counts as
    /// nothing, so that nobody pays for it. A text above [`COUNTED_BYTES_AT_MOST`] is counted in pieces, whose seams
    /// may cost a token each.
    pub fn count_text(&self, text: &str) -> u64 {
        let mut rest = text;
        let mut count = 0_u64;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(self.bytes_at_most));
            let tokens = unharmed(|| self.ids(piece, false)).unwrap_or_default();
            count = count.saturating_add(u64::try_from(tokens.len()).unwrap_or(u64::MAX));
            rest = after;
        }
        count
    }

    fn ids(&self, text: &str, special: bool) -> Option<Vec<u32>> {
        if text.len() > self.bytes_at_most {
            return None;
        }
        let encoding = self.tokenizer.encode_fast(text, special).ok()?;
        Some(encoding.get_ids().to_vec())
    }
}

fn sum(mut counts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    counts.try_fold(0_u64, |sum, count| sum.checked_add(count?))
}

/// The tokenizer's crate has `expect`s of its own. A request is not worth less for one of them: its count is unknown.
fn unharmed<T>(count: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(count)).ok().flatten()
}
