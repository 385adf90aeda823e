//! The nearest word to one that is unknown.

/// Letters that may be wrong, for the suggestion to be one: a third of the word, so none of a word of two.
fn tolerance(word: &str) -> usize {
    (word.chars().count() / 3).min(4)
}

/// `; did you mean ...?` or nothing: a sentence's end.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

/// The nearest of the known words, if one is near. Case, and `-` for `_`, are no difference.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a word of three lines: the distance is quadratic, the words here are short.
    if word.len() > 64 {
        return None;
    }
    let folded = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let wanted = folded(word);
    known
        .into_iter()
        .map(|candidate| (distance(&wanted, &folded(candidate)), candidate))
        .filter(|&(apart, candidate)| apart <= tolerance(candidate))
        .min_by_key(|&(apart, _)| apart)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace or swap with their neighbour (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, &letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != other);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && letter == right[column - 1] && left[row - 1] == other;
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["aliases", "price", "context_length", "url"];

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        for (word, near) in [
            ("prcie", Some("price")),
            ("Price", Some("price")),
            ("context-length", Some("context_length")),
            ("contextlength", Some("context_length")),
            ("alias", Some("aliases")),
            ("uri", Some("url")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, KEYS), near, "{word}");
        }
    }
}
