//! What a subscription's page says of limits: rates as text, quotas and trials as meters of what counts against them, units
//! of a metered plan. Next: `subscription` shows them.

use apiclay_config::clock::Timestamp;
use apiclay_config::zone::{UTC, Zone};

use super::words;
use crate::app::App;
use crate::http::Problem;
use crate::plans;
use crate::plans::terms::{LimitInput, Terms, Trial, Unit, WindowInput};
use crate::store::{Query, Versioned};
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::life::SubscriptionState;
use crate::usage::routes::{Range, of as usage_of};
use crate::usage::series::{Step, Total};

/// An account's newest subscriptions, looked through for those that share a trial.
const SUBSCRIPTIONS_LOOKED_THROUGH: usize = 200;
const THOUSANDTHS: u128 = 1_000;

/// A limit, and how much of it is used.
pub(super) struct Meter {
    pub text: String,
    pub used: u64,
    pub max: u64,
    /// Thousandths, for the bar.
    pub thousandths: u64,
}

/// What limits a subscription.
#[derive(Default)]
pub(super) struct Limits {
    /// What is too short to be metered.
    pub rates: Vec<String>,
    /// Until when it is tried, or was.
    pub trial: Option<String>,
    /// Calls are refused: the trial is over, and nothing is paid for.
    pub trial_over: bool,
    pub meters: Vec<Meter>,
}

/// The limits of the edition that was bought, with what counts against them on record. Calls that are not billed give their
/// unit back; those that a gateway's kill interrupted do not, and are missing here.
pub(super) async fn limits(
    app: &App,
    subscription: &Subscription,
    terms: &Terms,
    whole: &Total,
) -> Result<Limits, Problem> {
    let now = app.clock.now();
    let mut limits = Limits::default();
    // A month that is paid for needs no trial.
    if let Some(trial) = terms.trial.filter(|_| !subscription.pays || terms.is_per_call()) {
        tried(app, subscription, (trial, whole)).await?.told(subscription, &mut limits);
    }
    let zone = Zone::named(terms.zone.as_deref().unwrap_or(UTC)).unwrap_or_default();
    let clocks = terms.zone.as_deref().unwrap_or(UTC).replace('_', " ");
    for limit in &terms.limits {
        let input =
            LimitInput { unit: Unit::Call, window: limit.window.into(), max: limit.max, hard: limit.hard };
        let Some(begin) = begin_of(input.window, &zone, now) else {
            limits.rates.push(words::limit(&input));
            continue;
        };
        let used = usage_of(app, subscription, whole_from(Some(begin))).await?.total.billable_calls;
        let name = match input.window {
            WindowInput::Hour => "This hour".to_owned(),
            WindowInput::Day => format!("Today ({clocks})"),
            _ => format!("This month ({clocks})"),
        };
        // More than a soft limit is overage, and told.
        let used = if input.hard { used.min(input.max) } else { used };
        limits.meters.push(meter(&name, used, input.max));
    }
    if let Some(calls) = terms.concurrency_max {
        limits.rates.push(words::at_a_time(calls));
    }
    Ok(limits)
}

/// Whether a subscription's calls are refused since its trial is over.
pub(super) async fn trial_is_over(
    app: &App,
    subscription: &Subscription,
    terms: &Terms,
) -> Result<bool, Problem> {
    let Some(trial) = terms.trial.filter(|_| !subscription.pays) else { return Ok(false) };
    let whole = usage_of(app, subscription, whole_from(None)).await?.total;
    Ok(tried(app, subscription, (trial, &whole)).await?.refuses(subscription))
}

/// How far a trial is.
struct Tried {
    ends_at: Option<Timestamp>,
    over_by_day: bool,
    /// Used, and how many there are.
    by_calls: Option<(u64, u64)>,
}

async fn tried(
    app: &App,
    subscription: &Subscription,
    (trial, whole): (Trial, &Total),
) -> Result<Tried, Problem> {
    let ends_at = subscription.trial_ends_at.filter(|_| trial.days.is_some());
    let over_by_day = ends_at.is_some_and(|at| at <= app.clock.now());
    let by_calls = match trial.calls.filter(|_| !over_by_day) {
        Some(_) => Some(by_calls(app, subscription, whole).await?),
        None => None,
    };
    Ok(Tried { ends_at, over_by_day, by_calls })
}

