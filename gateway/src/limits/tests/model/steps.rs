//! What each action does to the world. What is said to the store is in `exchange.rs`, what concerns lost counters in `lost.rs`.

use super::gateway::Lane;
use super::*;

impl World {
    pub(super) fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Call(n) => self.call(state, n),
            Action::GiveBack(n, nth) => {
                state.left.given_back -= 1;
                give_back(self, state, n, nth);
            }
            Action::Record(n, nth) => {
                let lease = state.gateways[n].in_flight.remove(nth);
                state.gateways[n].batch(lease, 1);
            }
            Action::Ask(n) => self.ask(state, n),
            Action::Sweep(n) => self.sweep(state, n),
            Action::Decide(n) => self.decide(state, n),
            Action::Hear(n) => self.hear(state, n),
            Action::Lose(n) => {
                state.left.unheard -= 1;
                self.unheard(state, n);
            }
            Action::GiveUp(n) => {
                state.left.unheard -= 1;
                if let Some(Lane::Asked(request)) = &state.gateways[n].lane {
                    state.late.push((n, request.clone()));
                }
                self.unheard(state, n);
            }
            Action::ComesLate(nth) => self.comes_late(state, nth),
            Action::NeverComes(nth) => drop(state.late.remove(nth)),
            Action::Send { gateway, batch, heard } => self.send(state, gateway, batch, heard),
            Action::Kill(n) => kill(state, n),
            Action::Start(n) => self.start(state, n),
            Action::CloseEarlier(n) => self.close_earlier(state, n),
            Action::Unaccounted(n) => self.unaccounted(state, n),
            Action::WindowEnds => self.window_ends(state),
            Action::Lower(n) => self.lower(state, n),
            Action::Revoke(n) => state.gateways[n].revoked = true,
            Action::Forget(n) => self.forget(state, n),
            Action::Copy => {
                state.left.copies -= 1;
                state.old = Some(state.store.clone());
            }
            Action::LoseMemory(loss) => self.lose_memory(state, loss),
            Action::Look(n) => self.look(state, n),
            Action::Build(n) => self.build(state, n),
            Action::Mark(n) => self.mark(state, n),
        }
    }

    fn call(&self, state: &mut State, n: usize) {
        let (window, gateway) = (state.window, &mut state.gateways[n]);
        let Some(place) = gateway.usable() else { return };
        let slot = &mut gateway.slots[place];
        let Some(word) = slot.word.take(1) else { return };
        slot.word = word;
        state.noted.outside_window |= slot.window != window;
        state.noted.of_higher_limit |= slot.max > gateway.max;
        state.noted.admitted[slot.window] += 1;
        state.left.calls -= 1;
        gateway.in_flight.push(slot.serial);
    }

    /// A batch is sent; the control plane keeps it under its name, and its gateway may not hear that.
    fn send(&self, state: &mut State, n: usize, nth: usize, heard: bool) {
        let batch = state.gateways[n].unacked[nth].clone();
        let kept = state.plane.insert(n, &batch, self.fault);
        if kept && heard {
            state.gateways[n].unacked.remove(nth);
        } else if kept {
            state.left.unheard -= 1;
        }
    }

    /// Every life has an epoch of its own. Where no counters can be lost it need not look for them.
    fn start(&self, state: &mut State, n: usize) {
        let last = &state.gateways[n];
        let sure = self.budget.losses == 0;
        let fresh = Gateway::new(&last.id, &Marker::unknown(), last.max, last.guess);
        state.gateways[n] = Gateway {
            slots: last.slots.clone(),
            next_serial: last.next_serial,
            epoch: last.epoch + 1,
            unacked: last.unacked.clone(),
            revoked: last.revoked,
            known: if sure { last.known.clone() } else { Marker::unknown() },
            taken: last.taken.clone().filter(|_| sure),
            ..fresh
        };
    }

    /// `LeaseBook::close_earlier_epoch`'s last part, and `record_unaccounted`.
    fn unaccounted(&self, state: &mut State, n: usize) {
        let gateway = &mut state.gateways[n];
        let earlier = gateway.slots.iter().filter(|slot| slot.epoch != gateway.epoch);
        let units: Vec<(u32, u32)> = earlier
            .map(|slot| (slot.serial, slot.spent().saturating_sub(slot.recorded)))
            .filter(|(_, units)| *units > 0)
            .collect();
        for (serial, units) in units {
            if self.has(Fault::UnaccountedForgotten) {
                gateway.slots.retain(|slot| slot.serial != serial);
            } else {
                gateway.batch(serial, units);
            }
        }
    }

    /// The store's clock goes into the next window. Gateways measure a window's length from when they asked, so for them it is
    /// over by then.
    fn window_ends(&self, state: &mut State) {
        state.left.windows_end -= 1;
        let ended = state.window;
        state.window += 1;
        for gateway in &mut state.gateways {
            for slot in gateway.slots.iter_mut().filter(|slot| slot.granted && slot.window == ended) {
                slot.over |= !self.has(Fault::LeaseOutlivesItsWindow);
            }
        }
    }

    /// `Tally::set_limit`, and `Desk::withdraw`.
    fn lower(&self, state: &mut State, n: usize) {
        let gateway = &mut state.gateways[n];
        gateway.max = self.low;
        let epoch = gateway.epoch;
        for slot in gateway.slots.iter_mut().filter(|slot| slot.epoch == epoch) {
            if !slot.granted {
                slot.lowered = true;
            } else if !self.has(Fault::LoweredLimitLeavesLeases) {
                slot.over = true;
                slot.freeze();
            }
        }
    }
}

/// A call's unit comes back (`Tally::give_back`).
fn give_back(world: &World, state: &mut State, n: usize, nth: usize) {
    let gateway = &mut state.gateways[n];
    let lease = gateway.in_flight.remove(nth);
    if let Some(slot) = gateway.slot(lease) {
        slot.give_back(world.fault);
        state.noted.admitted[slot.window] -= 1;
    }
}

/// As `kill -9`: the table and the spool stay. What was on its way may still come.
fn kill(state: &mut State, n: usize) {
    state.left.kills -= 1;
    let gateway = &mut state.gateways[n];
    for slot in &gateway.slots {
        // Units beside a frozen lease are wasted where its close was decided and not heard.
        state.noted.wasted[slot.window] += slot.late;
    }
    if let Some(Lane::Asked(request)) = gateway.lane.take() {
        state.late.push((n, request));
    }
    gateway.up = false;
    (gateway.asked, gateway.report, gateway.writing) = (None, None, None);
    gateway.in_flight.clear();
}
