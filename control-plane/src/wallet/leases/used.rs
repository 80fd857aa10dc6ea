//! What calls used of which lease, in units of its price: counted as batches are folded, each batch of each life once. Called by `usage::
//! fold` before its cursor moves, so that what is folded is counted. Next: `charge`.

use std::collections::BTreeMap;

use apiclay_config::ids::SubscriptionId;
use apiclay_config::usage::{Event, GatewayEpoch, LeasedWindow};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::documents::WalletLease;
use crate::store::{QUERY_LIMIT_MAX_ITEMS, Query, Store, StoreError, Versioned};

/// Leases written at the same time.
const AT_ONCE_MAX: usize = 16;
/// Tries of one lease while others write it.
const TRIES_MAX: usize = 50;

/// Units of one lease in one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// That calls kept.
    pub kept: u64,
    /// Of these, those that are billed.
    pub billable: u64,
}

/// Units by lease (its number and its subscription) and batch.
pub type UsedByLease = BTreeMap<(u32, SubscriptionId), BTreeMap<u64, Used>>;

/// Adds what the events of a batch say of leases on wallets.
pub fn gather(used: &mut UsedByLease, seq: u64, events: &[Event]) {
    for event in events {
        let serial = event.leases[LeasedWindow::Wallet as usize];
        let units = u64::from(event.units.count);
        if serial == 0 || !event.kept || units == 0 {
            continue;
        }
        let of_batch = used.entry((serial, event.subscription)).or_default().entry(seq).or_default();
        of_batch.kept = of_batch.kept.saturating_add(units);
        if event.billable {
            of_batch.billable = of_batch.billable.saturating_add(units);
        }
    }
}

/// Notes them in the leases.
///
/// # Errors
/// Where the store does not answer.
pub async fn note(store: &Store, from: &GatewayEpoch, used: UsedByLease) -> Result<(), StoreError> {
    stream::iter(used)
        .map(|(lease, batches)| note_one(store, from, lease, batches))
        .buffer_unordered(AT_ONCE_MAX)
        .try_collect()
        .await
}

async fn note_one(
    store: &Store,
    from: &GatewayEpoch,
    lease: (u32, SubscriptionId),
    batches: BTreeMap<u64, Used>,
) -> Result<(), StoreError> {
    for _ in 0..TRIES_MAX {
        let Some(mut known) = find(store, from, lease).await? else {
            tracing::error!(
                gateway = from.gateway, epoch = from.epoch, lease = lease.0, subscription = %lease.1,
                "calls name a lease on a wallet that is not known here: they are not charged"
            );
            return Ok(());
        };
        if !known.value.count(&from.epoch, &batches) {
            return Ok(());
        }
        match store.replace(&known.value, known.version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::VersionMismatch)
}

impl WalletLease {
    /// Counts the calls of a life's batches that are not in here yet; whether there were any.
    pub(crate) fn count(&mut self, epoch: &str, batches: &BTreeMap<u64, Used>) -> bool {
        let folded = self.folded.get(epoch).copied().unwrap_or(0);
        let Some((last, _)) = batches.last_key_value().filter(|(last, _)| **last > folded) else {
            return false;
        };
        for (_, used) in batches.range(folded + 1..) {
            self.kept = self.kept.saturating_add(used.kept);
            self.billable = self.billable.saturating_add(used.billable);
        }
        self.folded.insert(epoch.to_owned(), *last);
        if self.over_since.is_some() && self.billable > self.charged_calls {
            self.closing_since.get_or_insert(self.asked_at);
        }
        true
    }
}

/// The lease of this number: of this life, or of an earlier one of the same gateway, whose last records a later life sends.
/// Numbers begin again where a gateway has a new folder; then it is the last one that is not done with.
async fn find(
    store: &Store,
    from: &GatewayEpoch,
    (serial, subscription): (u32, SubscriptionId),
) -> Result<Option<Versioned<WalletLease>>, StoreError> {
    let id = WalletLease::id_of(&from.gateway, &from.epoch, serial);
    let of_life = store.get::<WalletLease>(&id).await?;
    if of_life.as_ref().is_some_and(|lease| lease.value.subscription == subscription) {
        return Ok(of_life);
    }
    let named = Query::by("name").equals(from.gateway.as_str()).equals(i64::from(serial));
    let found = store.query::<WalletLease>(&named.limit(QUERY_LIMIT_MAX_ITEMS)).await?.items;
    let of_subscription = found.into_iter().filter(|lease| lease.value.subscription == subscription);
    Ok(of_subscription.max_by_key(|lease| (lease.value.over_since.is_none(), lease.value.asked_at)))
}
