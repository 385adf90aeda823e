//! Lists that are as long as there are accounts, keys or changes: a page at a time, of those that a search finds.
//!
//! Lists go from the newest to the oldest, so that what is made meanwhile moves no page. A page is read in batches: nothing
//! is held, and nobody kept waiting, for as long as the whole list takes.

use crate::http::admin::error::AdminError;
use crate::http::admin::read::Params;

const DEFAULT_LIMIT: usize = 100;
const LARGEST_LIMIT: usize = 1000;
/// What a search reads at once.
const BATCH: usize = 1000;

/// Which page of a list is asked for: `search`, `limit` and `after`.
#[derive(Debug)]
pub struct PageOf<'a> {
    search: Option<String>,
    /// How many at the most.
    pub limit: usize,
    /// Behind which one it begins: the `next` of the page before.
    pub after: Option<&'a str>,
}

impl<'a> PageOf<'a> {
    /// Reads the three. Errors: a `limit` out of its bounds.
    pub fn read(params: &'a Params) -> Result<Self, AdminError> {
        let search = params.get("search").map(|text| text.trim().to_lowercase());
        Ok(Self {
            search: search.filter(|text| !text.is_empty()),
            limit: read_limit(params)?.unwrap_or(DEFAULT_LIMIT),
            after: params.get("after"),
        })
    }

    /// Whether one of these texts has what is searched for in it, whatever the case of its letters.
    pub fn finds(&self, texts: &[&str]) -> bool {
        let wanted = self.search.as_deref();
        wanted.is_none_or(|wanted| texts.iter().any(|text| contains(text, wanted)))
    }

    /// The page, and whether there are more: of what `read` gives of the list behind a place, so many at the most, those
    /// that are `wanted`.
    pub async fn of<T, Place, Found>(
        &self,
        mut after: Option<Place>,
        mut read: impl FnMut(Option<Place>, usize) -> Found,
        place: impl Fn(&T) -> Place,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<(Vec<T>, bool), AdminError>
    where
        Found: Future<Output = Result<Vec<T>, AdminError>>,
    {
        // One more says whether there is another page.
        let batch = self.search.as_ref().map_or(self.limit + 1, |_| BATCH);
        let mut page = Vec::new();
        loop {
            let found = read(after.take(), batch).await?;
            let Some(last) = found.last() else {
                return Ok((page, false));
            };
            after = Some(place(last));
            for one in found.into_iter().filter(&wanted) {
                if page.len() == self.limit {
                    return Ok((page, true));
                }
                page.push(one);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// How many are wanted, if it is said. Errors: a `limit` out of its bounds.
pub fn read_limit(params: &Params) -> Result<Option<usize>, AdminError> {
    match params.get("limit").map(str::parse) {
        None => Ok(None),
        Some(Ok(limit)) if (1..=LARGEST_LIMIT).contains(&limit) => Ok(Some(limit)),
        Some(_) => {
            let message = format!("write a whole number from 1 to {LARGEST_LIMIT}");
            Err(AdminError::invalid("limit", message))
        }
    }
}

/// The refusal of an `after` that no page says.
pub fn no_such_place() -> AdminError {
    AdminError::invalid("after", "give what the page before says as `next`")
}

/// Whether `wanted`, in small letters, is in a text.
fn contains(text: &str, wanted: &str) -> bool {
    if !text.is_ascii() {
        return text.to_lowercase().contains(wanted);
    }
    let Some((&first, rest)) = wanted.as_bytes().split_first() else {
        return true;
    };
    let begins = memchr::memchr2_iter(first, first.to_ascii_uppercase(), text.as_bytes());
    begins
        .map(|at| text.as_bytes().get(at + 1..=at + rest.len()).unwrap_or_default())
        .any(|part| part.eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_search_looks_at_parts_and_not_at_case() {
        for (text, wanted) in [
            ("Acme", "acme"),
            ("Acme", "m"),
            ("SÖHNE & Co", "söhne"),
            ("key_00Ff", "0ff"),
            ("日本", "本"),
        ] {
            assert!(contains(text, wanted), "{text} has {wanted}");
        }
        for (text, wanted) in [("Acme", "acme2"), ("", "a"), ("Acme", "ä"), ("Söhne", "sohne")] {
            assert!(!contains(text, wanted), "{text} does not have {wanted}");
        }
    }
}
