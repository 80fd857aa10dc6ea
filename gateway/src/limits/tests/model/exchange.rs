//! What gateways and the store say to each other. A gateway has one request under way here; one that it gave up may come
//! whenever it likes.

use super::gateway::{Answer, Lane, Request, Returned, Slot, Wish};
use super::lost::Checked;
use super::*;
use crate::counters::{Close, LeaseId};
use crate::limits::counter::{Ask, Decision};
use crate::limits::lease::LeaseWord;

impl World {
    /// `Tally::prepare`.
    pub(super) fn ask(&self, state: &mut State, n: usize) {
        let gateway = &mut state.gateways[n];
        let room = self.cap.saturating_sub(gateway.open_units());
        if room == 0 && !self.has(Fault::CapNotKept) {
            return;
        }
        let closes = gateway.closes(false);
        let epoch = gateway.epoch;
        let serial = gateway.asked.unwrap_or(gateway.next_serial);
        if gateway.asked.is_none() {
            gateway.next_serial += 1;
            gateway.slots.push(Slot {
                serial,
                epoch,
                granted: false,
                word: LeaseWord(u64::from(serial) << 32),
                window: 0,
                units: 0,
                returned: 0,
                late: 0,
                recorded: 0,
                over: false,
                lowered: false,
                max: gateway.max,
            });
        }
        gateway.asked = Some(serial);
        let want = if self.has(Fault::CapNotKept) { self.want } else { self.want.min(room) };
        let wish = Wish { serial, epoch, window: gateway.guess, max: gateway.max, want };
        let request = Request { known: gateway.known.clone(), closes, grant: Some(wish) };
        gateway.lane = Some(Lane::Asked(request));
    }

    /// `Tally::sweep`, of idle leases too.
    pub(super) fn sweep(&self, state: &mut State, n: usize) {
        let gateway = &mut state.gateways[n];
        let closes = gateway.closes(true);
        let request = Request { known: gateway.known.clone(), closes, grant: None };
        gateway.lane = Some(Lane::Asked(request));
    }

    /// `LeaseBook::close_earlier`, one lease: asked for by name and for nothing first, where it was never heard of.
    pub(super) fn close_earlier(&self, state: &mut State, n: usize) {
        let (known, guess) = (state.gateways[n].known.clone(), state.gateways[n].guess);
        let epoch = state.gateways[n].epoch;
        let earlier = state.gateways[n].slots.iter_mut();
        let Some(slot) = earlier.filter(|slot| slot.epoch != epoch).find(|slot| !slot.word.is_closed())
        else {
            return;
        };
        let request = if slot.granted {
            slot.freeze();
            Request { known, closes: vec![self.returned(slot)], grant: None }
        } else {
            let wish = Wish { serial: slot.serial, epoch: slot.epoch, window: guess, max: 0, want: 0 };
            Request { known, closes: Vec::new(), grant: Some(wish) }
        };
        state.gateways[n].lane = Some(Lane::Asked(request));
    }

    fn returned(&self, slot: &Slot) -> Returned {
        let all = self.has(Fault::SpentUnitsComeBackAfterKill);
        let unspent = if all { slot.units } else { slot.unspent() };
        Returned { serial: slot.serial, epoch: slot.epoch, window: slot.window, unspent }
    }

    pub(super) fn decide(&self, state: &mut State, n: usize) {
        let Some(Lane::Asked(request)) = state.gateways[n].lane.take() else { return };
        let (answer, _) = self.decision(state, n, &request);
        state.gateways[n].lane = Some(Lane::Answered(request, answer));
    }

    /// Nobody hears the answer to a request that was given up.
    pub(super) fn comes_late(&self, state: &mut State, nth: usize) {
        let (n, request) = state.late.remove(nth);
        let (_, fresh) = self.decision(state, n, &request);
        state.noted.late += fresh;
    }

