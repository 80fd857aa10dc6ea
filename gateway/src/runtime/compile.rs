//! Compiles snapshots into runtimes. Keeps rates, concurrency and tallies from one to the next, so that a new revision
//! resets nobody's window. A snapshot that cannot be compiled whole is refused with what is wrong.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use apiclay_config::clock::Clock;
use apiclay_config::egress::Egress;
use apiclay_config::ids::{ListingId, PlanId, SubscriptionId};
use apiclay_config::quota_key::QuotaKey;
use apiclay_config::seal::MasterKey;
use apiclay_config::snapshot::{self, Binding, Fault, Limit, Snapshot, Window};
use apiclay_config::usage::LeasedWindow;
use apiclay_config::zone::Zone;
use apiclay_plugins::by_name;
use http::{HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::trial::{Trialist, trial_until, trials};
use super::{
    Billable, Bound, Concurrency, Credential, Entitlement, Listing, Quota, Rate, Route, Runtime, rates,
};
use crate::counters::COUNT_MAX;
use crate::limits::{CounterSpec, LeaseBook, wallet_key};
use crate::observe::Metrics;
use crate::phases::authenticate::KEY_HEADER;
use crate::units::Meter;
use crate::upstreams::Upstream;

/// Faults shown of a refused snapshot at most.
const FAULTS_SHOWN_MAX: usize = 20;

/// Why a snapshot is refused.
#[derive(Debug, thiserror::Error)]
#[error("revision {revision} is refused: {}", show(faults))]
pub struct CompileError {
    /// The refused revision.
    pub revision: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

fn show(faults: &[Fault]) -> String {
    let shown: Vec<String> = faults.iter().take(FAULTS_SHOWN_MAX).map(Fault::to_string).collect();
    shown.join("; ")
}

type RateKey = (SubscriptionId, Window);

/// What outlives runtimes.
pub struct Compiler {
    book: Arc<LeaseBook>,
    master_key: Option<Arc<MasterKey>>,
    egress: Egress,
    metrics: Arc<Metrics>,
    rates: HashMap<RateKey, Weak<Rate>>,
    concurrency: HashMap<SubscriptionId, Weak<Concurrency>>,
    /// With what they were compiled from: addresses that are known, and whose turn it is, outlive a revision.
    upstreams: HashMap<ListingId, (snapshot::Upstream, Weak<Upstream>)>,
}

impl Compiler {
    /// A compiler with nothing kept yet.
    #[must_use]
    pub fn new(
        book: Arc<LeaseBook>,
        master_key: Option<Arc<MasterKey>>,
        egress: Egress,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (rates, concurrency, upstreams) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { book, master_key, egress, metrics, rates, concurrency, upstreams }
    }

    /// Compiles `snapshot`, its rates shared by `live_gateways`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(&mut self, snapshot: &Snapshot, live_gateways: u32) -> Result<Runtime, CompileError> {
        let mut faults = snapshot::validate(snapshot);
        let everywhere = bind(&"gateway", &snapshot.bindings, &[], &mut faults);
        let mut listings = HashMap::with_capacity(snapshot.listings.len());
        for listing in snapshot.listings.values() {
            let compiled = self.listing(listing, &everywhere, &mut faults);
            listings.insert(compiled.name.clone(), Arc::new(compiled));
        }
        let mut plan_plugins: HashMap<(PlanId, u32), Vec<Bound>> = HashMap::new();
        for (key, plan) in &snapshot.plans {
            let early = plan.bindings.iter().filter(|b| by_name(&b.plugin).is_ok_and(|r| r.on_access));
            for binding in early {
                let rule =
                    format!("`{}` acts before the plan is known: attach it to the listing", binding.plugin);
                faults.push(Fault { place: plan.id.to_string(), rule });
            }
            plan_plugins.insert(*key, bind(&plan.id, &plan.bindings, &[], &mut faults));
        }
        if !faults.is_empty() {
            return Err(CompileError { revision: snapshot.revision, faults });
        }
        let entitlements = self.entitlements(snapshot, &plan_plugins, live_gateways);
        let mut credentials = HashMap::with_capacity(snapshot.credentials.len());
        for credential in snapshot.credentials.values() {
            // Validation found the subscription and its plan, so this finds the entitlement.
            if let Some(entitlement) = entitlements.get(&credential.subscription) {
                let compiled = Credential {
                    id: credential.id,
                    expires_at: credential.expires_at,
                    entitlement: Arc::clone(entitlement),
                };
                credentials.insert(credential.digest, Arc::new(compiled));
            }
        }
        self.rates.retain(|_, rate| rate.strong_count() > 0);
        self.concurrency.retain(|_, concurrency| concurrency.strong_count() > 0);
        self.upstreams.retain(|_, (_, upstream)| upstream.strong_count() > 0);
        Ok(Runtime { revision: snapshot.revision, listings, credentials })
    }

    fn listing(
        &mut self,
        listing: &snapshot::Listing,
        everywhere: &[Bound],
        faults: &mut Vec<Fault>,
    ) -> Listing {
        let mut fault = |rule: String| faults.push(Fault { place: listing.id.to_string(), rule });
        let name = format!("{}/{}", listing.vendor_slug, listing.slug).into_boxed_str();
        let mut injected = Vec::with_capacity(listing.secrets.len());
        for secret in &listing.secrets {
            let place = format!("{}/{}", listing.id, secret.header);
            let opened =
                self.master_key.as_ref().ok_or(()).and_then(|k| k.open(&secret.value, &place).map_err(drop));
            let header = HeaderName::try_from(secret.header.as_str());
            let value = opened.ok().and_then(|value| HeaderValue::from_str(value.expose_secret()).ok());
            match (header, value) {
                (Ok(header), Some(mut value)) => {
                    value.set_sensitive(true);
                    injected.push((header, value));
                }
                _ => {
                    fault(format!(
                        "its secret for `{}` cannot be opened with this master key",
                        secret.header
                    ));
                }
            }
        }
        let key_header = listing.key_header.as_deref().unwrap_or(snapshot::KEY_HEADER);
        let key_header = HeaderName::try_from(key_header).unwrap_or_else(|_| {
            fault(format!("`{key_header}` is no header's name"));
            KEY_HEADER
        });
        let upstream = self.upstream(listing);
        if let Err(wrong) = &upstream {
            fault(wrong.clone());
        }
        let plugins = bind(&listing.id, &listing.bindings, everywhere, faults);
        let mut by_path: HashMap<&str, Vec<Arc<Route>>> = HashMap::new();
        for route in &listing.routes {
            let compiled = Route {
                id: route.id,
                method: route.method.as_str().into(),
                plugins: bind(&route.id, &route.bindings, &plugins, faults),
            };
            by_path.entry(&route.path).or_default().push(Arc::new(compiled));
        }
        let mut routes = matchit::Router::new();
        for (path, methods) in by_path {
            if let Err(wrong) = routes.insert(path, methods) {
                faults.push(Fault { place: listing.id.to_string(), rule: format!("`{path}`: {wrong}") });
            }
        }
        Listing {
            id: listing.id,
            calls: self.metrics.listing(&name),
            name,
            suspended: listing.suspended,
            routes,
            upstream: upstream.unwrap_or_default(),
            key_header,
            injected,
            plugins,
        }
    }

    fn upstream(&mut self, listing: &snapshot::Listing) -> Result<Arc<Upstream>, String> {
        let known = self.upstreams.get(&listing.id).filter(|(from, _)| *from == listing.upstream);
        if let Some(kept) = known.and_then(|(_, upstream)| upstream.upgrade()) {
            return Ok(kept);
        }
        let upstream = Arc::new(Upstream::compile(&listing.upstream, &self.egress)?);
        self.upstreams.insert(listing.id, (listing.upstream.clone(), Arc::downgrade(&upstream)));
        Ok(upstream)
    }

    fn entitlements(
        &mut self,
        snapshot: &Snapshot,
        plan_plugins: &HashMap<(PlanId, u32), Vec<Bound>>,
        live_gateways: u32,
    ) -> HashMap<SubscriptionId, Arc<Entitlement>> {
        let trials = trials(snapshot);
        let mut entitlements = HashMap::with_capacity(snapshot.subscriptions.len());
        for subscription in snapshot.subscriptions.values() {
            let key = (subscription.plan, subscription.plan_revision);
            let Some(plan) = snapshot.plans.get(&key) else { continue };
            let rate = |limit: &Limit| self.rate(subscription.id, limit, live_gateways);
            let entitlement = Entitlement {
                subscription: subscription.id,
                account: subscription.account,
                listing: subscription.listing,
                plan: subscription.plan,
                plan_revision: subscription.plan_revision,
                inactive: subscription.inactive,
                ends_at: subscription.ends_at,
                rates: plan.limits.iter().filter_map(rate).collect(),
                concurrency: plan
                    .concurrency_max
                    .map(|max| self.in_flight(subscription.id, max, live_gateways)),
                tallies: self.quotas(subscription, plan, &trials),
                trial_until: trial_until(subscription, plan),
                unpaid: plan.priced
                    && !subscription.pays
                    && plan.trial_calls.is_none()
                    && plan.trial_days.is_none(),
                meter: plan.meter.as_ref().and_then(Meter::compile),
                billable: Billable::compile(plan.billable_statuses.as_deref()),
                plugins: plan_plugins.get(&key).cloned().unwrap_or_default(),
            };
            entitlements.insert(subscription.id, Arc::new(entitlement));
        }
        entitlements
    }

    /// The subscription's rate as it was, or one that goes on from it where the plan or the number of gateways changed.
    fn rate(&mut self, subscription: SubscriptionId, limit: &Limit, live_gateways: u32) -> Option<Arc<Rate>> {
        let max = u32::try_from(limit.max).unwrap_or(u32::MAX);
        rates::seconds(limit.window)?;
        let key = (subscription, limit.window);
        let rate = match self.rates.get(&key).and_then(Weak::upgrade) {
            Some(kept) if kept.max == max && kept.share == max.div_ceil(live_gateways.max(1)) => {
                return Some(kept);
            }
            Some(kept) => kept.succeeded_by(max, live_gateways)?,
            None => Rate::new(limit.window, max, live_gateways)?,
        };
        let rate = Arc::new(rate);
        self.rates.insert(key, Arc::downgrade(&rate));
        Some(rate)
    }

    fn in_flight(&mut self, subscription: SubscriptionId, max: u32, live_gateways: u32) -> Arc<Concurrency> {
        let share = max.div_ceil(live_gateways.max(1));
        if let Some(kept) = self.concurrency.get(&subscription).and_then(Weak::upgrade) {
            kept.set_max(share);
            return kept;
        }
        let concurrency = Arc::new(Concurrency::new(share));
        self.concurrency.insert(subscription, Arc::downgrade(&concurrency));
        concurrency
    }

    /// The trial and the wallet first: a call that they refuse takes no quota. Where the plan costs something, a subscription
    /// that does not pay is open for the trial only; one that pays for each call goes on from its wallet; for one that pays
    /// otherwise, the period is paid, and there is neither.
    fn quotas(
        &self,
        subscription: &snapshot::Subscription,
        plan: &snapshot::Plan,
        trials: &HashMap<Trialist, u64>,
    ) -> Vec<Quota> {
        let mut quotas = Vec::new();
        let pays = plan.priced && subscription.pays;
        if let Some(calls) = plan.trial_calls.filter(|_| !pays || plan.per_call) {
            let calls = trials.get(&(subscription.account, subscription.listing)).copied().unwrap_or(calls);
            let key = format!("trial:{}:{}", subscription.account, subscription.listing);
            quotas.push(self.quota(key, LeasedWindow::Trial, calls, true));
        }
        if pays && plan.per_call {
            let key = wallet_key(subscription.id, subscription.plan, subscription.plan_revision);
            let units_per_call = plan.meter.as_ref().map_or(1, |meter| meter.units_max_per_call);
            let (window, max, hard) = (LeasedWindow::Wallet, COUNT_MAX, true);
            let spec = CounterSpec { key, window, max, hard, units_per_call };
            quotas.push(Quota { window, hard, seconds: None, tally: self.book.tally(&spec) });
        }
        let id = subscription.id.to_string();
        let zone = plan.zone.as_deref().and_then(Zone::named);
        let even = !zone.is_some_and(|zone| zone.changes_after(Clock::System.now()));
        for limit in &plan.limits {
            let (window, seconds) = match limit.window {
                Window::Hour => (LeasedWindow::Hour, Some(3_600)),
                Window::Day => (LeasedWindow::Day, Some(86_400)),
                Window::Month => (LeasedWindow::Month, None),
                Window::Second | Window::Minute => continue,
            };
            let key = QuotaKey { subscription: &id, window, zone: plan.zone.as_deref() }.to_string();
            let quota = self.quota(key, window, limit.max, limit.hard);
            quotas.push(Quota { seconds: seconds.filter(|_| even), ..quota });
        }
        quotas
    }

    fn quota(&self, key: String, window: LeasedWindow, max: u64, hard: bool) -> Quota {
        let spec = CounterSpec { key, window, max, hard, units_per_call: 1 };
        Quota { window, hard, seconds: None, tally: self.book.tally(&spec) }
    }
}

/// Builds the plugins bound here, with those of the wider place, in the registry's order and the narrower after the wider; it
/// replaces what has its type and does not stay.
fn bind(
    place: &dyn std::fmt::Display,
    bindings: &[Binding],
    wider: &[Bound],
    faults: &mut Vec<Fault>,
) -> Vec<Bound> {
    let mut bound: Vec<Bound> =
        wider.iter().filter(|w| w.stays || !bindings.iter().any(|b| b.plugin == w.name)).cloned().collect();
    for binding in bindings {
        let built = by_name(&binding.plugin).and_then(|r| Ok((r, (r.build)(&binding.config)?)));
        match built {
            Ok((registered, plugin)) => bound.push(Bound {
                binding: binding.id,
                name: registered.name,
                order: apiclay_plugins::registry()
                    .iter()
                    .position(|r| r.name == registered.name)
                    .unwrap_or(0),
                stays: binding.stays,
                plugin: Arc::from(plugin),
            }),
            Err(wrong) => faults.push(Fault { place: place.to_string(), rule: wrong.to_string() }),
        }
    }
    bound.sort_by_key(|b| b.order);
    bound
}
