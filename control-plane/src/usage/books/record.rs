//! Billed calls on record: the events of every batch that is kept and folded, life by life. Next: `compare`.

use std::collections::BTreeMap;
use std::ops::Range;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::SubscriptionId;
use apiclay_config::usage::{Event, GatewayEpoch, LeasedWindow};

use super::compare::{Fault, Leases};
use crate::refusal::Refusal;
use crate::store::{Document as _, Query, Store};
use crate::usage::documents::{FoldCursor, StoredBatch, batch_id, epoch_id};
use crate::usage::rollup::counted_at;

/// Batches read at once: each may hold a megabyte.
const BATCHES_AT_ONCE_MAX: usize = 16;

/// A life as far as it was read.
struct Life {
    from: GatewayEpoch,
    next_seq: u64,
    folded_seq: u64,
    /// When the next batch came, once that is known.
    next_at: Option<Timestamp>,
}

/// Batches as they are read.
pub(super) struct Record<'a> {
    store: &'a Store,
    lives: Vec<Life>,
    /// Minutes of which shown calls are compared.
    shown: Range<i64>,
    /// Billed calls in these minutes.
    pub by_subscription: BTreeMap<SubscriptionId, u64>,
    /// Billed calls that a lease on a wallet pays for.
    pub calls: u64,
    /// Batches that are not what they were.
    pub unreadable: Vec<Fault>,
}

impl<'a> Record<'a> {
    /// Of all lives, as far as they are folded now.
    pub(super) async fn of(store: &'a Store, shown: Range<i64>) -> Result<Self, Refusal> {
        let (mut lives, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.query::<FoldCursor>(&Query::by("id").cursor(cursor)).await?;
            lives.extend(page.items.into_iter().map(|life| Life {
                from: life.value.from,
                next_seq: 1,
                folded_seq: life.value.folded_seq,
                next_at: None,
            }));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let by_subscription = BTreeMap::new();
        Ok(Self { store, lives, shown, by_subscription, calls: 0, unreadable: Vec::new() })
    }

    /// Reads on, to batches that came after this; to the end for none.
    pub(super) async fn read_up_to(
        &mut self,
        leases: &mut Leases,
        at: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let mut lives = std::mem::take(&mut self.lives);
        if at.is_none() {
            // What was charged meanwhile was folded before.
            for life in &mut lives {
                let cursor = self.store.get::<FoldCursor>(&epoch_id(&life.from)).await?;
                life.folded_seq = cursor.map_or(life.folded_seq, |cursor| cursor.value.folded_seq);
            }
        }
        for life in &mut lives {
            self.read_life(leases, life, at).await?;
        }
        self.lives = lives;
        Ok(())
    }

    async fn read_life(
        &mut self,
        leases: &mut Leases,
        life: &mut Life,
        until: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let later = |at: Timestamp| until.is_some_and(|until| at > until);
        while life.next_seq <= life.folded_seq && !life.next_at.is_some_and(later) {
            let walk = Query::by("id")
                .from(batch_id(&life.from, life.next_seq))
                .below(batch_id(&life.from, life.folded_seq + 1));
            let page = self.store.query::<StoredBatch>(&walk.limit(BATCHES_AT_ONCE_MAX)).await?.items;
            if page.is_empty() {
                life.next_seq = life.folded_seq + 1;
            }
            for stored in page.into_iter().map(|found| found.value) {
                life.next_seq = stored.batch.id.seq;
                life.next_at = Some(stored.received_at);
                if later(stored.received_at) {
                    break;
                }
                self.take(leases, &stored);
                life.next_seq += 1;
                life.next_at = None;
            }
        }
        Ok(())
    }

    fn take(&mut self, leases: &mut Leases, stored: &StoredBatch) {
        let Ok(events) = stored.batch.unpack() else {
            let what =
                "the batch is not what its gateway sent: its content does not match its hash".to_owned();
            self.unreadable.push(Fault { of: stored.id(), what });
            return;
        };
        for event in events.iter().filter(|event| event.billable) {
            if self.shown.contains(&counted_at(event, stored.received_at).minute()) {
                *self.by_subscription.entry(event.subscription).or_default() += 1;
            }
            let serial = event.leases[LeasedWindow::Wallet as usize];
            if serial > 0 && event.kept {
                self.call(leases, &stored.batch.id.from, serial, event);
            }
        }
    }

    fn call(&mut self, leases: &mut Leases, from: &GatewayEpoch, serial: u32, event: &Event) {
        self.calls += 1;
        let lease = leases.named(&from.gateway, &from.epoch, serial);
        lease.call(event.subscription, event.plan_revision, event.units.count);
    }
}
