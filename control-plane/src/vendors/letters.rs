//! What the letters of vendors say. The vendor stands there by its slug: a name is free text, and a stranger's text in a
//! letter of ours could say anything.

use url::Url;

use crate::outbound::mail::Letter;

/// Invites somebody to act for a vendor. The code is of characters that an address takes as they are.
pub(super) fn invitation(app_url: &Url, vendor_slug: &str, role: &str, code: &str) -> Letter {
    let base = app_url.as_str().trim_end_matches('/');
    Letter {
        subject: "You are invited to act for a vendor",
        text: format!(
            "You are invited to act for the vendor `{vendor_slug}` on ApiCLay as {role}. Open this page within 7 days, and \
             sign in to the account of this e-mail address, or make one:\n\n\
             {base}/invitations/accept?code={code}\n\n\
             A program sends the code to POST /backend/v1/vendors/invitations/accept as {{\"code\"}}. The code: {code}\n\n\
             Give it to nobody. If you do not know this vendor, do nothing.\n"
        ),
    }
}
