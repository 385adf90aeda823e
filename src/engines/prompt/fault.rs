//! Why a tokenizer or a template is of no use.

use std::io;

/// What is wrong with a file, named first.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct PromptFault {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub cause: Cause,
    /// Whether it is about the template, and not about the tokenizer.
    pub about_template: bool,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is longer than any.
    #[error("the file is longer than {} MiB", .0 >> 20)]
    TooLong(u64),
    /// It is not a tokenizer.
    #[error("not a tokenizer.json of Hugging Face's tokenizers: {0}")]
    NotATokenizer(String),
    /// The file beside the tokenizer is not what its name says.
    #[error("not a tokenizer_config.json: {0}")]
    NotAConfig(serde_json::Error),
    /// It is not UTF-8.
    #[error("the file is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// It is not Jinja.
    #[error("not a chat template: {0}")]
    NotATemplate(String),
    /// It fails on the simplest chat.
    #[error("the template fails on a chat of one user message: {0}")]
    Fails(String),
    /// It writes a token that nobody names.
    #[error(
        "the template writes `{0}`, and no file says which token that is: put the model's tokenizer_config.json \
         beside its tokenizer.json"
    )]
    UnknownToken(&'static str),
}
