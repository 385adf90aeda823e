//! A request's prompt as routing sees it, and whom it may share a cache with.

use crate::engines::prompt::Tokens;
use crate::engines::registry::ServedModel;
use crate::pipeline::request::InferenceRequest;
use farebox_domain::catalog::{CacheSharing, Task};
use farebox_domain::ids::AccountId;
use farebox_routing::{Prompt, namespace};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of the salt's hash that an engine is sent.
const SALT_BYTES: usize = 16;

/// The prompt, where the model is routed by it: as text, and as `tokens` where they are known and an engine tells what it holds
/// of those.
pub(in crate::pipeline) fn prompt_of(
    served: &ServedModel,
    request: &InferenceRequest,
    tokens: &Tokens,
) -> Option<Arc<Prompt>> {
    let prefix = served.prefix.as_ref()?;
    let text = &request.body[request.prompt_range.clone()];
    let count = tokens.count.unwrap_or_else(|| prefix.tokens_of(text.len()));
    let salt = match &request.cache_salt {
        Some(salt) => Some(Cow::from(salt)),
        None => clients_salt(request),
    };
    let adapter = served.model.adapter.as_ref();
    let namespace = namespace(adapter.map(|adapter| adapter.name.as_str()), salt.as_deref());
    // What an embedding's engine has read it does not keep.
    let kept = if served.model.task == Task::Embedding {
        &text[..0]
    } else {
        text
    };
    let heads = request
        .head_ranges
        .iter()
        .map(|range| &request.body[range.clone()]);
    let mut prompt = Prompt::of_text(namespace, heads.chain([kept]), count);
    if let Some(ids) = &tokens.ids
        && !kept.is_empty()
    {
        for block_size in served.block_sizes() {
            prompt = prompt.with_tokens(namespace, ids, block_size);
        }
    }
    if let Some(key) = request.cache_key_range.clone() {
        prompt = prompt.with_cache_key(&request.body[key]);
    }
    Some(Arc::new(prompt))
}

/// The salt that keeps an account's prompts apart in an engine's cache; the client's own is mixed in. `None` where the model's
/// cache is everybody's.
pub(in crate::pipeline) fn salt_of(
    served: &ServedModel,
    account: &AccountId,
    request: &InferenceRequest,
) -> Option<String> {
    if served.model.cache_sharing == CacheSharing::Everybody {
        return None;
    }
    let own = request
        .cache_salt_range
        .clone()
        .and_then(|range| text_at(request, range));
    let mut hash = Sha256::new();
    for part in [account.as_str(), own.unwrap_or_default()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    Some(hex::encode(&hash.finalize()[..SALT_BYTES]))
}

/// The client's own `cache_salt`, as its engine reads it; as it is written, if that is no text.
fn clients_salt(request: &InferenceRequest) -> Option<Cow<'_, str>> {
    let written = text_at(request, request.cache_salt_range.clone()?)?;
    let read = serde_json::from_str::<Option<String>>(written);
    read.map_or(Some(Cow::from(written)), |salt| salt.map(Cow::from))
}

fn text_at(request: &InferenceRequest, range: std::ops::Range<usize>) -> Option<&str> {
    std::str::from_utf8(request.body.get(range)?).ok()
}
