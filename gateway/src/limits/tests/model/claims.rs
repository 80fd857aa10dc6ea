//! What must hold in every state of every world.

use stateright::{Model as _, Property};

use super::*;

pub(super) const LIMIT: &str = "never more is admitted and kept than the limit";
pub(super) const COVERED: &str = "what calls have or can take was granted";
pub(super) const WINDOW: &str = "no unit is taken outside its window";
pub(super) const LOWERED: &str = "no unit is taken of a lease from before its gateway's limit was lowered";
pub(super) const LOST: &str = "nothing is granted by counters that are lost, nor taken while it is reported";
pub(super) const CAP: &str = "no more is open than the cap";
pub(super) const WHOLE: &str = "in the end the whole limit can be used: no unit is lost";
pub(super) const RECORD: &str = "in the end every call that was kept is on record once";
pub(super) const ENDS: &str = "a world comes to an end with all of the limit used";

pub(super) fn all() -> Vec<Property<World>> {
    vec![
        Property::always(LIMIT, limit),
        Property::always(COVERED, covered),
        Property::always(WINDOW, |_, state: &State| !state.noted.outside_window),
        Property::always(LOWERED, |_, state: &State| !state.noted.of_higher_limit),
        Property::always(LOST, |_, state: &State| !state.noted.of_lost_counters),
        Property::always(CAP, cap),
        Property::always(WHOLE, whole),
        Property::always(RECORD, record),
        Property::sometimes(ENDS, ends),
    ]
}

/// Published: where counters are lost, what a forgotten gateway had spent beyond its usage on record is in excess; at most its
/// open leases and what it had not sent. In a world of one loss that is all the excess there is.
fn excess(state: &State, window: usize) -> u32 {
    if !state.lost_once {
        return 0;
    }
    let forgotten = (0..GATEWAYS).filter(|n| !state.plane.enrolled[*n]).map(|n| &state.gateways[n]);
    let of = |gateway: &Gateway| {
        let slots = gateway.slots.iter().filter(|slot| slot.window == window);
        let open: u32 = slots.map(|slot| slot.open_units()).sum();
        open + gateway.unacked.iter().map(|batch| batch.units[window]).sum::<u32>()
    };
    forgotten.map(of).sum()
}

/// A limit that is lowered holds for what is granted from then on: what was granted before it stays within the one before.
fn limit(world: &World, state: &State) -> bool {
    let within =
        |window| u64::from(state.noted.admitted[window]) <= world.max + u64::from(excess(state, window));
    (0..WINDOWS).all(within)
}

/// Units out at counters that stand.
fn granted(state: &State, window: usize) -> Option<u32> {
    let marker = state.store.marker.as_ref().filter(|marker| marker.run == state.store.run)?;
    let counter = state.store.counters.get(&(Arc::from(KEY), window as i64));
    let counter = counter.filter(|(generation, _)| *generation == marker.generation);
    Some(counter.map_or(0, |(_, counter)| counter.granted as u32))
}

fn covered(_: &World, state: &State) -> bool {
    let at_hand = |window| {
        let up = state.gateways.iter().filter(|gateway| gateway.up);
        let slots = up.flat_map(Gateway::own).filter(|slot| slot.is_usable() && slot.window == window);
        slots.map(|slot| slot.word.free()).sum::<u32>()
    };
    (0..WINDOWS).all(|window| {
        granted(state, window).is_none_or(|granted| {
            state.noted.admitted[window] + at_hand(window) <= granted + excess(state, window)
        })
    })
}

fn cap(world: &World, state: &State) -> bool {
    state.gateways.iter().all(|gateway| gateway.open_units() <= world.cap)
}

/// Whether all is said and done, be there calls to come or not; or nothing more can happen, which must be the same.
fn is_over(world: &World, state: &State) -> bool {
    let calm = |gateway: &Gateway| gateway.up && gateway.lane.is_none() && gateway.in_flight.is_empty();
    if !state.late.is_empty() || !state.gateways.iter().all(calm) {
        return false;
    }
    let counts = |n: &usize| state.plane.enrolled[*n];
    if granted(state, state.window).is_some()
        && (0..GATEWAYS).filter(counts).all(|n| state.gateways[n].is_quiet())
    {
        return true;
    }
    let mut actions = Vec::new();
    world.actions(state, &mut actions);
    !actions.into_iter().any(|action| world.next_state(state, action).is_some())
}

/// Of the window that goes on: of others nobody can use anything.
fn whole(world: &World, state: &State) -> bool {
    if !is_over(world, state) {
        return true;
    }
    let window = state.window;
    let Some(granted) = granted(state, window) else { return false };
    let used = state.plane.used(window);
    // A forgotten gateway's open leases count as spent, and what it has not sent is never on record.
    if state.plane.enrolled.contains(&false) {
        return granted + excess(state, window) >= used;
    }
    let enrolled = state.gateways.iter().all(Gateway::is_quiet);
    let at_hand = state.gateways.iter().flat_map(Gateway::own).filter(|slot| slot.window == window);
    let out = used + at_hand.map(|slot| slot.word.free()).sum::<u32>();
    let lost = state.noted.wasted[window] + state.noted.late + state.plane.twice[window];
    enrolled && (out..=out + lost).contains(&granted)
}

fn record(world: &World, state: &State) -> bool {
    let all = !state.plane.enrolled.contains(&false);
    !all || !is_over(world, state)
        || (0..WINDOWS).all(|window| state.plane.used(window) == state.noted.admitted[window])
}

fn ends(world: &World, state: &State) -> bool {
    let most = world.max.min(u64::from(world.budget.calls)) as u32;
    state.noted.admitted.contains(&most) && is_over(world, state)
}
