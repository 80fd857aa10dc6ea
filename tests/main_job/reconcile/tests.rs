//! The reconciliation itself: accounts that agree pass, and each way of not agreeing is found.

use super::*;
use crate::load::Kind;

const KILL_MS: u64 = 1_000;

struct Story {
    max: Option<u64>,
    calls: Vec<Call>,
    served: Vec<Served>,
    usage: Usage,
    by_key: [Usage; 2],
}

impl Story {
    /// Three calls answered (one of them a failure of the vendor), one refused, one broken at the kill.
    fn that_agrees() -> Self {
        let call = |number, kind, outcome| Call {
            number,
            subscription: 0,
            key: usize::from(number == 2),
            kind,
            ended_ms: KILL_MS,
            outcome,
            request: 100 + number,
        };
        let served = |number, status| Served { number, status, request: 100 + number };
        Self {
            max: Some(2),
            calls: vec![
                call(0, Kind::Now, Outcome::Answered(200)),
                call(1, Kind::Fail, Outcome::Answered(500)),
                call(2, Kind::Missing, Outcome::Answered(404)),
                call(3, Kind::Now, Outcome::Refused(429, "quota_exhausted")),
                call(4, Kind::Fail, Outcome::Broken),
            ],
            served: vec![served(0, 200), served(1, 500), served(2, 404), served(4, 500)],
            usage: Usage { calls: 3, billable: 2 },
            by_key: [Usage { calls: 2, billable: 1 }, Usage { calls: 1, billable: 1 }],
        }
    }

    fn told(&self) -> Result<Figures, String> {
        let allowance = Allowance { name: "one".to_owned(), max: self.max, windows: 1 };
        reconcile(&Accounts {
            allowances: &[allowance],
            calls: &self.calls,
            served: &self.served,
            usage: &[self.usage],
            by_key: &self.by_key,
            kills_ms: &[KILL_MS],
            connections: 1,
        })
    }

    fn fails_because(&self, why: &str) {
        let fault = self.told().expect_err(why);
        assert!(fault.contains(why), "{fault:?} does not say {why:?}");
    }
}

#[test]
fn accounts_that_agree_give_their_figures() {
    let figures = Story::that_agrees().told().unwrap();
    assert_eq!((figures.sent, figures.answered, figures.failed_upstream, figures.broken), (5, 3, 1, 1));
    assert_eq!((figures.counted, figures.billed, figures.excess_max), (3, 2, 0));
    assert_eq!(figures.refused, BTreeMap::from([("quota_exhausted", 1)]));
}

#[test]
fn a_call_open_at_a_kill_may_be_counted_or_billed_but_no_more_than_it() {
    let mut story = Story::that_agrees();
    story.usage.calls = 4;
    story.by_key[0].calls = 3;
    assert_eq!(story.told().unwrap().open_counted, 1);
    story.usage.calls = 5;
    story.fails_because("calls is 5; clients saw 3, 1 broke");
}

#[test]
fn an_answer_that_is_not_billed_or_billed_twice_is_a_fault() {
    let mut story = Story::that_agrees();
    story.usage.billable = 1;
    story.fails_because("billable_calls is 1");
    story.usage.billable = 4;
    story.fails_because("billable_calls is 4");
}

#[test]
fn a_call_that_stands_under_another_key_is_a_fault() {
    let mut story = Story::that_agrees();
    story.by_key = [Usage { calls: 3, billable: 2 }, Usage { calls: 0, billable: 0 }];
    story.fails_because("key 1: calls is 0; clients saw 1, 0 broke");
    let mut story = Story::that_agrees();
    story.by_key[0].calls = 3;
    story.fails_because("all keys have (4, 2), all subscriptions (3, 2)");
}

#[test]
fn a_limit_that_was_passed_is_a_fault_even_when_usage_does_not_know() {
    let mut story = Story::that_agrees();
    story.max = Some(1);
    story.fails_because("2 calls were let through, 1 in a window were sold");
    // The broken call too, where the vendor served it.
    story.max = Some(2);
    story.served[3].status = 200;
    story.fails_because("3 calls were let through");
}

#[test]
fn a_quota_that_could_not_be_used_is_a_fault() {
    let mut story = Story::that_agrees();
    story.max = Some(3);
    assert!(story.told().is_ok(), "the broken call may have cost a unit");
    story.max = Some(4);
    story.fails_because("only 2 of 4 could be used");
}

#[test]
fn calls_and_the_vendors_log_are_compared_one_by_one() {
    let mut story = Story::that_agrees();
    story.served[0].request = 7;
    story.fails_because("different request ids");
    let mut story = Story::that_agrees();
    story.served.remove(0);
    story.fails_because("call 0: answered, but not by the vendor");
    let mut story = Story::that_agrees();
    story.served.push(Served { number: 3, status: 200, request: 103 });
    story.fails_because("call 3: quota_exhausted, but the vendor served it");
    let mut story = Story::that_agrees();
    story.served.push(Served { number: 9, status: 200, request: 109 });
    story.fails_because("call 9: the vendor served it, nobody sent it");
}

#[test]
fn a_call_that_breaks_without_a_kill_is_a_fault() {
    let mut story = Story::that_agrees();
    story.calls[4].ended_ms = KILL_MS + UNSETTLED_AFTER_KILL_MS + 1;
    story.fails_because("no kill near");
}
