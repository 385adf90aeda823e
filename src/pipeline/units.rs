//! What a request uses that is not a token: measured only where its model is sold by it, so that the others pay for no
//! measuring and their entries stay small.
//!
//! Images and characters are counted in the request, before it is let in. Engine time is the time from the call to the
//! engine that answered until the end. Sound is what the engine says it has heard; nothing is guessed where it does not.

use crate::config::Timeouts;
use crate::pipeline::in_flight::{Live, Progress};
use crate::pipeline::request::InferenceRequest;
use farebox_domain::decimal;
use farebox_domain::ledger::Endpoint;
use farebox_domain::price::Price;
use farebox_domain::refusal::Refusal;
use farebox_domain::units::Units;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;

/// Between the moment at which a request has had its time, and its settlement.
const ENDING: Duration = Duration::from_secs(1);

/// The most that a request can use: its images and characters, which are counted now, and the longest that an engine may
/// take. How long its sound is nobody knows before the engine does, so that is not bounded. A request that cannot be
/// counted is refused, not given away.
pub(in crate::pipeline) fn bound(
    request: &InferenceRequest,
    price: &Price,
    timeouts: Timeouts,
) -> Result<Units, Refusal> {
    let mut units = Units::default();
    if price.per_engine_second.is_some() {
        let longest = if request.stream {
            timeouts.total
        } else {
            timeouts.whole_answer
        };
        units.engine_ms = milliseconds(longest.saturating_add(ENDING));
    }
    if price.per_image.is_some() || price.per_million_characters.is_some() {
        let counted = count(request)?;
        units.images = price.per_image.map_or(0, |_| counted.images);
        if price.per_million_characters.is_some() {
            units.characters = counted.characters.ok_or_else(|| {
                let field = prompt_field(request.endpoint);
                let message = format!(
                    "this model is priced by the character, and tokens have none: send `{field}` as text"
                );
                Refusal::invalid(message, Some(field.into()))
            })?;
        }
    }
    Ok(units)
}

/// What an answered request has used until now. `progress` is `live`'s.
pub(in crate::pipeline) fn used(live: &Live, progress: &Progress, now: Instant) -> Units {
    let price = &live.price.price;
    let called = progress.called_at.filter(|_| price.per_engine_second.is_some());
    let usage = progress
        .usage
        .as_deref()
        .filter(|_| price.per_audio_second.is_some());
    Units {
        engine_ms: called.map_or(0, |at| milliseconds(now.saturating_duration_since(at))),
        audio_ms: usage.and_then(audio_ms).unwrap_or(0),
        ..live.bounds.units
    }
}

/// Whole milliseconds; what is begun of one is not counted.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a prompt has.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    images: u64,
    /// Unicode scalar values of its texts; `None` where it is tokens.
    characters: Option<u64>,
}

const fn prompt_field(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "messages",
        Endpoint::Completions => "prompt",
        Endpoint::Embeddings => "input",
    }
}

fn count(request: &InferenceRequest) -> Result<Counted, Refusal> {
    let counted = match request.endpoint {
        Endpoint::ChatCompletions => count_messages(&request.body),
        Endpoint::Completions | Endpoint::Embeddings => {
            count_texts(prompt_field(request.endpoint), &request.body)
        }
    };
    counted.map_err(|fault| {
        let field = prompt_field(request.endpoint);
        let text = fault.to_string();
        let what = text.split(" at line ").next().unwrap_or(&text);
        let message = format!("`{field}` cannot be counted, and this model is priced by it: {what}");
        Refusal::invalid(message, Some(field.into()))
    })
}

/// OpenAI API: a message's content is a text, or a list of parts. vLLM also takes a part that is a text by itself, and
/// an image without a type.
fn count_messages(body: &[u8]) -> Result<Counted, serde_json::Error> {
    #[derive(Deserialize)]
    struct Chat<'a> {
        #[serde(borrow)]
        messages: Vec<Message<'a>>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }
    let chat: Chat<'_> = serde_json::from_slice(body)?;
    let (mut images, mut characters) = (0, 0);
    for content in chat.messages.iter().filter_map(|message| message.content) {
        if content.get().starts_with('"') {
            characters += length(content)?;
            continue;
        }
        for part in serde_json::from_str::<Vec<&RawValue>>(content.get())? {
            if part.get().starts_with('"') {
                characters += length(part)?;
                continue;
            }
            let part: Part<'_> = serde_json::from_str(part.get())?;
            images += u64::from(part.is_image());
            characters += part.text.map_or(0, |text| scalars(&text));
        }
    }
    Ok(Counted {
        images,
        characters: Some(characters),
    })
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    image_url: Option<IgnoredAny>,
}

impl Part<'_> {
    /// `image_url`, the Responses API's `input_image`, and whatever else engines call one (`image_embeds`, `image`).
    fn is_image(&self) -> bool {
        match self.kind.as_deref() {
            Some(kind) => kind == "input_image" || kind.starts_with("image"),
            None => self.image_url.is_some(),
        }
    }
}

/// A text, a list of texts, or tokens.
fn count_texts(field: &str, body: &[u8]) -> Result<Counted, serde_json::Error> {
    #[derive(Deserialize)]
    struct Prompts<'a> {
        #[serde(borrow)]
        prompt: Option<&'a RawValue>,
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }
    let read: Prompts<'_> = serde_json::from_slice(body)?;
    let prompts = if field == "input" { read.input } else { read.prompt };
    let mut characters = Some(0);
    let mut add = |text: &RawValue| {
        let own = text.get().starts_with('"').then(|| length(text)).transpose()?;
        characters = characters.zip(own).map(|(sum, own)| sum + own);
        Ok::<_, serde_json::Error>(())
    };
    match prompts {
        Some(list) if list.get().starts_with('[') => {
            for text in serde_json::from_str::<Vec<&RawValue>>(list.get())? {
                add(text)?;
            }
        }
        Some(text) => add(text)?,
        None => {}
    }
    Ok(Counted {
        images: 0,
        characters,
    })
}

