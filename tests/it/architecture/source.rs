//! Which paths a Rust file names: in `use` trees, in `extern crate`, and inline in its code.
//!
//! Read by hand rather than with a parser of Rust, which would not look into macros. Comments and literals are
//! blanked first, so that what they mention is not taken for a use.

/// A path that a file names, resolved: `crate::...` for the gateway's own modules, the crate's name for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The segments, for example `["crate", "http", "error"]`.
    pub(super) segments: Vec<String>,
    /// The line, from 1.
    pub(super) line: usize,
    /// Whether it stands in a `use` or an `extern crate`.
    pub(super) imported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_name(&self) -> bool {
        self.text
            .starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// Every path that the text names; `module` is where the file stands, for example `["http", "error"]`.
pub(super) fn paths(text: &str, module: &[String]) -> Vec<Named> {
    let code = without_comments_and_literals(text);
    let tokens = tokens(&code);
    let mut inline_modules: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let here = || {
            module
                .iter()
                .chain(inline_modules.iter().map(|(name, _)| name))
                .cloned()
                .collect::<Vec<_>>()
        };
        let before = |back: usize| {
            at.checked_sub(back)
                .and_then(|index| tokens.get(index))
                .map(|token| token.text)
        };
        match token.text {
            "{" => {
                if before(2) == Some("mod") {
                    inline_modules.push((tokens[at - 1].text.to_owned(), depth));
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                inline_modules.retain(|&(_, opened_at)| opened_at < depth);
            }
            // `impl Trait + use<'a>` names no path.
            "use" if tokens.get(at + 1).is_none_or(|next| next.text != "<") => {
                let (next, trees) = use_tree(&tokens, at + 1, &[]);
                found.extend(
                    trees
                        .into_iter()
                        .map(|(path, line)| named(&path, line, true, &here())),
                );
                at = next;
                continue;
            }
            "extern" if tokens.get(at + 1).is_some_and(|next| next.text == "crate") => {
                let crate_name = tokens.get(at + 2).filter(|name| name.is_name());
                found.extend(crate_name.map(|name| named(&[name.text], name.line, true, &here())));
                at += 3;
                continue;
            }
            _ => {
                let goes_on = tokens.get(at + 1).is_some_and(|next| next.text == "::");
                if token.is_name() && goes_on {
                    let (next, path) = inline_path(&tokens, at);
                    // Behind a `::` it is the end of something else, such as `Vec::<T>::new`.
                    let is_start = before(1) != Some("::") || !before(2).is_some_and(ends_a_path);
                    if is_start {
                        found.push(named(&path, token.line, false, &here()));
                    }
                    at = next;
                    continue;
                }
            }
        }
        at += 1;
    }
    found
}

fn ends_a_path(text: &str) -> bool {
    text == ">" || text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

/// Resolves `self`, `super` and the package's own name.
fn named(path: &[&str], line: usize, imported: bool, module: &[String]) -> Named {
    let mut base: Vec<String> = Vec::new();
    let mut rest = path;
    match path.first().copied() {
        Some("farebox") => {
            base.push("crate".to_owned());
            rest = &path[1..];
        }
        Some("self" | "super") => {
            let mut standing = module.to_vec();
            while let Some("self" | "super") = rest.first().copied() {
                if rest[0] == "super" {
                    standing.pop();
                }
                rest = &rest[1..];
            }
            base.push("crate".to_owned());
            base.extend(standing);
        }
        _ => {}
    }
    base.extend(rest.iter().map(|&segment| segment.to_owned()));
    Named {
        segments: base,
        line,
        imported,
    }
}

/// `a::b::c` from its first name; gives where it ends.
fn inline_path<'a>(tokens: &[Token<'a>], start: usize) -> (usize, Vec<&'a str>) {
    let mut path = vec![tokens[start].text];
    let mut at = start + 1;
    while tokens.get(at).is_some_and(|token| token.text == "::") {
        match tokens.get(at + 1) {
            Some(name) if name.is_name() => path.push(name.text),
            _ => break,
        }
        at += 2;
    }
    (at, path)
}

/// A use tree: `a::{b, c::d as e, f::*}` is three paths. Gives where it ends, and each path with its line.
fn use_tree<'a>(
    tokens: &[Token<'a>],
    start: usize,
    prefix: &[&'a str],
) -> (usize, Vec<(Vec<&'a str>, usize)>) {
    let mut path = prefix.to_vec();
    let mut at = start;
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" => {}
            "{" => {
                let mut found = Vec::new();
                at += 1;
                while tokens
                    .get(at)
                    .is_some_and(|token| !matches!(token.text, "}" | ";"))
                {
                    let (next, below) = use_tree(tokens, at, &path);
                    found.extend(below);
                    at = next + usize::from(tokens.get(next).is_some_and(|token| token.text == ","));
                }
                return (at + 1, found);
            }
            "as" => at += 1,
            "self" if !path.is_empty() => {}
            "," | "}" | ";" => break,
            name => {
                line = token.line;
                path.push(name);
            }
        }
        at += 1;
    }
    // What cannot be a use tree ends the file, not the reading.
    let found = if path.len() > prefix.len() || at > start {
        vec![(path, line)]
    } else {
        Vec::new()
    };
    (at.max(start + usize::from(at == start)), found)
}

/// Names, `::` and single characters.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        let len = if is_name(first) {
            rest.find(|character| !is_name(character)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(len);
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            found.push(Token { text, line });
        }
        rest = after;
    }
    found
}

/// The same text with a space for every character of a comment, a string or a character.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_name = code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(len) = raw_string(rest).filter(|_| !after_name) {
            len
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            0
        };
        if len == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (blanked, after) = rest.split_at(len);
            code.extend(
                blanked
                    .chars()
                    .map(|character| if character == '\n' { '\n' } else { ' ' }),
            );
            rest = after;
        }
    }
    code
}

/// Block comments hold block comments.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a raw string that the text begins with: `r"..."`, `br#"..."#`.
fn raw_string(text: &str) -> Option<usize> {
    let opened = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = opened.len() - opened.trim_start_matches('#').len();
    let body = opened[hashes..].strip_prefix('"')?;
    let begins = text.len() - body.len();
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(text.len(), |at| begins + at + end.len()))
}

/// The length of a literal that the text begins with, escapes in it passed over.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// Whether a quote begins a character and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}
