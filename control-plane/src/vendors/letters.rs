//! What the letters of vendors say. The vendor stands there by its slug: a name is free text, and a stranger's text in a
//! letter of ours could say anything.

use crate::outbound::mail::Letter;

/// Invites somebody to act for a vendor.
pub(super) fn invitation(vendor_slug: &str, role: &str, code: &str) -> Letter {
    Letter {
        subject: "You are invited to act for a vendor",
        text: format!(
            "You are invited to act for the vendor `{vendor_slug}` on ApiCLay as {role}. Sign in to the account of this \
             e-mail address, or make one, and send the code to POST /backend/v1/vendors/invitations/accept as {{\"code\"}} \
             within 7 days. The code: {code}\n\n\
             Give it to nobody. If you do not know this vendor, do nothing.\n"
        ),
    }
}