impl Tried {
    fn is_over(&self) -> bool {
        self.over_by_day || self.by_calls.is_some_and(|(used, max)| used >= max)
    }

    fn refuses(&self, subscription: &Subscription) -> bool {
        self.is_over() && !subscription.pays && subscription.state() == SubscriptionState::Active
    }

    /// A trial while it lasts, and where nothing is paid for after it, that it is over.
    fn told(&self, subscription: &Subscription, limits: &mut Limits) {
        limits.trial_over = self.refuses(subscription);
        if self.is_over() && subscription.pays {
            return;
        }
        if let Some((used, max)) = self.by_calls {
            limits.meters.push(meter("Trial", used, max));
        }
        limits.trial = self.ends_at.map(|at| match (self.over_by_day, self.is_over()) {
            (true, _) => format!("was over {}", words::moment(at)),
            (false, true) => "its calls are used up".to_owned(),
            (false, false) => format!("until {}", words::moment(at)),
        });
    }
}

/// How many calls an account's one trial of a listing has, and how many of them are used: under whichever subscription.
async fn by_calls(app: &App, subscription: &Subscription, whole: &Total) -> Result<(u64, u64), Problem> {
    let mine = Query::by("account").equals(subscription.account.to_string()).descending();
    let mine = app.store.query::<Subscription>(&mine.limit(SUBSCRIPTIONS_LOOKED_THROUGH)).await?.items;
    let (mut used, mut max) = (0_u64, 0);
    for Versioned { value: other, .. } in mine.iter().filter(|it| it.value.listing == subscription.listing) {
        let edition = plans::access::revision(&app.store, other.plan, other.plan_revision).await?;
        let Some(calls) = edition.value.terms.trial.and_then(|trial| trial.calls) else { continue };
        let counted = if other.id == subscription.id {
            whole.billable_calls
        } else {
            usage_of(app, other, whole_from(None)).await?.total.billable_calls
        };
        used = used.saturating_add(counted);
        // As gateways do: the largest of those that live.
        if other.is_live() || other.id == subscription.id {
            max = calls.max(max);
        }
    }
    // What comes after the trial is no part of it.
    Ok((used.min(max), max))
}

/// Units of what a metered plan counts.
pub(super) struct UnitsShown {
    pub count: String,
    /// What they are called.
    pub nouns: String,
    /// What is to be known of them.
    pub notes: Vec<String>,
}

/// Units of a time, where the plan counts others than calls.
pub(super) fn units(terms: &Terms, total: &Total) -> Option<UnitsShown> {
    let usage = terms.usage_price.as_ref()?;
    usage.unit.metered()?;
    let calls = |n| if n == 1 { "1 call".to_owned() } else { format!("{} calls", words::count(n)) };
    let mut notes = Vec::new();
    if total.assumed_calls > 0 {
        let nouns = usage.unit.noun(0);
        notes.push(format!(
            "{} did not say how many {nouns}, or not to the end: estimated, or what the plan assumes.",
            calls(total.assumed_calls)
        ));
    }
    if total.capped_calls > 0 {
        let was = if total.capped_calls == 1 { "was" } else { "were each" };
        notes.push(format!("{} {was} charged the most that one call is charged.", calls(total.capped_calls)));
    }
    let units = total.units.unwrap_or(0);
    let (count, nouns) = (words::count(units), usage.unit.noun(units));
    Some(UnitsShown { count, nouns, notes })
}

/// For the sum alone, which whole days make cheapest.
pub(super) const fn whole_from(from: Option<Timestamp>) -> Range {
    Range { from, to: None, by: Some(Step::Day) }
}

fn meter(name: &str, used: u64, max: u64) -> Meter {
    let part = (u128::from(used.min(max)) * THOUSANDTHS).checked_div(u128::from(max)).unwrap_or(0);
    let text = if used >= max { format!("{name}, used up") } else { name.to_owned() };
    // At most a thousand.
    Meter { text, used, max, thousandths: part as u64 }
}

/// When the window of a quota began; none for rates, which are too short to show.
fn begin_of(window: WindowInput, zone: &Zone, now: Timestamp) -> Option<Timestamp> {
    match window {
        WindowInput::Second | WindowInput::Minute => None,
        WindowInput::Hour => Some(zone.hour(now).starts),
        WindowInput::Day => Some(zone.day(now).starts),
        WindowInput::Month => Some(zone.month(now).starts),
    }
}
