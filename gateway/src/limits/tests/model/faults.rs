//! Faults that are planted in the machine or in a mirror, and the claim that each must break: the check is only worth what it
//! would find.

use super::worlds::{FORGOTTEN, LOST, LOWERED, SET_BACK, UNHEARD, USED_UP, WINDOW, explore};
use super::*;

/// A fault that the machine or a mirror is made to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    GenerationNotChecked,
    OldCopyAccepted,
    DoubledCloseReturnsTwice,
    ForgetReturnsUnits,
    LostGrantForgotten,
    FrozenLeaseTakesUnitsBack,
    SpentUnitsComeBackAfterKill,
    UnaccountedForgotten,
    BatchCountsTwice,
    RecordLeftOutOfRebuild,
    LaterBatchesRebuiltToo,
    SilentGatewayNotAwaited,
    GrantsTakenWhileReported,
    LoweredLimitLeavesLeases,
    AskingBeforeLoweringKept,
    LeaseOutlivesItsWindow,
    GuessedWindowGranted,
    CapNotKept,
}

/// Two calls show more than one.
const LOST_TWO_CALLS: World = World { budget: Budget { calls: 2, ..LOST.budget }, ..LOST };

/// Each fault, a world in which it shows, and the claim that it breaks.
const FAULTS: [(Fault, World, &str); 18] = [
    (Fault::GenerationNotChecked, LOST, claims::LOST),
    (Fault::OldCopyAccepted, SET_BACK, claims::COVERED),
    (Fault::DoubledCloseReturnsTwice, UNHEARD, claims::COVERED),
    (Fault::ForgetReturnsUnits, FORGOTTEN, claims::COVERED),
    (Fault::LostGrantForgotten, UNHEARD, claims::WHOLE),
    (Fault::FrozenLeaseTakesUnitsBack, UNHEARD, claims::WHOLE),
    (Fault::SpentUnitsComeBackAfterKill, UNHEARD, claims::COVERED),
    (Fault::UnaccountedForgotten, UNHEARD, claims::RECORD),
    (Fault::BatchCountsTwice, UNHEARD, claims::RECORD),
    (Fault::RecordLeftOutOfRebuild, LOST_TWO_CALLS, claims::COVERED),
    (Fault::LaterBatchesRebuiltToo, LOST_TWO_CALLS, claims::WHOLE),
    (Fault::SilentGatewayNotAwaited, LOST, claims::COVERED),
    (Fault::GrantsTakenWhileReported, LOST, claims::LOST),
    (Fault::LoweredLimitLeavesLeases, LOWERED, claims::LOWERED),
    (Fault::AskingBeforeLoweringKept, LOWERED, claims::LOWERED),
    (Fault::LeaseOutlivesItsWindow, WINDOW, claims::WINDOW),
    (Fault::GuessedWindowGranted, WINDOW, claims::WINDOW),
    (Fault::CapNotKept, USED_UP, claims::CAP),
];

#[test]
fn every_planted_fault_breaks_a_claim() {
    let mut wrong = Vec::new();
    for (fault, world, claim) in FAULTS {
        let (states, broken) = explore(World { fault: Some(fault), ..world }, Some(claim));
        let broken: Vec<_> = broken.into_iter().map(|(name, path)| (name, path.len())).collect();
        println!("{fault:?}: {broken:?} within {states} states");
        if !broken.iter().any(|(name, _)| *name == claim) {
            wrong.push(fault);
        }
    }
    assert!(wrong.is_empty(), "these faults do not break what they should: {wrong:?}");
}
