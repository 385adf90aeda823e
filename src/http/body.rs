//! A request's body: bounded, timed, unpacked.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use farebox_domain::refusal::Refusal;
use flate2::bufread::MultiGzDecoder;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::io::Read as _;
use std::time::Duration;

/// Above this a body is unpacked on a thread of its own.
const INLINE_GZIP_BYTES: usize = 64 << 10;

/// Bytes of a refused body that are read and thrown away, and how long that may take.
const DISCARD_LIMIT_BYTES: usize = 64 << 20;
const DISCARD_WITHIN: Duration = Duration::from_secs(5);

/// Reads what is left of a refused request's body, within bounds. A connection that is closed while the client still
/// sends is reset, and the reset takes the answer with it: the client would see a broken connection, and retry it.
pub async fn discard(headers: &HeaderMap, body: &mut Body) {
    if headers.contains_key(header::EXPECT) {
        // It waits to be told to send, and will not be.
        return;
    }
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_LIMIT_BYTES {
                return;
            }
        }
    };
    // A client that takes longer sees what it sees.
    let _ = tokio::time::timeout(DISCARD_WITHIN, reading).await;
}

/// Reads the whole body. `limit_bytes` holds before and after unpacking.
pub async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    limit_bytes: usize,
    within: Duration,
) -> Result<Bytes, Refusal> {
    check_content_type(headers)?;
    let gzipped = is_gzip(headers)?;
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > u64::try_from(limit_bytes).unwrap_or(u64::MAX)) {
        return Err(Refusal::RequestTooLarge { limit_bytes });
    }
    let collected = tokio::time::timeout(within, Limited::new(body, limit_bytes).collect()).await;
    let bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(fault)) if fault.is::<LengthLimitError>() => {
            return Err(Refusal::RequestTooLarge { limit_bytes });
        }
        Ok(Err(_)) => {
            return Err(Refusal::invalid(
                "the body broke off before its end; send it again",
                None,
            ));
        }
        Err(_) => return Err(Refusal::RequestTimeout(within)),
    };
    match gzipped {
        false => Ok(bytes),
        true if bytes.len() <= INLINE_GZIP_BYTES => unpack(&bytes, limit_bytes),
        true => {
            let unpacking = tokio::task::spawn_blocking(move || unpack(&bytes, limit_bytes));
            unpacking.await.unwrap_or_else(|_| Err(not_gzip()))
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let text = value.to_str().unwrap_or("something unreadable");
    let essence = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        Ok(())
    } else {
        Err(Refusal::UnsupportedMediaType(text.chars().take(100).collect()))
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(false);
    };
    let text = value.to_str().unwrap_or("something unreadable");
    match text.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Ok(true),
        "identity" | "" => Ok(false),
        _ => {
            let shown: String = text.chars().take(40).collect();
            let message = format!("the content-encoding `{shown}` is not understood: send gzip, or none");
            Err(Refusal::invalid(message, Some("content-encoding".into())))
        }
    }
}

fn not_gzip() -> Refusal {
    Refusal::invalid(
        "the body is not the gzip that content-encoding says it is",
        Some("content-encoding".into()),
    )
}

fn unpack(packed: &[u8], limit_bytes: usize) -> Result<Bytes, Refusal> {
    let most = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(packed)
        .take(most)
        .read_to_end(&mut unpacked)
        .map_err(|_| not_gzip())?;
    if unpacked.len() > limit_bytes {
        Err(Refusal::RequestTooLarge { limit_bytes })
    } else {
        Ok(unpacked.into())
    }
}
