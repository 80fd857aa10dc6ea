//! What the letters of subscriptions say: that a renewal was not paid, and that it was given up.

use url::Url;

use super::documents::Subscription;
use super::life::SubscriptionState;
use crate::outbound::mail::Letter;

/// The letter that a subscription's present state asks for.
#[must_use]
pub(super) fn of(app_url: &Url, subscription: &Subscription) -> Option<Letter> {
    let base = app_url.as_str().trim_end_matches('/');
    let page = format!("{base}/subscriptions/{}", subscription.id);
    match subscription.state() {
        SubscriptionState::PastDue => {
            let end = subscription.grace_ends_at().map(|at| at.to_string()).unwrap_or_default();
            Some(Letter {
                subject: "Your next month is not paid yet",
                text: format!(
                    "The next month of {id} could not be paid: your wallet, or the budget that you set for it, has too little \
                     left, or its listing cannot be called at the moment. The subscription goes on until {end}. Once there is \
                     enough it is paid by itself:\n\n{base}/wallet\n\nThe subscription: {page}\n",
                    id = subscription.id
                ),
            })
        }
        SubscriptionState::Unpaid => Some(Letter {
            subject: "Your subscription has stopped",
            text: format!(
                "No next month of {id} was paid for, and its calls are refused from now on. Nothing more is charged. Resume it \
                 whenever you like; a new month begins then:\n\n{page}\n",
                id = subscription.id
            ),
        }),
        _ => None,
    }
}
