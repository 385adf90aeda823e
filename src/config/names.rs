//! What a name may be: of a model, an engine, an environment variable, a customer; and an engine's and a receiver's
//! address.
//!
//! Each rule gives the message that says what to write instead. None repeats what could be a secret.

use super::fault::quoted;
use url::Url;

/// Bytes of a model's name. It is in every ledger entry, metric and log line.
const MODEL_NAME_BYTES: usize = 200;
/// Bytes of the other names.
const NAME_BYTES: usize = 100;
/// Bytes of what an engine calls a model: for some it is a path.
const SERVED_NAME_BYTES: usize = 1000;
/// Bytes of a file's path.
const PATH_BYTES: usize = 4000;

/// A model's id or alias: printable ASCII without a space, so that it passes through URLs, headers and logs.
pub(super) fn model(text: &str) -> Result<String, String> {
    let holds =
        !text.is_empty() && text.len() <= MODEL_NAME_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
    if holds {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a model's name is 1 to {MODEL_NAME_BYTES} printable ASCII characters without spaces, not {}",
        quoted(text)
    ))
}

/// An engine's name: it is a metric's label.
pub(super) fn engine(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "an engine's name is 1 to {NAME_BYTES} of a-z, 0-9, `.`, `_` and `-`, not {}",
        quoted(text)
    ))
}

/// What an engine calls a model.
pub(super) fn served(text: &str) -> Result<String, String> {
    let holds = !text.is_empty() && text.len() <= SERVED_NAME_BYTES && !text.chars().any(char::is_control);
    if holds {
        return Ok(text.to_owned());
    }
    Err(format!(
        "what an engine calls a model is 1 to {SERVED_NAME_BYTES} bytes without control characters"
    ))
}

/// The path of a file.
pub(super) fn path(text: &str) -> Result<String, String> {
    let holds = !text.is_empty() && text.len() <= PATH_BYTES && !text.chars().any(char::is_control);
    if holds {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a path is 1 to {PATH_BYTES} bytes without control characters"
    ))
}

/// The name of an environment variable. What is there instead may be the key itself, so it is not shown.
pub(super) fn environment_variable(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let holds = text.len() <= NAME_BYTES
        && text.bytes().all(allowed)
        && text.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if holds {
        return Ok(text.to_owned());
    }
    let message = "expected the name of the environment variable that holds the key, such as VLLM_A_KEY \
                   (letters, digits and `_`), not the key itself";
    Err(message.to_owned())
}

/// An engine's base URL, without the slash at its end. Read by the same crate that the HTTP client reads it with,
/// so that what is accepted here is accepted there.
pub(super) fn url(text: &str) -> Result<String, String> {
    let refuse = |message: &str| Err(message.to_owned());
    // Where a URL carries a secret it is there, so it is looked for first and nothing is repeated.
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    if authority
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|host| host.contains('@'))
    {
        return refuse("an engine's URL has no user and password; name the key's variable in `api_key_env`");
    }
    if text.contains(['?', '#']) {
        return refuse("an engine's URL has no query and no fragment; paths are put at its end");
    }
    if !(text.starts_with("http://") || text.starts_with("https://")) {
        return Err(format!(
            "an engine's URL begins with http:// or https://, unlike {}",
            quoted(text)
        ));
    }
    let odd = |character: char| character.is_control() || character.is_whitespace() || character == '\\';
    if text.contains(odd) {
        return Err(format!(
            "spaces, control characters and `\\` have no place in a URL: {}",
            quoted(text)
        ));
    }
    let parsed = Url::parse(text).map_err(|error| format!("not a URL: {error}: {}", quoted(text)))?;
    if parsed.port() == Some(0) {
        return refuse("port 0 is nobody's port");
    }
    let base = parsed.as_str().trim_end_matches('/');
    if let Some(root) = base.strip_suffix("/v1") {
        return Err(format!(
            "leave out the `/v1`, farebox adds it: {}",
            quoted(root.trim_end_matches('/'))
        ));
    }
    Ok(base.to_owned())
}