    /// What the store does; and how many units it granted that it had not.
    fn decision(&self, state: &mut State, n: usize, request: &Request) -> (Answer, u32) {
        let (key, id) = (Arc::from(KEY), state.gateways[n].id.clone());
        let close = |returned: &Returned| Close {
            lease: LeaseId { gateway: id.clone(), epoch: returned.epoch, serial: returned.serial },
            window: returned.window as i64,
            unspent: returned.unspent,
            spent: None,
        };
        let closes: Vec<Close> = request.closes.iter().map(close).collect();
        let standing = state.store.marker.as_ref().is_some_and(|marker| marker.run == state.store.run);
        let mut store = Checked { store: &mut state.store, fault: self.fault };
        let Some(wish) = &request.grant else {
            return (store.close(&request.known, &key, &closes).map_or(Answer::Lost, Answer::Closed), 0);
        };
        // As the script does once it has seen that counters stand.
        if wish.window != state.window && !self.has(Fault::GuessedWindowGranted) {
            let lost = store.standing(&request.known).is_err();
            return (if lost { Answer::Lost } else { Answer::Turned(state.window) }, 0);
        }
        let lease = LeaseId { gateway: id.clone(), epoch: wish.epoch, serial: wish.serial };
        let ask = Ask { lease: &lease, max: wish.max, hard: true, want: wish.want };
        match store.grant(&request.known, &(key, wish.window as i64), &closes, &ask) {
            Err(_) => (Answer::Lost, 0),
            Ok((Decision::Stale, ..)) => (Answer::Stale, 0),
            Ok((Decision::Same(units), _, marker)) => {
                (Answer::Granted { window: wish.window, units, marker }, 0)
            }
            Ok((Decision::Fresh(units), _, marker)) => {
                state.noted.of_lost_counters |= units > 0 && !standing;
                (Answer::Granted { window: wish.window, units, marker }, units)
            }
        }
    }

    /// No answer came: what was asked for is asked for again, under its name.
    pub(super) fn unheard(&self, state: &mut State, n: usize) {
        let gateway = &mut state.gateways[n];
        gateway.lane = None;
        if self.has(Fault::LostGrantForgotten)
            && let Some(serial) = gateway.asked.take()
        {
            gateway.slots.retain(|slot| slot.serial != serial);
        }
    }

    pub(super) fn hear(&self, state: &mut State, n: usize) {
        let Some(Lane::Answered(request, answer)) = state.gateways[n].lane.take() else { return };
        match answer {
            Answer::Lost => {}
            Answer::Turned(window) => {
                state.gateways[n].guess = window;
                let grant = request.grant.map(|wish| Wish { window, ..wish });
                state.gateways[n].lane = Some(Lane::Asked(Request { grant, ..request }));
            }
            Answer::Stale => self.granted(state, n, &request, None),
            Answer::Granted { window, units, marker } => {
                state.gateways[n].known.learn(&marker);
                if !self.is_of_lost(state, n, &marker) {
                    self.granted(state, n, &request, Some((window, units)));
                }
            }
            Answer::Closed(marker) => {
                state.gateways[n].known.learn(&marker);
                if !self.is_of_lost(state, n, &marker) {
                    closed(state, n, &request);
                }
            }
        }
    }

    /// `Core::refuse_lost`.
    fn is_of_lost(&self, state: &State, n: usize, marker: &Marker) -> bool {
        marker.generation < state.gateways[n].generation_min && !self.has(Fault::GrantsTakenWhileReported)
    }

    /// `Tally::arrived`; for a lease of an earlier life, what `LeaseBook::close_earlier` does with it.
    fn granted(&self, state: &mut State, n: usize, request: &Request, units: Option<(usize, u32)>) {
        let Some(wish) = &request.grant else { return };
        let now = state.window;
        let reported = state.gateways[n].report.is_some();
        let gateway = &mut state.gateways[n];
        if wish.epoch != gateway.epoch {
            let (window, unspent) = units.unwrap_or((wish.window, 0));
            let close = Returned { serial: wish.serial, epoch: wish.epoch, window, unspent };
            let request = Request { known: gateway.known.clone(), closes: vec![close], grant: None };
            gateway.lane = Some(Lane::Asked(request));
            return;
        }
        gateway.asked = None;
        if units.is_some() {
            gateway.closed(&request.closes);
        }
        let Some((window, units)) = units.filter(|(_, units)| *units > 0) else {
            gateway.slots.retain(|slot| slot.serial != wish.serial);
            return;
        };
        let Some(slot) = gateway.slot(wish.serial) else { return };
        // Its end is counted from when it was asked for.
        let over = window < now && !self.has(Fault::LeaseOutlivesItsWindow);
        slot.open(window, units, over);
        if slot.lowered && !self.has(Fault::AskingBeforeLoweringKept) {
            slot.over = true;
            slot.freeze();
        }
        state.noted.of_lost_counters |= reported;
    }
}

/// `Desk::closed`; for a lease of an earlier life, the end of `LeaseBook::close_earlier`.
fn closed(state: &mut State, n: usize, request: &Request) {
    let gateway = &mut state.gateways[n];
    gateway.closed(&request.closes);
    let epoch = gateway.epoch;
    for close in request.closes.iter().filter(|close| close.epoch != epoch) {
        let Some(slot) = gateway.slot(close.serial) else { continue };
        if !slot.granted {
            slot.open(close.window, close.unspent, true);
            slot.freeze();
        }
        slot.closed_after_kill();
    }
}
