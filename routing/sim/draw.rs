//! The drawing.

use crate::world::run::Outcome;

/// Nothing yet.
pub fn svg(_runs: &[Outcome]) -> String {
    String::new()
}
