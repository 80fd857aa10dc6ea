//! The worlds that are explored to their last state, and their bounds.

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries};

use super::claims;
use super::*;

/// `large` asks for the worlds that take minutes.
const SIZE: &str = "APICLAY_TEST_MODEL";
/// Threads that explore one world.
const THREADS: usize = 2;

const NOTHING: Budget = Budget {
    calls: 2,
    given_back: 0,
    leases: 1,
    unheard: 0,
    kills: 0,
    losses: 0,
    copies: 0,
    windows_end: 0,
    lowered: false,
    revoked: false,
    forgotten: false,
};

const PLAIN: World = World {
    name: "",
    max: 5,
    want: 2,
    cap: 2,
    low: 1,
    budget: NOTHING,
    clocks_apart: false,
    losses: &[Loss::Flushed, Loss::Empty, Loss::WithData],
    fault: None,
};

/// Messages that get lost or late, a kill, a unit that is given back.
pub(super) const UNHEARD: World =
    World { name: "unheard", budget: Budget { given_back: 1, unheard: 1, kills: 1, ..NOTHING }, ..PLAIN };
/// A limit that all of is used, by many small leases.
pub(super) const USED_UP: World = World {
    name: "used up",
    max: 2,
    cap: 1,
    budget: Budget { calls: 3, given_back: 1, leases: 2, ..NOTHING },
    ..PLAIN
};
/// A window that ends, and clocks that are a day apart.
pub(super) const WINDOW: World = World {
    name: "window",
    budget: Budget { leases: 2, windows_end: 1, ..NOTHING },
    clocks_apart: true,
    ..PLAIN
};
/// A limit that is lowered.
pub(super) const LOWERED: World =
    World { name: "lowered", budget: Budget { leases: 2, lowered: true, ..NOTHING }, ..PLAIN };
/// A subscription that is revoked, and a kill.
pub(super) const REVOKED: World =
    World { name: "revoked", budget: Budget { given_back: 1, kills: 1, revoked: true, ..NOTHING }, ..PLAIN };
/// A store that is emptied while it runs.
pub(super) const LOST: World = World {
    name: "lost",
    budget: Budget { calls: 1, losses: 1, ..NOTHING },
    losses: &[Loss::Flushed],
    ..PLAIN
};
/// A store that loses its memory, and a kill.
pub(super) const LOST_AND_KILLED: World = World {
    name: "lost and killed",
    budget: Budget { calls: 1, kills: 1, losses: 1, ..NOTHING },
    losses: &[Loss::Empty],
    ..PLAIN
};
/// A store that goes back in time.
pub(super) const SET_BACK: World =
    World { name: "set back", budget: Budget { calls: 1, losses: 1, copies: 1, ..NOTHING }, ..PLAIN };
/// A gateway that is forgotten, be it up or killed.
pub(super) const FORGOTTEN: World =
    World { name: "forgotten", budget: Budget { kills: 1, forgotten: true, ..NOTHING }, ..PLAIN };
/// A gateway that is forgotten, before counters are lost or after.
pub(super) const FORGOTTEN_AND_LOST: World = World {
    name: "forgotten and lost",
    budget: Budget { calls: 1, losses: 1, forgotten: true, ..NOTHING },
    losses: &[Loss::Empty],
    ..PLAIN
};

/// Worlds whose store loses nothing.
const KEPT: [World; 6] = [UNHEARD, USED_UP, WINDOW, LOWERED, REVOKED, FORGOTTEN];
/// And those whose store does.
const FORGETFUL: [World; 3] = [LOST, SET_BACK, FORGOTTEN_AND_LOST];

/// The same where they are larger: minutes, and gigabytes.
const LARGER: [World; 7] = [
    World { budget: Budget { given_back: 1, ..LOWERED.budget }, ..LOWERED },
    World { budget: Budget { unheard: 1, ..WINDOW.budget }, ..WINDOW },
    World { losses: PLAIN.losses, ..LOST },
    World { budget: Budget { calls: 2, ..LOST.budget }, ..LOST },
    LOST_AND_KILLED,
    World { budget: Budget { calls: 2, ..SET_BACK.budget }, ..SET_BACK },
    World { budget: Budget { calls: 2, ..FORGOTTEN_AND_LOST.budget }, ..FORGOTTEN_AND_LOST },
];

/// Explores a world breadth first, to its last state or until a claim is broken (this one, if one is named): how many states were
/// seen, and what breaks.
pub(super) fn explore(
    world: World,
    claim: Option<&'static str>,
) -> (usize, Vec<(&'static str, Vec<Action>)>) {
    let until =
        claim.map_or(HasDiscoveries::AnyFailures, |claim| HasDiscoveries::AllOf(BTreeSet::from([claim])));
    let begun = Instant::now();
    let checker = world
        .checker()
        .threads(if claim.is_some() { 1 } else { THREADS })
        .finish_when(until)
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}: {states} states, {} steps deep, {seconds:.1} s", world.name, checker.max_depth());
    let broken = claims::all().into_iter().filter(|claim| claim.name != claims::ENDS);
    let broken = broken.filter_map(|claim| Some((claim.name, checker.discovery(claim.name)?.into_actions())));
    let broken: Vec<_> = broken.collect();
    if broken.is_empty() {
        checker.assert_any_discovery(claims::ENDS);
    }
    (states, broken)
}

fn holds_in(worlds: impl IntoIterator<Item = World>) {
    for world in worlds {
        let (_, broken) = explore(world, None);
        assert!(broken.is_empty(), "{}: {broken:#?}", world.name);
    }
}

#[test]
fn no_order_of_events_breaks_the_lease_protocol() {
    holds_in(KEPT);
}

#[test]
fn no_order_of_events_breaks_it_where_the_store_loses_its_memory() {
    holds_in(FORGETFUL);
}

#[test]
fn no_order_of_events_breaks_it_in_larger_worlds() {
    if std::env::var(SIZE).is_ok_and(|size| size == "large") {
        holds_in(LARGER);
    }
}
