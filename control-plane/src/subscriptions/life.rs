//! A subscription's life as a state machine: what it is, what is to be done with it at a moment, and what each step makes of
//! it. Pure. Next: `billing` drives it against the store and the journal.
//!
//! Active, past due (the renewal was not paid, calls go on for a grace), unpaid (the grace is over, nothing opens until it is
//! resumed), cancelled. Money moves by a charge in hand alone, which is made or declined in the journal, once.

use apiclay_config::clock::Timestamp;
use apiclay_config::money::Money;
use serde::Serialize;

use super::charge::{Becomes, Charge, Edition, Paid, Purpose};
use super::documents::Subscription;
use super::period::Period;
use crate::plans::terms::Terms;
use crate::vendors::commission::Sale;

/// How long calls go on after a renewal could not be paid, in milliseconds: three days.
pub const GRACE_MS: i64 = 3 * 24 * 3_600_000;
/// How often a renewal that could not be paid is tried again, in milliseconds.
const RETRY_MS: i64 = 60_000;
/// After so long a charge in hand is finished by a job: whoever began it has died, in milliseconds.
const LEFT_BEHIND_MS: i64 = 10_000;

/// Where a subscription is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// It waits for its first charge, and opens nothing.
    Incomplete,
    /// It opens.
    Active,
    /// Its renewal could not be paid; it opens until its grace is over.
    PastDue,
    /// Its grace is over; it opens nothing until it is resumed.
    Unpaid,
    /// It has ended.
    Cancelled,
}

/// What is to be done with a subscription now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Its charge in hand is made, or declined where it cannot be.
    Finish(Charge),
    /// Its charge in hand is made if it can be, and otherwise kept.
    Try(Charge),
    /// Its charge in hand is declined: the grace is over.
    GiveUp(Charge),
    /// It is charged for its next period, under these terms.
    Renew(Edition),
    /// It ends with its period.
    End,
}

impl Subscription {
    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> SubscriptionState {
        let begins = self.charging.as_ref().is_some_and(|charge| charge.purpose == Purpose::Start);
        match self {
            Self { cancelled_at: Some(_), .. } => SubscriptionState::Cancelled,
            _ if begins => SubscriptionState::Incomplete,
            Self { unpaid_since: Some(_), .. } => SubscriptionState::Unpaid,
            Self { past_due_since: Some(_), .. } => SubscriptionState::PastDue,
            _ => SubscriptionState::Active,
        }
    }

    /// The edition it has.
    #[must_use]
    pub fn edition(&self) -> Edition {
        Edition { plan: self.plan, revision: self.plan_revision }
    }

    /// From when its months are counted.
    #[must_use]
    pub fn anchor(&self) -> Timestamp {
        self.anchored_at.unwrap_or(self.created_at)
    }

    /// The month that is paid for. A plan without a price may take its place until its end; then nothing is paid for it.
    #[must_use]
    pub fn month(&self) -> Option<Paid> {
        self.paid.filter(|paid| !paid.price.is_zero())
    }

    /// Whether it has the rest of a month under this edition already.
    #[must_use]
    pub fn has_month_of(&self, edition: Edition) -> bool {
        self.paid.is_some() && edition == self.edition()
    }

    /// Calls that its plan includes in a month, as far as they are paid for: none in a grace, and after a change within
    /// a month no more than were bought with it.
    #[must_use]
    pub fn included(&self, by_plan: u64) -> u64 {
        match self.paid {
            _ if self.past_due_since.is_some() => 0,
            // Those of before count as used on their account.
            Some(paid) => paid.included.min(by_plan).saturating_add(paid.taken_units),
            None => by_plan,
        }
    }

    /// Until when its calls go on although its renewal was not paid.
    #[must_use]
    pub fn grace_ends_at(&self) -> Option<Timestamp> {
        self.past_due_since.map(|since| since.plus_ms(GRACE_MS))
    }

