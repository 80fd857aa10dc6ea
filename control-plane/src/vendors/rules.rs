//! Who may do what for a vendor, and what a vendor may be called. Pure; the routes call it, the documents hold its types.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::AccountId;

use super::documents::{Invitation, Member, Vendor};
use super::role::Role;
use crate::http::Code;
use crate::refusal::{Invalid, NAME_MAX_CHARS, Refusal, check_line, check_slug};

/// Members a vendor may have, invited ones included.
pub const MEMBERS_MAX: usize = 100;
/// Vendors one account may have made.
pub const VENDORS_PER_ACCOUNT_MAX: usize = 20;

/// For so long an invitation can be accepted.
pub const INVITATION_KEEP_MS: i64 = 7 * 24 * 3_600_000;

/// Slugs that would be mistaken for ours in addresses and host names.
const SLUGS_RESERVED: [&str; 12] = [
    "admin", "api", "apiclay", "backend", "billing", "docs", "gateway", "help", "internal", "status",
    "support", "www",
];

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

/// Makes a member something else.
///
/// # Errors
/// Where there is no such member, or nobody would be left to govern.
pub fn change_role(vendor: &mut Vendor, account: AccountId, role: Role) -> Result<(), Refusal> {
    let place = place_of(vendor, account)?;
    if role != Role::Owner {
        another_owner(vendor, account)?;
    }
    vendor.members[place].role = role;
    Ok(())
}

/// Takes a member away.
///
/// # Errors
/// Where there is no such member, or nobody would be left to govern.
pub fn remove(vendor: &mut Vendor, account: AccountId) -> Result<(), Refusal> {
    let place = place_of(vendor, account)?;
    another_owner(vendor, account)?;
    vendor.members.remove(place);
    Ok(())
}

fn place_of(vendor: &Vendor, account: AccountId) -> Result<usize, Refusal> {
    let place = vendor.members.iter().position(|member| member.account == account);
    place.ok_or(Refusal::NotFound("member"))
}

/// Whether somebody governs when this account does not.
fn another_owner(vendor: &Vendor, account: AccountId) -> Result<(), Refusal> {
    let stays = |member: &Member| member.role == Role::Owner && member.account != account;
    if vendor.role_of(account) != Some(Role::Owner) || vendor.members.iter().any(stays) {
        return Ok(());
    }
    Err(Refusal::because(Code::LastOwner, "make another member an owner first"))
}

/// Invites somebody. An invitation under the same id is an earlier try of the same request: the new code replaces its
/// code, which nobody can be told again.
///
/// # Errors
/// Where the address is invited already, or there are as many members as there may be.
pub fn invite(vendor: &mut Vendor, invitation: Invitation, now: Timestamp) -> Result<(), Refusal> {
    vendor.invitations.retain(|known| known.expires_at > now && known.id != invitation.id);
    if vendor.invitations.iter().any(|known| known.email == invitation.email) {
        return Err(Refusal::because(
            Code::Conflict,
            "this address is invited; take that invitation back to send another",
        ));
    }
    if vendor.members.len() + vendor.invitations.len() >= MEMBERS_MAX {
        return Err(Refusal::because(Code::LimitReached, format!("at most {MEMBERS_MAX} members a vendor")));
    }
    vendor.invitations.push(invitation);
    Ok(())
}

/// Whether a code opens an invitation to the account of an address, now.
#[must_use]
pub fn is_for(invitation: &Invitation, code_digest: &str, email: &str, now: Timestamp) -> bool {
    invitation.code_digest == code_digest && invitation.email == email && invitation.expires_at > now
}

/// Spends an invitation: the account of its address becomes a member. Who is one already stays what he is.
///
/// # Errors
/// Where there is none such, for this address, now: all told alike.
pub fn accept(
    vendor: &mut Vendor,
    code_digest: &str,
    account: AccountId,
    email: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    let fits = |known: &Invitation| is_for(known, code_digest, email, now);
    let place = vendor.invitations.iter().position(fits).ok_or(Refusal::NotFound("invitation"))?;
    let invitation = vendor.invitations.remove(place);
    if vendor.role_of(account).is_none() {
        vendor.members.push(Member { account, role: invitation.role });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use apiclay_config::ids::VendorId;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn vendor(roles: &[Role]) -> Vendor {
        let member = |(n, role): (usize, &Role)| Member { account: account(n), role: *role };
        Vendor {
            id: VendorId::from_u128(1),
            slug: "acme".into(),
            name: "Acme".into(),
            members: roles.iter().enumerate().map(member).collect(),
            invitations: Vec::new(),
            listings_made: 0,
            created_at: NOW,
            updated_at: NOW,
        }
    }

    fn account(n: usize) -> AccountId {
        AccountId::from_u128(n as u128)
    }

    fn invitation(id: &str, email: &str) -> Invitation {
        Invitation {
            id: id.into(),
            email: email.into(),
            role: Role::Developer,
            code_digest: format!("digest of {id}"),
            by: account(0),
            created_at: NOW,
            expires_at: NOW.plus_ms(10),
        }
    }

    #[test]
    fn the_last_owner_stays_one() {
        let mut one = vendor(&[Role::Owner, Role::Developer]);
        assert!(remove(&mut one, account(0)).is_err());
        assert!(change_role(&mut one, account(0), Role::Viewer).is_err());
        assert!(change_role(&mut one, account(0), Role::Owner).is_ok());
        assert!(change_role(&mut one, account(1), Role::Owner).is_ok());
        assert!(remove(&mut one, account(0)).is_ok());
        assert!(remove(&mut one, account(1)).is_err(), "and now the other one is the last");
        assert!(remove(&mut one, account(7)).is_err());
    }

    #[test]
    fn an_invitation_is_for_one_address_once_and_for_a_while() {
        let mut one = vendor(&[Role::Owner]);
        invite(&mut one, invitation("a", "a@example.com"), NOW).unwrap();
        assert!(invite(&mut one, invitation("b", "a@example.com"), NOW).is_err(), "invited already");
        assert!(invite(&mut one, invitation("a", "a@example.com"), NOW).is_ok(), "the same request again");
        assert_eq!(one.invitations.len(), 1);
        let take = |vendor: &mut Vendor, email, now| accept(vendor, "digest of a", account(5), email, now);
        assert!(take(&mut one, "b@example.com", NOW).is_err(), "another address");
        assert!(take(&mut one.clone(), "a@example.com", NOW.plus_ms(10)).is_err(), "too late");
        assert!(take(&mut one, "a@example.com", NOW).is_ok());
        assert_eq!(one.role_of(account(5)), Some(Role::Developer));
        assert!(take(&mut one, "a@example.com", NOW).is_err(), "spent");
    }

    #[test]
    fn who_is_invited_counts_among_the_members() {
        let mut one = vendor(&[Role::Owner]);
        for n in 1..MEMBERS_MAX {
            invite(&mut one, invitation(&n.to_string(), &format!("a{n}@example.com")), NOW).unwrap();
        }
        assert!(invite(&mut one, invitation("x", "x@example.com"), NOW).is_err());
        let later = NOW.plus_ms(10);
        assert!(invite(&mut one, invitation("x", "x@example.com"), later).is_ok(), "the others have expired");
    }

    #[test]
    fn names_and_slugs_have_rules() {
        assert!(check(Some("acme-1"), Some("Acme Weather")).is_ok());
        for (slug, name) in [("-a", "x"), ("admin", "x"), ("a", ""), ("a", " x"), ("a", "x\n"), ("Ä", "x")] {
            assert!(check(Some(slug), Some(name)).is_err(), "{slug} {name}");
        }
    }
}
