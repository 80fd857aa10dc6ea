//! What a member is to a vendor, and what that allows. Next: `access` asks, `rules` says how roles change.

use serde::{Deserialize, Serialize};

/// What a member is to a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May do everything, and say who else may.
    Owner,
    /// May change listings and plans.
    Developer,
    /// May see money and usage.
    Finance,
    /// May look.
    Viewer,
}

/// What somebody wants to do for a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Look at drafts, plans, members.
    Look,
    /// Change listings, upstreams, routes, plans, secrets.
    Build,
    /// Change the vendor itself and its members.
    Govern,
    /// See what it earned.
    Earnings,
}

impl Role {
    /// Whether this role allows that.
    #[must_use]
    pub const fn allows(self, act: Act) -> bool {
        match act {
            Act::Look => true,
            Act::Build => matches!(self, Self::Owner | Self::Developer),
            Act::Govern => matches!(self, Self::Owner),
            Act::Earnings => matches!(self, Self::Owner | Self::Finance),
        }
    }

    /// As written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Developer => "developer",
            Self::Finance => "finance",
            Self::Viewer => "viewer",
        }
    }
}

impl Act {
    /// Who it takes, for the refusal.
    #[must_use]
    pub const fn takes(self) -> &'static str {
        match self {
            Self::Look => "a member of the vendor",
            Self::Build => "an owner or developer of the vendor",
            Self::Govern => "an owner of the vendor",
            Self::Earnings => "an owner of the vendor, or one who looks after its finances",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_owners_govern_and_only_builders_build() {
        let allowed =
            |act| [Role::Owner, Role::Developer, Role::Finance, Role::Viewer].map(|role| role.allows(act));
        assert_eq!(allowed(Act::Look), [true; 4]);
        assert_eq!(allowed(Act::Build), [true, true, false, false]);
        assert_eq!(allowed(Act::Govern), [true, false, false, false]);
        assert_eq!(allowed(Act::Earnings), [true, false, true, false]);
    }
}
