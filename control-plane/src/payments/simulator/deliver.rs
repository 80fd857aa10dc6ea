//! Events on their way: each under one id however often it is delivered, signed once with the secret of that moment, tried
//! again with growing waits until somebody answers 2xx in time. After the last wait the hook is switched off, and what
//! happens then is told nobody: a reconciler's case. Next: whoever listens at the webhook's address.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use rand::distr::{Alphanumeric, SampleString as _};
use rand::seq::SliceRandom as _;

use super::world::Event;
use super::{Inner, Simulator};
use crate::payments::razorpay::signature;

/// Deliveries that are put by; one more is lost, which a provider may do too.
const HELD_MAX: usize = 10_000;
/// Deliveries under way, tries and waits together; one more is lost.
const UNDER_WAY_MAX: usize = 10_000;
/// Tries that can be looked at; the oldest goes first.
const ATTEMPTS_MAX: usize = 10_000;
/// Characters of an event's id.
const EVENT_ID_CHARS: usize = 14;

/// An event that is to be delivered once; where it is to be delivered twice, there are two, alike.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    event_id: String,
    event: &'static str,
    body: Bytes,
    signature: String,
    tries: usize,
}

/// A try to deliver, for tests to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which event.
    pub event_id: String,
    /// What it is called.
    pub event: &'static str,
    /// The body as it was sent.
    pub body: Bytes,
    /// The signature as it was sent.
    pub signature: String,
    /// What was answered; none where nobody did in time.
    pub status: Option<u16>,
}

/// In which order what was put by is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseIn {
    /// As it happened.
    Order,
    /// The last first.
    Reverse,
    /// By the seed.
    Disorder,
}

impl Simulator {
    /// From now on events are put by: a provider whose deliveries are out of order.
    pub fn hold_webhooks(&self) {
        self.inner.state.lock().holding = true;
    }

    /// Delivers what was put by, one after the other, each tried once before the next; what fails is tried again in the
    /// background. Events are delivered as usual from then on. How many there were.
    pub async fn release_webhooks(&self, order: ReleaseIn) -> usize {
        let mut held: Vec<_> = {
            let mut state = self.inner.state.lock();
            state.holding = false;
            state.held.drain(..).collect()
        };
        match order {
            ReleaseIn::Order => {}
            ReleaseIn::Reverse => held.reverse(),
            ReleaseIn::Disorder => held.shuffle(&mut self.inner.state.lock().world.rng),
        }
        let count = held.len();
        for mut delivery in held {
            if !self.inner.attempt(&mut delivery).await {
                self.inner.try_later(delivery);
            }
        }
        count
    }

    /// What was put by, as it would be sent; for tests that deliver it themselves.
    #[must_use]
    pub fn held(&self) -> Vec<Attempt> {
        let state = self.inner.state.lock();
        let as_sent = |delivery: &Delivery| Attempt {
            event_id: delivery.event_id.clone(),
            event: delivery.event,
            body: delivery.body.clone(),
            signature: delivery.signature.clone(),
            status: None,
        };
        state.held.iter().map(as_sent).collect()
    }

    /// What was put by is lost: a provider that never tells.
    pub fn lose_webhooks(&self) {
        let mut state = self.inner.state.lock();
        state.holding = false;
        state.held.clear();
    }

    /// Whether too many tries failed, so that nothing is delivered any more.
    #[must_use]
    pub fn webhook_is_off(&self) -> bool {
        self.inner.state.lock().hook_off
    }

    /// Switches the hook on again. What happened meanwhile is not told.
    pub fn switch_webhook_on(&self) {
        self.inner.state.lock().hook_off = false;
    }

    /// Every try to deliver, the oldest first.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.inner.state.lock().attempts.iter().cloned().collect()
    }

    /// Waits until nothing is on its way any more (what is put by is not), or so long. Whether it came to that.
    pub async fn all_delivered(&self, wait_max_ms: u64) -> bool {
        let mut under_way = self.inner.under_way.subscribe();
        let none_left = under_way.wait_for(|count| *count == 0);
        matches!(tokio::time::timeout(Duration::from_millis(wait_max_ms), none_left).await, Ok(Ok(_)))
    }
}

