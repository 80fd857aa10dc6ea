//! The lease protocol, model-checked: the pure counter store (`limits/store.rs`), two gateways and a control plane (mirrored in
//! `gateway.rs` and `plane.rs`), in every order in which calls, messages, kills and losses can come within small bounds. Each
//! world of `worlds.rs` has what can go wrong in it; `claims.rs` says what must hold. `faults.rs` plants faults, each of which
//! must break a claim. What the bounds are and what that leaves out: docs/decisions/0009.

use std::sync::Arc;

use stateright::{Model, Property};

use crate::limits::store::{Marker, StoreState};
use faults::Fault;
use gateway::Gateway;
use plane::Plane;

mod claims;
mod exchange;
mod faults;
mod gateway;
mod lost;
mod plane;
mod steps;
mod worlds;

const GATEWAYS: usize = 2;
const WINDOWS: usize = 2;
const KEY: &str = "quota:sub_1:day";

/// How a store loses its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Loss {
    /// Emptied while it runs.
    Flushed,
    /// Started anew, with nothing.
    Empty,
    /// Started anew, with all it had.
    WithData,
    /// Started anew, with what it had when it was copied.
    OldCopy,
}

/// What may happen how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    calls: u8,
    /// Calls that may be given back.
    given_back: u8,
    /// Lease names a gateway may use.
    leases: u32,
    /// Requests and answers that get lost or late, batches' included.
    unheard: u8,
    kills: u8,
    losses: u8,
    copies: u8,
    windows_end: u8,
    lowered: bool,
    revoked: bool,
    forgotten: bool,
}

/// One world: its bounds, and the fault planted in it.
#[derive(Debug, Clone, Copy)]
struct World {
    name: &'static str,
    max: u64,
    want: u32,
    cap: u32,
    /// The limit that it is lowered to.
    low: u64,
    budget: Budget,
    /// The second gateway's clock is a day ahead: it takes the window for the next one.
    clocks_apart: bool,
    /// How memory is lost, where it does not go back to a copy.
    losses: &'static [Loss],
    fault: Option<Fault>,
}

/// What must not have happened, noted where it would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Noted {
    /// Units admitted and not given back, by window.
    admitted: [u32; WINDOWS],
    /// Units that calls gave back to a lease that was closed, or withdrawn, and that a kill or a release then took from nobody.
    wasted: [u32; WINDOWS],
    /// Units granted to askings that were given up and came late, be they heard of later or never.
    late: u32,
    outside_window: bool,
    of_higher_limit: bool,
    of_lost_counters: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    store: StoreState,
    old: Option<StoreState>,
    runs: u8,
    window: usize,
    gateways: [Gateway; GATEWAYS],
    plane: Plane,
    /// Requests that their gateway has given up, on their way still.
    late: Vec<(usize, gateway::Request)>,
    left: Budget,
    lost_once: bool,
    noted: Noted,
}

