//! Figures as people read them, and where they stand in a page.

use crate::Outcome;
use std::path::Path;

/// Three digits, or all that are before the point.
pub fn short(figure: f64) -> String {
    match figure.abs() {
        size if size < 9.995 => format!("{figure:.2}"),
        size if size < 99.95 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// Puts `markdown` into `path`: between the marks of this name in a file that is there, or into a new one with them.
pub fn write_between_marks(path: &Path, name: &str, markdown: &str) -> Outcome<()> {
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- {name}: {which} -->\n"));
    let before = std::fs::read_to_string(path).unwrap_or_else(|_| format!("{begin}{end}"));
    let (start, rest) = before
        .split_once(&begin)
        .ok_or_else(|| format!("{}: no line {begin}", path.display()))?;
    let (_last_run, after) = rest
        .split_once(&end)
        .ok_or_else(|| format!("{}: no line {end}", path.display()))?;
    Ok(std::fs::write(
        path,
        format!("{start}{begin}\n{markdown}\n{end}{after}"),
    )?)
}
