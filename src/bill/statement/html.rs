//! A statement as a page.

use crate::admin_api::bill::StatementView;

/// All of it.
pub fn html(_: &StatementView) -> String {
    String::new()
}