/// What happens next; the number is a gateway's.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Call(usize),
    GiveBack(usize, usize),
    Record(usize, usize),
    Ask(usize),
    Sweep(usize),
    /// The store decides what is under way.
    Decide(usize),
    Hear(usize),
    /// An answer gets lost.
    Lose(usize),
    /// A request is given up.
    GiveUp(usize),
    /// A request that was given up comes all the same, or never does.
    ComesLate(usize),
    NeverComes(usize),
    Send {
        gateway: usize,
        batch: usize,
        heard: bool,
    },
    Kill(usize),
    Start(usize),
    CloseEarlier(usize),
    Unaccounted(usize),
    WindowEnds,
    Lower(usize),
    Revoke(usize),
    Forget(usize),
    Copy,
    LoseMemory(Loss),
    /// A gateway looks whether counters stand, and reports where they do not.
    Look(usize),
    Build(usize),
    Mark(usize),
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let marker = Marker { generation: 1, run: "run-0".into() };
        let store = StoreState { marker: Some(marker.clone()), ..StoreState::empty("run-0") };
        let gateway = |n: usize| {
            let guess = usize::from(n == 1 && self.clocks_apart);
            Gateway::new(["a", "b"][n], &marker, self.max, guess)
        };
        vec![State {
            store,
            old: None,
            runs: 0,
            window: 0,
            gateways: [gateway(0), gateway(1)],
            plane: Plane::new(),
            late: Vec::new(),
            left: self.budget,
            lost_once: false,
            noted: Noted::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for n in 0..GATEWAYS {
            self.actions_of(state, n, actions);
        }
        for nth in 0..state.late.len() {
            actions.extend([Action::ComesLate(nth), Action::NeverComes(nth)]);
        }
        if state.left.windows_end > 0 {
            actions.push(Action::WindowEnds);
        }
        if state.left.copies > 0 {
            actions.push(Action::Copy);
        }
        if state.left.losses > 0 {
            match (self.budget.copies, &state.old) {
                (0, _) => actions.extend(self.losses.iter().copied().map(Action::LoseMemory)),
                (_, Some(_)) => actions.push(Action::LoseMemory(Loss::OldCopy)),
                _ => {}
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        self.step(&mut next, action);
        for gateway in &mut next.gateways {
            let wasted = gateway.tidy();
            (0..WINDOWS).for_each(|window| next.noted.wasted[window] += wasted[window]);
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        claims::all()
    }
}

impl World {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn actions_of(&self, state: &State, n: usize, actions: &mut Vec<Action>) {
        let gateway = &state.gateways[n];
        if !gateway.up {
            actions.push(Action::Start(n));
            if state.left.forgotten {
                actions.push(Action::Forget(n));
            }
            return;
        }
        // One is as the other, so one of them is killed, and one forgotten where none is killed.
        if state.left.kills > 0 && n == 0 {
            actions.push(Action::Kill(n));
        }
        let calls = state.left.calls > 0 && !gateway.revoked;
        if calls && gateway.usable().is_some() {
            actions.push(Action::Call(n));
        }
        for (nth, lease) in gateway.in_flight.iter().enumerate() {
            if gateway.in_flight.iter().position(|first| first == lease) == Some(nth) {
                actions.push(Action::Record(n, nth));
                if state.left.given_back > 0 {
                    actions.push(Action::GiveBack(n, nth));
                }
            }
        }
        match &gateway.lane {
            None => self.words_of(state, n, calls, actions),
            Some(lane) => {
                let asked = matches!(lane, gateway::Lane::Asked(_));
                actions.push(if asked { Action::Decide(n) } else { Action::Hear(n) });
                if state.left.unheard > 0 {
                    actions.push(if asked { Action::GiveUp(n) } else { Action::Lose(n) });
                }
            }
        }
        for batch in 0..if state.plane.enrolled[n] { gateway.unacked.len() } else { 0 } {
            actions.push(Action::Send { gateway: n, batch, heard: true });
            if state.left.unheard > 0 {
                actions.push(Action::Send { gateway: n, batch, heard: false });
            }
        }
        if state.left.lowered && gateway.max != self.low {
            actions.push(Action::Lower(n));
        }
        if state.left.revoked && !gateway.revoked {
            actions.push(Action::Revoke(n));
        }
        if state.left.forgotten && (n == 0 || self.budget.kills > 0) {
            actions.push(Action::Forget(n));
        }
        match &gateway.writing {
            Some(writing) => actions.push(if writing.built { Action::Mark(n) } else { Action::Build(n) }),
            None => match state.store.standing(&gateway.known).ok() {
                Some(standing) if gateway.taken == Some(standing.clone()) => {}
                _ => actions.push(Action::Look(n)),
            },
        }
    }

    /// What a gateway may say to the store now.
    fn words_of(&self, state: &State, n: usize, calls: bool, actions: &mut Vec<Action>) {
        let gateway = &state.gateways[n];
        let may_name = calls && gateway.next_serial <= self.budget.leases && gateway.usable().is_none();
        if gateway.asked.is_some() || may_name {
            actions.push(Action::Ask(n));
        }
        if gateway.own().any(|slot| slot.granted && !slot.word.is_closed()) {
            actions.push(Action::Sweep(n));
        }
        let mut earlier = gateway.slots.iter().filter(|slot| slot.epoch != gateway.epoch);
        if earlier.clone().any(|slot| !slot.word.is_closed()) {
            actions.push(Action::CloseEarlier(n));
        } else if earlier.any(|slot| slot.spent() > slot.recorded) {
            actions.push(Action::Unaccounted(n));
        }
    }
}