/// The length of a JSON string.
fn length(text: &RawValue) -> Result<u64, serde_json::Error> {
    serde_json::from_str::<String>(text.get()).map(|text| scalars(&text))
}

fn scalars(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}

/// How long the sound was, by an engine's `usage`: `seconds` (OpenAI API: transcriptions; vLLM sends the same) or
/// `prompt_audio_seconds` (Mistral's Voxtral). `audio_tokens` is not a length, and is not taken for one.
fn audio_ms(usage: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Audio<'a> {
        #[serde(borrow)]
        seconds: Option<&'a RawValue>,
        #[serde(borrow)]
        audio_seconds: Option<&'a RawValue>,
        #[serde(borrow)]
        prompt_audio_seconds: Option<&'a RawValue>,
    }
    let audio: Audio<'_> = serde_json::from_slice(usage).ok()?;
    [audio.seconds, audio.audio_seconds, audio.prompt_audio_seconds]
        .into_iter()
        .flatten()
        .find_map(|seconds| whole_milliseconds(seconds.get()))
}

/// A JSON number of seconds; what it has beyond milliseconds is not counted. One with an exponent is no length that an
/// engine writes.
fn whole_milliseconds(seconds: &str) -> Option<u64> {
    let kept = match seconds.split_once('.') {
        Some((whole, fraction)) if fraction.is_ascii() => &seconds[..whole.len() + 1 + fraction.len().min(3)],
        _ => seconds,
    };
    let is_decimal = seconds.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    decimal::parse(kept, 3).ok().filter(|_| is_decimal)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;
    use bytes::Bytes;
    use farebox_domain::price::{CharacterPrice, EngineTimePrice, ImagePrice, TokenPrice};

    fn price() -> Price {
        Price {
            per_image: Some(ImagePrice::from_picodollars(1)),
            per_million_characters: Some(CharacterPrice::from_picodollars(1)),
            ..Price::of_tokens(
                TokenPrice::from_picodollars(0),
                None,
                TokenPrice::from_picodollars(0),
            )
        }
    }

    fn counted(endpoint: Endpoint, prompt: &str) -> Result<(u64, u64), String> {
        let body = format!(r#"{{"model":"m","{}":{prompt}}}"#, prompt_field(endpoint));
        let request = InferenceRequest::read(endpoint, Bytes::from(body)).unwrap();
        bound(&request, &price(), Timeouts::default())
            .map(|units| (units.images, units.characters))
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn images_and_characters_are_counted_in_messages() {
        let of = |messages: &str| counted(Endpoint::ChatCompletions, messages);
        assert_eq!(
            of(r#"[{"role":"system","content":"é漢🎉 \u00e9\n"},{"role":"user","content":null}]"#),
            Ok((0, 6))
        );
        let parts = r#"[{"role":"user","content":[
            {"type":"text","text":"what is this"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
            {"type":"input_image","image_url":"https://x"},
            {"image_url":"https://x"},
            "by itself",
            {"type":"input_audio","input_audio":{"data":"AAAA"}}
        ]}]"#;
        assert_eq!(of(parts), Ok((3, 12 + 9)));
        let twice = r#"[{"role":"user","content":[{"type":"text","type":"image_url","text":"x"}]}]"#;
        assert_eq!(
            of(twice),
            Err(
                "`messages` cannot be counted, and this model is priced by it: duplicate field `type`".into()
            ),
            "what cannot be counted is not given away"
        );
    }

    #[test]
    fn characters_are_counted_in_texts_and_tokens_have_none() {
        assert_eq!(counted(Endpoint::Embeddings, r#"["é漢","🎉"]"#), Ok((0, 3)));
        assert_eq!(counted(Endpoint::Completions, r#""\"a\"""#), Ok((0, 3)));
        for tokens in ["[1,2]", "[[1],[2]]"] {
            let refused = counted(Endpoint::Embeddings, tokens).unwrap_err();
            assert!(refused.contains("send `input` as text"), "{refused}");
        }
    }

    #[test]
    fn what_is_not_priced_is_not_measured() {
        let body =
            r#"{"model":"m","stream":true,"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
        let request = InferenceRequest::read(Endpoint::ChatCompletions, Bytes::from(body)).unwrap();
        let of_tokens = Price {
            per_image: None,
            per_million_characters: None,
            ..price()
        };
        let units = |price: &Price| bound(&request, price, Timeouts::default()).unwrap();
        assert!(units(&of_tokens).is_empty());
        let of_time = Price {
            per_engine_second: Some(EngineTimePrice::from_picodollars(0)),
            ..of_tokens
        };
        let total = Timeouts::default().total + ENDING;
        assert_eq!(
            units(&of_time).engine_ms,
            milliseconds(total),
            "a price of nothing is measured"
        );
    }

    #[test]
    fn sound_is_as_long_as_the_engine_says() {
        let of = |usage: &str| audio_ms(usage.as_bytes());
        assert_eq!(of(r#"{"type":"duration","seconds":12.3456}"#), Some(12_345));
        assert_eq!(
            of(r#"{"prompt_audio_seconds":30,"prompt_tokens":150}"#),
            Some(30_000)
        );
        for none in [
            r#"{"prompt_tokens":1,"prompt_tokens_details":{"audio_tokens":9}}"#,
            r#"{"seconds":null}"#,
            r#"{"seconds":-1}"#,
            r#"{"seconds":1e3}"#,
            r#"{"seconds":1.5e3}"#,
            r#"{"seconds":"12"}"#,
            "null",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
