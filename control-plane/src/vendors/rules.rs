//! Who may do what for a vendor, and what a vendor may be called. Pure; the routes call it, the documents hold its types.

use serde::{Deserialize, Serialize};

use crate::refusal::{Invalid, NAME_MAX_CHARS, Refusal, check_line, check_slug};

/// Members a vendor may have.
pub const MEMBERS_MAX: usize = 100;
/// Vendors one account may have made.
pub const VENDORS_PER_ACCOUNT_MAX: usize = 20;

/// Slugs that would be mistaken for ours in addresses and host names.
const SLUGS_RESERVED: [&str; 12] = [
    "admin", "api", "apiclay", "backend", "billing", "docs", "gateway", "help", "internal", "status",
    "support", "www",
];

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
}

impl Role {
    /// Whether this role allows that.
    #[must_use]
    pub const fn allows(self, act: Act) -> bool {
        match act {
            Act::Look => true,
            Act::Build => matches!(self, Self::Owner | Self::Developer),
            Act::Govern => matches!(self, Self::Owner),
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
        }
    }
}

/// Checks what a vendor is to be called.
///
/// # Errors
/// Every field that breaks a rule.
pub fn check(slug: Option<&str>, name: Option<&str>) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if let Some(slug) = slug {
        check_slug(&mut faults, "/slug", slug);
        if SLUGS_RESERVED.contains(&slug) {
            faults.push(Invalid::new(
                "/slug",
                "slug_reserved",
                "this slug is kept for ourselves; choose another",
            ));
        }
    }
    if let Some(name) = name {
        check_line(&mut faults, "/name", name, NAME_MAX_CHARS);
    }
    Refusal::unless_empty(faults)
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
    }

    #[test]
    fn names_and_slugs_have_rules() {
        assert!(check(Some("acme-1"), Some("Acme Weather")).is_ok());
        for (slug, name) in [("-a", "x"), ("admin", "x"), ("a", ""), ("a", " x"), ("a", "x\n"), ("Ä", "x")] {
            assert!(check(Some(slug), Some(name)).is_err(), "{slug} {name}");
        }
    }
}