impl Inner {
    /// Sends events on their way, each by itself: the order they come in says nothing.
    pub(super) fn announce(self: &Arc<Self>, events: Vec<Event>) {
        if self.webhook_url.is_none() {
            return;
        }
        for event in events {
            let (delivery, waits_ms) = {
                let mut state = self.state.lock();
                if state.hook_off {
                    return;
                }
                let delivery = Delivery {
                    event_id: Alphanumeric.sample_string(&mut state.world.rng, EVENT_ID_CHARS),
                    event: event.name,
                    signature: signature::sign(&state.webhook_secret, &event.body),
                    body: event.body.into(),
                    tries: 0,
                };
                let faults = state.faults;
                (delivery, faults.of_event(&mut state.world.rng))
            };
            for wait_ms in waits_ms {
                if !self.put_by(&delivery) {
                    self.send(delivery.clone(), wait_ms);
                }
            }
        }
    }

    /// Puts a delivery by while deliveries are held.
    fn put_by(&self, delivery: &Delivery) -> bool {
        let mut state = self.state.lock();
        if state.holding && state.held.len() < HELD_MAX {
            state.held.push_back(delivery.clone());
        }
        state.holding
    }

    /// Tries after this wait, and again, until it is taken or the waits are used up.
    fn send(self: &Arc<Self>, mut delivery: Delivery, first_wait_ms: u64) {
        let mut taken_up = false;
        self.under_way.send_if_modified(|count| {
            taken_up = *count < UNDER_WAY_MAX;
            *count += usize::from(taken_up);
            taken_up
        });
        if !taken_up {
            tracing::warn!(
                event = delivery.event,
                "the payment simulator lost an event: too many are under way"
            );
            return;
        }
        let inner = self.clone();
        self.runtime.spawn(async move {
            let tries = async {
                let mut wait_ms = first_wait_ms;
                loop {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    if inner.put_by(&delivery) || inner.attempt(&mut delivery).await {
                        return;
                    }
                    match inner.wait_after(&delivery) {
                        Some(next_ms) => wait_ms = next_ms,
                        None => return,
                    }
                }
            };
            tokio::select! {
                () = inner.ending.cancelled() => {}
                () = tries => {}
            }
            inner.under_way.send_modify(|count| *count -= 1);
        });
    }

    fn try_later(self: &Arc<Self>, delivery: Delivery) {
        if let Some(wait_ms) = self.wait_after(&delivery) {
            self.send(delivery, wait_ms);
        }
    }

    /// How long to wait after a try that failed. None: that was the last, and the hook is off.
    fn wait_after(&self, delivery: &Delivery) -> Option<u64> {
        let wait_ms = self.retry_after_ms.get(delivery.tries.saturating_sub(1)).copied();
        if wait_ms.is_none() {
            self.state.lock().hook_off = true;
            tracing::warn!(event = delivery.event, "the payment simulator switched the webhook off");
        }
        wait_ms
    }

    /// One try. Whether it was taken.
    async fn attempt(&self, delivery: &mut Delivery) -> bool {
        let Some(url) = self.webhook_url.clone() else { return true };
        let Ok(_place) = self.deliveries.acquire().await else { return true };
        delivery.tries += 1;
        let answer = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("user-agent", "Razorpay-Webhook/v1")
            .header("x-razorpay-signature", &delivery.signature)
            .header("x-razorpay-event-id", &delivery.event_id)
            .timeout(Duration::from_millis(self.delivery_timeout_ms))
            .body(delivery.body.clone())
            .send()
            .await;
        let status = answer.ok().map(|answer| answer.status());
        let mut state = self.state.lock();
        if state.attempts.len() == ATTEMPTS_MAX {
            state.attempts.pop_front();
        }
        state.attempts.push_back(Attempt {
            event_id: delivery.event_id.clone(),
            event: delivery.event,
            body: delivery.body.clone(),
            signature: delivery.signature.clone(),
            status: status.map(|status| status.as_u16()),
        });
        status.is_some_and(|status| status.is_success())
    }
}
