//! What is written to an account before its trial by days ends, and when. Pure. Next: `telling` sends it, once.

use apiclay_config::clock::Timestamp;
use url::Url;

use super::DAY_MS;
use crate::outbound::mail::Letter;
use crate::plans::terms::Terms;
use crate::subscriptions::documents::Subscription;

/// How long before its end a trial's letter is written, in days; for a trial that is no longer than this, at half of it.
pub(super) const TOLD_AHEAD_DAYS: i64 = 3;

/// When the letter of a trial is due that began and ends then.
pub(super) fn is_due_at(begun: Timestamp, ends: Timestamp) -> Timestamp {
    let (length_ms, ahead_ms) = (ends.0.saturating_sub(begun.0), TOLD_AHEAD_DAYS * DAY_MS);
    ends.plus_ms(-if length_ms > ahead_ms { ahead_ms } else { length_ms / 2 })
}

/// What becomes of a subscription's calls after its trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The wallet pays for them.
    Paid,
    /// They are refused.
    Refused,
}

/// The same of a subscription under its terms; nothing where it tries nothing by days: a month that is paid for is no trial.
pub(super) fn after(subscription: &Subscription, terms: &Terms) -> Option<After> {
    terms.trial.and_then(|trial| trial.days)?;
    match (subscription.pays, terms.is_per_call()) {
        (true, true) => Some(After::Paid),
        (true, false) => None,
        (false, _) => Some(After::Refused),
    }
}

/// The letter about subscriptions whose trial ends then.
pub(super) fn of(app_url: &Url, ends: Timestamp, these: &[(Subscription, After)]) -> Letter {
    let base = app_url.as_str().trim_end_matches('/');
    let mut text = format!("Your trial ends at {ends}.\n");
    for (subscription, after) in these {
        let id = subscription.id;
        let then = match after {
            After::Paid => {
                "calls are paid from your wallet from then on, at the price of its plan, and refused where there is too \
                 little in it. To pay nothing, end the subscription before"
            }
            After::Refused => {
                "calls are refused from then on. Nothing is charged by itself: to go on, pay for its plan or choose another"
            }
        };
        text.push_str(&format!("\nOf {id} {then}:\n\n{base}/subscriptions/{id}\n"));
    }
    Letter { subject: "Your trial ends soon", text }
}
