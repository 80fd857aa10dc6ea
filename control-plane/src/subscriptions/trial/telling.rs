//! Tells accounts by mail that their trial by days ends soon, each end once, whoever looks at the same time. That it was told is
//! written first, by its version, and then the letter is sent: at most once, as a budget's notices are. Run by a job.

use apiclay_config::clock::Timestamp;
use apiclay_config::process::in_a_line;
use url::Url;

use super::TrialBegun;
use super::letter::{self, After};
use crate::accounts::documents::Account;
use crate::outbound::mail::Mail;
use crate::plans;
use crate::refusal::Refusal;
use crate::store::{Query, Store, StoreError, Versioned};
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::life::SubscriptionState;
use crate::subscriptions::rules::SUBSCRIPTIONS_PER_ACCOUNT_MAX;

/// Trials looked at in one page of a turn.
const TURN_MAX: usize = 500;

/// One turn: every trial whose letter is due. One that fails keeps no other waiting, and is looked at again.
///
/// # Errors
/// Where the store does not answer.
pub async fn tell_due(store: &Store, mail: &Mail, app_url: &Url, now: Timestamp) -> Result<(), Refusal> {
    let mut cursor = None;
    loop {
        let due = Query::by("tells_at").below(now.plus_ms(1).to_string()).limit(TURN_MAX).cursor(cursor);
        let page = store.query::<TrialBegun>(&due).await?;
        for found in page.items {
            let (account, listing) = (found.value.account, found.value.listing);
            if let Err(error) = tell(store, mail, app_url, found, now).await {
                tracing::error!(%account, %listing, "a trial's letter comes later: {}", in_a_line(&error));
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn tell(
    store: &Store,
    mail: &Mail,
    app_url: &Url,
    found: Versioned<TrialBegun>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let begun = &found.value;
    let mut tried = tried(store, begun, now).await?;
    let next_end =
        tried.iter().map(|(ends, ..)| *ends).filter(|ends| begun.told.is_none_or(|told| told < *ends));
    let due = next_end.min().filter(|ends| letter::is_due_at(begun.at, *ends) <= now);
    let told = due.or(begun.told);
    let later = tried.iter().map(|(ends, ..)| *ends).filter(|ends| told.is_none_or(|told| told < *ends));
    let tells_at = later.map(|ends| letter::is_due_at(begun.at, ends)).min();
    match store.replace(&TrialBegun { tells_at, told, ..begun.clone() }, found.version).await {
        Ok(_) => {}
        // Somebody else told it, or another plan was bought: it is looked at again where it is still due.
        Err(StoreError::VersionMismatch) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let Some(due) = due else { return Ok(()) };
    tried.retain(|(ends, ..)| *ends == due);
    let these: Vec<_> = tried.into_iter().map(|(_, subscription, after)| (subscription, after)).collect();
    if let Some(account) = store.get::<Account>(&begun.account.to_string()).await? {
        mail.send(&account.value.email, letter::of(app_url, due, &these), now);
    }
    Ok(())
}

/// The account's live subscriptions to the listing that are tried still: until when, and what becomes of their calls then.
async fn tried(
    store: &Store,
    begun: &TrialBegun,
    now: Timestamp,
) -> Result<Vec<(Timestamp, Subscription, After)>, Refusal> {
    let (from, below) = Subscription::live_keys_of(begun.account);
    let mine = Query::by("live").from(from).below(below).limit(SUBSCRIPTIONS_PER_ACCOUNT_MAX);
    let mut tried = Vec::new();
    for found in store.query::<Subscription>(&mine).await?.items {
        let subscription = found.value;
        let is_open =
            subscription.listing == begun.listing && subscription.state() == SubscriptionState::Active;
        let ends = subscription.trial_ends_at.filter(|ends| *ends > now && is_open);
        let Some(ends) = ends else { continue };
        let revision = plans::access::revision(store, subscription.plan, subscription.plan_revision).await?;
        if let Some(after) = letter::after(&subscription, &revision.value.terms) {
            tried.push((ends, subscription, after));
        }
    }
    Ok(tried)
}