    /// When a gateway stops serving it, whoever tells it or not.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        match self.month() {
            Some(paid) if self.cancels_at_end => Some(paid.period.ends_at),
            _ => self.grace_ends_at(),
        }
    }

    /// What is to be done with it.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Due {
        if self.cancelled_at.is_some() {
            return Due::Nothing;
        }
        if let Some(charge) = self.charging.clone() {
            return match self.grace_ends_at() {
                _ if charge.purpose != Purpose::Renewal => Due::Finish(charge),
                Some(end) if end <= now => Due::GiveUp(charge),
                _ => Due::Try(charge),
            };
        }
        match self.paid {
            Some(paid) if paid.period.ends_at <= now && self.cancels_at_end => Due::End,
            Some(paid) if paid.period.ends_at <= now => {
                Due::Renew(self.next_edition.unwrap_or_else(|| self.edition()))
            }
            _ => Due::Nothing,
        }
    }

    /// Takes a charge in hand, of which the operator keeps so much. Where nothing is to be paid, it is made at once.
    pub fn charge(
        &mut self,
        purpose: Purpose,
        (amount, basis_points): (Money, u32),
        mut becomes: Becomes,
        now: Timestamp,
    ) {
        if let Some(paid) = &mut becomes.paid {
            paid.commission_basis_points = Some(basis_points);
        }
        let sale = Sale::new(amount, basis_points);
        self.charges = self.charges.saturating_add(1);
        self.charging =
            Some(Charge { number: self.charges, purpose, sale, takes_units: 0, becomes, at: now });
        if sale.amount.is_zero() {
            self.made(now);
        }
        self.wakes_at = self.next_look(now);
    }

    /// What its next period makes of it, under an edition that costs this a month.
    #[must_use]
    pub fn renewed(&self, edition: Edition, terms: &Terms) -> Becomes {
        let ended = self.paid.map_or(self.anchor(), |paid| paid.period.ends_at);
        let period = Period::containing(self.anchor(), ended);
        let paid = (!terms.price.is_zero()).then(|| Paid::begun(period, terms));
        Becomes { edition, pays: terms.is_priced(), paid, trial_ends_at: None }
    }

    /// What it is already.
    #[must_use]
    pub fn as_it_is(&self) -> Becomes {
        Becomes { edition: self.edition(), pays: self.pays, paid: self.paid, trial_ends_at: None }
    }

    /// What a first period that begins now makes of it.
    #[must_use]
    pub fn begun(edition: Edition, terms: &Terms, now: Timestamp) -> Becomes {
        let paid = Paid::begun(Period::containing(now, now), terms);
        Becomes { edition, pays: true, paid: Some(paid), trial_ends_at: None }
    }

    /// The charge in hand was made.
    pub fn made(&mut self, now: Timestamp) {
        let Some(charge) = self.charging.take() else { return };
        let Becomes { edition, pays, paid, trial_ends_at } = charge.becomes;
        (self.pays, self.paid) = (pays, paid);
        self.take(edition);
        self.trial_ends_at = trial_ends_at.or(self.trial_ends_at);
        if let Some(paid) = paid
            && Period::containing(self.anchor(), paid.period.begins_at) != paid.period
        {
            self.anchored_at = Some(paid.period.begins_at);
        }
        (self.past_due_since, self.unpaid_since, self.next_edition) = (None, None, None);
        // A plan that costs nothing a month has no end that was waited for.
        if matches!(charge.purpose, Purpose::Start | Purpose::Resume) || self.month().is_none() {
            self.cancels_at_end = false;
        }
        self.wakes_at = self.next_look(now);
    }

    /// The charge in hand cannot be made now, and is kept.
    pub fn refused(&mut self, now: Timestamp) {
        self.past_due_since.get_or_insert(now);
        self.wakes_at = self.next_look(now);
    }

    /// The charge in hand will never be made.
    pub fn declined(&mut self, now: Timestamp) {
        match self.charging.take().map(|charge| charge.purpose) {
            Some(Purpose::Start) => self.end(now),
            Some(Purpose::Renewal) => self.lapse(now),
            Some(Purpose::Change | Purpose::Resume) | None => {}
        }
        self.wakes_at = self.next_look(now);
    }

    /// It has this edition from now on. Its key stays where the plan does: it may have been given another than the usual.
    fn take(&mut self, edition: Edition) {
        if edition.plan != self.plan {
            self.live_key = self.live_key.as_ref().map(|_| Self::live_key_of(self.account, edition.plan));
        }
        if edition != self.edition() {
            self.trial_ends_at = None;
        }
        (self.plan, self.plan_revision) = (edition.plan, edition.revision);
    }

    /// It stops until it is resumed, and owes nothing. Its next month would have been of the plan that was chosen for it.
    pub fn lapse(&mut self, now: Timestamp) {
        if let Some(next) = self.next_edition.take() {
            self.take(next);
        }
        (self.pays, self.paid, self.past_due_since) = (false, None, None);
        self.unpaid_since = Some(now);
        self.wakes_at = self.next_look(now);
    }

    /// It ends now.
    pub fn end(&mut self, now: Timestamp) {
        self.cancelled_at.get_or_insert(now);
        (self.live_key, self.next_edition, self.wakes_at) = (None, None, None);
    }

    /// When a job looks at it again.
    fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.charging {
            _ if self.cancelled_at.is_some() => None,
            Some(_) => Some(
                self.grace_ends_at()
                    .map_or_else(|| now.plus_ms(LEFT_BEHIND_MS), |end| end.min(now.plus_ms(RETRY_MS))),
            ),
            None => self.paid.map(|paid| paid.period.ends_at),
        }
    }
}
