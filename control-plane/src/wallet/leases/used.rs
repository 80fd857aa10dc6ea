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
        let folded = known.value.folded.get(&from.epoch).copied().unwrap_or(0);
        let Some((last, _)) = batches.last_key_value().filter(|(last, _)| **last > folded) else {
            return Ok(());
        };
        for (_, used) in batches.range(folded + 1..) {
            known.value.kept = known.value.kept.saturating_add(used.kept);
            known.value.billable = known.value.billable.saturating_add(used.billable);
        }
        known.value.folded.insert(from.epoch.clone(), *last);
        if known.value.over_since.is_some() && known.value.billable > known.value.charged_calls {
            known.value.closing_since.get_or_insert(known.value.asked_at);
        }
        match store.replace(&known.value, known.version).await {
            Ok(_) => return Ok(()),
            Err(StoreError::VersionMismatch) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::VersionMismatch)
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
