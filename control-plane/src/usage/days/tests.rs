//! What a day holds at most, and what is told of one that fails.

use apiclay_config::ids::{CredentialId, RouteId};
use apiclay_config::usage::Counts;

use super::*;
use crate::usage::sums::{BUCKETS_MAX, CELLS_MAX, COUNT_MAX, CREDENTIALS_MAX};

/// As many have every bucket between them; more of them would change numbers alone, which are the longest already.
const HOURS: i64 = 4;

/// An hour with as many cells as there may be, and in these as many buckets, from this one on.
fn fullest(hour: i64, first_bucket: usize) -> Rollup {
    let most = u64::MAX / 2;
    let buckets = (0..BUCKETS_MAX / CELLS_MAX).map(|n| format!("{}:{most}", (first_bucket + n) % 240));
    let latency = buckets.collect::<Vec<_>>().join(" ");
    let counts: Counts =
        serde_json::from_value(serde_json::json!({"calls": COUNT_MAX, "billable_calls": COUNT_MAX,
        "bytes_in": COUNT_MAX, "bytes_out": COUNT_MAX, "units": COUNT_MAX, "assumed_calls": COUNT_MAX,
        "capped_calls": COUNT_MAX, "latency": latency}))
        .unwrap();
    let mut rollup = Rollup::new(SubscriptionId::from_u128(u128::MAX), hour);
    let cell = |n: usize| Cell {
        key: CellKey {
            subscription: rollup.subscription,
            route: RouteId::from_u128(u128::MAX - n as u128 / 6),
            plan_revision: u32::MAX,
            minute: hour * MINUTES_PER_HOUR,
            class: u8::try_from(n % 6).unwrap(),
        },
        counts: counts.clone(),
    };
    let with = |n: usize| OfCredential {
        credential: CredentialId::from_u128(u128::MAX - n as u128),
        counts: Counts { latency: Default::default(), ..counts.clone() },
    };
    (rollup.cells, rollup.credentials) =
        ((0..CELLS_MAX).map(cell).collect(), (0..CREDENTIALS_MAX).map(with).collect());
    rollup
}

#[test]
fn a_day_of_the_fullest_hours_fits_into_a_document() {
    let day = 20_000;
    let mut adding = Adding::new(SubscriptionId::from_u128(u128::MAX), day);
    let mut hours = Vec::new();
    for hour in 0..HOURS {
        let hour = fullest(day * HOURS_PER_DAY + hour, usize::try_from(hour).unwrap() * 70);
        hours.push(serde_json::to_vec(&hour).unwrap().len());
        adding.add(&hour);
    }
    let sum = adding.done();
    let bytes = serde_json::to_vec(&sum).unwrap().len();
    let calls: u64 = sum.cells.iter().map(|cell| cell.counts.calls.min(1)).sum();
    println!("the fullest hour has {} bytes, the day {bytes}", hours[0]);
    assert!(bytes.max(hours[0]) < crate::store::DOCUMENT_MAX_BYTES, "{} and {bytes} bytes", hours[0]);
    assert_eq!((sum.cells.len(), calls, sum.credentials.len()), (CELLS_MAX, 5_000, CREDENTIALS_MAX));
}

#[test]
fn a_day_that_fails_is_told_once_and_again_when_it_failed_anew() {
    let told = Told::default();
    let failed = |day| (SubscriptionId::from_u128(1), day, StoreError::VersionMismatch);
    let news = |days: &[i64]| told.tell(&days.iter().map(|day| failed(*day)).collect::<Vec<_>>());
    assert_eq!([news(&[1]), news(&[1]), news(&[1, 2]), news(&[2]), news(&[1, 2])], [1, 0, 1, 0, 1]);
}
