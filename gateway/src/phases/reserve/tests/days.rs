//! Trials that are counted in days.

use super::*;

#[tokio::test]
async fn a_trial_by_days_is_free_until_its_last_moment_and_takes_no_unit() {
    let (last, after) = (TRIED_UNTIL.plus_ms(-1), TRIED_UNTIL);
    for (pays, per_call) in [(false, false), (false, true), (true, true)] {
        let shop = shop(pays, 1, |plan| {
            (plan.priced, plan.per_call, plan.trial_days) = (true, per_call, Some(14));
        });
        for _ in 0..3 {
            assert_eq!(of(&shop.call_at(last).await.unwrap()), NOTHING);
        }
        // Kept: a call that is dropped before its answer gives its unit back.
        let paid = if pays { shop.call_at(after).await.ok() } else { None };
        let refused = if pays { (402, "balance_exhausted") } else { (429, "trial_exhausted") };
        assert_eq!(paid.as_ref().map(of), pays.then_some(WALLET));
        let rejection = shop.call_at(after).await.err().unwrap();
        assert_eq!(shop.refused(&rejection), refused);
    }
    // The month is paid for; and a plan that costs nothing ends with its trial as well.
    let paid = shop(true, 0, |plan| (plan.priced, plan.trial_days) = (true, Some(14)));
    assert_eq!(of(&paid.call_at(after).await.unwrap()), NOTHING);
    let taste = shop(false, 0, |plan| plan.trial_days = Some(14));
    assert_eq!(of(&taste.call_at(last).await.unwrap()), NOTHING);
    assert_eq!(taste.call_at(after).await.err().unwrap().code(), "trial_exhausted");
}

#[tokio::test]
async fn of_a_trial_by_calls_and_days_the_first_to_end_ends_it() {
    for pays in [false, true] {
        let terms = |plan: &mut Plan| {
            per_call(plan);
            (plan.trial_calls, plan.trial_days) = (Some(2), Some(14));
        };
        let used_up = shop(pays, 1, terms);
        let tried = [used_up.call().await.unwrap(), used_up.call().await.unwrap()];
        assert_eq!(tried.each_ref().map(of), [TRIAL, TRIAL]);
        let too_late = shop(pays, 1, terms);
        for next in [used_up.call().await, too_late.call_at(TRIED_UNTIL).await] {
            match next {
                Ok(context) => assert!(pays && of(&context) == WALLET),
                Err(rejection) => assert!(!pays && rejection.code() == "trial_exhausted"),
            }
        }
    }
}

#[tokio::test]
async fn a_trial_by_days_that_was_never_begun_is_over() {
    let mut shop = shop(false, 0, |plan| (plan.priced, plan.trial_days) = (true, Some(14)));
    shop.snapshot.subscriptions.values_mut().next().unwrap().trial_until = None;
    let runtime = shop.compiler.compile(&shop.snapshot, None, 1).unwrap();
    shop.credential = runtime.credentials.values().next().unwrap().clone();
    assert_eq!(shop.call().await.err().unwrap().code(), "trial_exhausted");
}