/// The URL that an export posts to, whole. It may have a query; what is not shown in faults is what could be a secret.
pub(super) fn receiver_url(text: &str) -> Result<String, String> {
    let refuse = |message: &str| Err(message.to_owned());
    if !(text.starts_with("http://") || text.starts_with("https://")) {
        return refuse("the receiver's URL begins with http:// or https://");
    }
    let odd = |character: char| character.is_control() || character.is_whitespace() || character == '\\';
    if text.contains(odd) {
        return refuse("spaces, control characters and `\\` have no place in a URL");
    }
    let parsed = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return refuse(
            "the receiver's URL has no user and password; name the key's variable in `api_key_env`",
        );
    }
    if parsed.fragment().is_some() {
        return refuse("the receiver's URL has no fragment");
    }
    if parsed.port() == Some(0) {
        return refuse("port 0 is nobody's port");
    }
    Ok(parsed.into())
}

/// The `source` of CloudEvents. CloudEvents 1.0: a URI reference that is not empty.
pub(super) fn event_source(text: &str) -> Result<String, String> {
    let holds = !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
    if holds {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a source is 1 to {NAME_BYTES} printable ASCII characters without spaces, not {}",
        quoted(text)
    ))
}

/// An account's id, or what a receiver calls it.
pub(super) fn of_a_customer(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= MODEL_NAME_BYTES && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "this is 1 to {MODEL_NAME_BYTES} bytes without control characters"
    ))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop on a fault")]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_the_client_will_take_it() {
        for (text, taken) in [
            ("http://10.0.0.4:8000", "http://10.0.0.4:8000"),
            ("http://10.0.0.4:8000/", "http://10.0.0.4:8000"),
            ("https://Engines.Example/a/", "https://engines.example/a"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("https://engines.example/v1/a", "https://engines.example/v1/a"),
        ] {
            assert_eq!(url(text).as_deref(), Ok(taken));
        }
    }

    #[test]
    fn an_address_that_is_refused_says_what_to_write() {
        for (text, says) in [
            (
                "http://10.0.0.4:8000/v1",
                "farebox adds it: `http://10.0.0.4:8000`",
            ),
            (
                "http://10.0.0.4:8000/v1/",
                "farebox adds it: `http://10.0.0.4:8000`",
            ),
            ("10.0.0.4:8000", "begins with http://"),
            ("ftp://10.0.0.4", "begins with http://"),
            ("HTTP:/10.0.0.4", "begins with http://"),
            ("http://", "not a URL"),
            ("http://:8000", "not a URL"),
            ("http://host:99999", "not a URL"),
            ("http://host:0", "port 0"),
            ("http://a b", "spaces"),
            ("http://a\\b", "no place in a URL"),
            ("http://host/?key=s3cret", "no query"),
            ("http://host/#s3cret", "no fragment"),
            ("http://user:s3cret@host", "api_key_env"),
            ("https://s3cret@host/v1?x", "api_key_env"),
            ("s3cret@host", "api_key_env"),
        ] {
            let message = url(text).unwrap_err();
            assert!(message.contains(says), "{text}: {message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn a_key_in_place_of_its_variable_is_not_shown() {
        for text in ["sk-s3cret", "", "1s3cret", "A B", "s3cret\n"] {
            assert!(!environment_variable(text).unwrap_err().contains("s3cret"));
        }
        assert_eq!(environment_variable("_KEY_2").as_deref(), Ok("_KEY_2"));
    }

    #[test]
    fn names_have_bounds() {
        assert!(model(&"m".repeat(200)).is_ok() && model(&"m".repeat(201)).is_err());
        assert!(model("org/Model-3.3:tag").is_ok());
        for text in ["", "a b", "a\tb", "modèle", "a\u{7f}"] {
            assert!(model(text).is_err(), "{text:?}");
        }
        assert!(engine("vllm-a_1.b").is_ok());
        for text in ["", "VLLM", "a/b", "a b", "ä"] {
            assert!(engine(text).is_err(), "{text:?}");
        }
        assert!(served("/models/SmolLM2 135M.gguf").is_ok() && served("a\nb").is_err());
    }
}
