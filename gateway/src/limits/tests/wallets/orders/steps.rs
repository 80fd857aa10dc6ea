//! What each action does to a world. Functions mirror those that their comments name.

use super::sides::{Close, Gateway, Lane, Plane, Record, Request, Slot};
use super::{Action, Fault, State, WANT_CALLS, World};

impl World {
    pub(super) fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Call(n) => self.call(state, n),
            Action::End(n, nth, used) => self.end(state, n, nth, used),
            Action::Batch(n) => state.gateways[n].batch(),
            Action::Send(n) => {
                if !state.gateways[n].unsent.is_empty() {
                    let (batch, records) = state.gateways[n].unsent.remove(0);
                    state.plane.ingest(batch, records);
                }
            }
            Action::Ask(n) => self.ask(&mut state.gateways[n]),
            Action::Sweep(n, too_old) => {
                let closes = state.gateways[n].closes(self.per_call, too_old);
                say(&mut state.gateways[n], closes);
            }
            Action::CloseEarlier(n) => {
                let closes = state.gateways[n].earlier_closes();
                say(&mut state.gateways[n], closes);
            }
            Action::Decide(n) => {
                if let Some(Lane::Asked(request)) = state.gateways[n].lane.take() {
                    let granted = self.decide(&mut state.plane, &request);
                    state.gateways[n].lane = Some(Lane::Answered(request, granted));
                }
            }
            Action::Hear(n) => hear(&mut state.gateways[n]),
            Action::Lose(n) => {
                state.unheard -= 1;
                unheard(&mut state.gateways[n]);
            }
            Action::GiveUp(n) => {
                state.unheard -= 1;
                state.late.extend(unheard(&mut state.gateways[n]));
            }
            Action::ComesLate(nth) => {
                let request = state.late.remove(nth);
                self.decide(&mut state.plane, &request);
            }
            Action::NeverComes(nth) => drop(state.late.remove(nth)),
            Action::Kill(n) => {
                state.kills -= 1;
                let gateway = &mut state.gateways[n];
                if let Some(Lane::Asked(request)) = gateway.lane.take() {
                    state.late.push(request);
                }
                gateway.up = false;
                gateway.asked = None;
                gateway.in_flight.clear();
            }
            Action::Start(n) => state.gateways[n].start(),
        }
    }

    fn call(&self, state: &mut State, n: usize) {
        let gateway = &mut state.gateways[n];
        let Some(place) = gateway.usable(self.per_call) else { return };
        let (number, epoch) = (gateway.number, gateway.epoch);
        let slot = &mut gateway.slots[place];
        let Some(word) = slot.word.take(self.per_call) else { return };
        slot.word = word;
        let serial = slot.serial;
        gateway.in_flight.push(serial);
        state.taken_late |= state.plane.closes.contains_key(&(number, epoch, serial));
        state.calls -= 1;
    }

    /// `Unit::keep`, `Tally::give_back`, and the record.
    fn end(&self, state: &mut State, n: usize, nth: usize, used: Option<u32>) {
        let gateway = &mut state.gateways[n];
        let serial = gateway.in_flight.remove(nth);
        let rest = self.per_call - used.unwrap_or(0);
        if let Some(slot) = gateway.slot(serial) {
            slot.used += used.unwrap_or(0);
        }
        if let Some(slot) = gateway.slot(serial)
            && rest > 0
            && self.fault != Some(Fault::RestKept)
        {
            slot.give_back(rest);
            if self.fault == Some(Fault::RestTwice) && used == Some(1) {
                slot.give_back(rest);
            }
        }
        if let Some(units) = used {
            state.used += units;
            let said = if self.fault == Some(Fault::RecordSaysMost) { self.per_call } else { units };
            gateway.spool.push(Record { serial, units: said, billable: true });
        }
    }

    /// `Tally::prepare`.
    fn ask(&self, gateway: &mut Gateway) {
        let closes = gateway.closes(self.per_call, false);
        let (serial, again) = match gateway.asked {
            Some((serial, _)) => (serial, true),
            None => {
                let serial = gateway.next_serial;
                gateway.next_serial += 1;
                gateway.slots.push(Slot::asked(serial, gateway.epoch));
                (serial, false)
            }
        };
        gateway.asked = Some((serial, again));
        let grant = Some((gateway.number, gateway.epoch, serial));
        gateway.lane = Some(Lane::Asked(Request { closes, grant }));
    }

    fn decide(&self, plane: &mut Plane, request: &Request) -> Option<u32> {
        request.closes.iter().for_each(|close| plane.close(close));
        request.grant.and_then(|lease| plane.grant(lease, self.per_call, WANT_CALLS))
    }
}

fn say(gateway: &mut Gateway, closes: Vec<Close>) {
    if !closes.is_empty() {
        gateway.lane = Some(Lane::Asked(Request { closes, grant: None }));
    }
}

/// `Tally::arrived`, `Tally::no_lease`, `Desk::wallet_closed`.
fn hear(gateway: &mut Gateway) {
    let Some(Lane::Answered(request, granted)) = gateway.lane.take() else { return };
    gateway.closed(&request.closes);
    let Some((_, _, serial)) = request.grant else { return };
    let again = gateway.asked.take().is_some_and(|(_, again)| again);
    match granted {
        Some(units @ 1..) => {
            if let Some(slot) = gateway.slot(serial) {
                slot.open(units);
            }
        }
        _ if again => {
            if let Some(slot) = gateway.slot(serial) {
                slot.open(0);
                slot.freeze();
            }
        }
        _ => gateway.slots.retain(|slot| slot.serial != serial),
    }
}

/// Nobody answers; what was said may come all the same.
fn unheard(gateway: &mut Gateway) -> Option<Request> {
    match gateway.lane.take() {
        Some(Lane::Asked(request)) => Some(request),
        _ => None,
    }
}
