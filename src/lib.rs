//! farebox.
pub mod simulate;
