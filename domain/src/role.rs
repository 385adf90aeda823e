//! What a person of the operator's may do. Each role may all that the one before it may.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A role, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also changes accounts, limits, keys and credit, drains engines, and decides requests for more.
    Operator,
    /// Also changes prices and tokens, corrects the ledger, steers the export and closes accounts.
    Admin,
}

/// The text is no role's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, operator or admin")]
pub struct NotARole;

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its name in JSON, in the store and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether whoever has it may do what asks for at least `least`.
    pub fn may(self, least: Self) -> bool {
        self >= least
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(NotARole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_those_before_it_may() {
        for (index, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(role.as_str().parse(), Ok(role));
            for (least_index, least) in Role::ALL.into_iter().enumerate() {
                assert_eq!(role.may(least), index >= least_index, "{role} {least}");
            }
        }
        assert_eq!("Admin".parse::<Role>(), Err(NotARole));
    }
}
