//! The reconciliation itself: accounts that agree pass, and each way of not agreeing is found.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, RouteId};

use super::*;
use crate::market::PRICE_PAISE;
use crate::record::{Usage, Wallet};

const QUOTA: usize = 0;
const PREPAID: usize = 1;
const TRIAL: usize = 2;

struct Story {
    sold: Vec<Sold>,
    notes: Vec<Note>,
    served: Vec<Served>,
    record: Record,
    outages: Vec<Outage>,
}

fn sold(number: usize, plan: Plan, limit: u64) -> Sold {
    let id = SubscriptionId::from_u128(number as u128 + 1);
    Sold { id, plan, limit: Some(limit), windows: 1, buyer: 0 }
}

fn request(number: u64) -> RequestId {
    RequestId::from_u128(100 + u128::from(number))
}

fn event(number: u64, subscription: usize, status: u16, ending: Ending) -> Event {
    let billable = ending == Ending::Complete && status < 500;
    Event {
        request: request(number),
        subscription: SubscriptionId::from_u128(subscription as u128 + 1),
        credential: CredentialId::from_u128(0),
        route: RouteId::from_u128(0),
        plan_revision: 1,
        at: Timestamp(0),
        duration_us: 0,
        status,
        tries: 1,
        ending,
        billable,
        kept: billable || ending == Ending::Interrupted,
        units: apiclay_config::usage::Units::CALL,
        leases: [0; 5],
        bytes_in: 0,
        bytes_out: 0,
    }
}

impl Story {
    /// A quota of three, of which one call was interrupted by a kill and one is in the vendor's log alone; a wallet for one
    /// call, whose client missed the answer's end at the kill; a trial of one; a failure of the vendor; refusals.
    fn that_agrees() -> Self {
        let note = |number, subscription, outcome: Outcome| Note {
            number,
            subscription,
            gateway: 0,
            begun_ms: 900,
            ended_ms: 1_000,
            request: (outcome != Outcome::Broken).then_some(request(number)),
            outcome,
        };
        let refused = |status, code: &str| Outcome::Refused(status, code.to_owned());
        let served = |number, status| Served { number, request: request(number), status, units: None };
        let mut unaccounted = event(90, QUOTA, 0, Ending::Unaccounted);
        unaccounted.kept = true;
        Self {
            sold: vec![
                sold(QUOTA, Plan::Quota, 3),
                sold(PREPAID, Plan::Prepaid, 1),
                sold(TRIAL, Plan::Trial, 1),
            ],
            notes: vec![
                note(0, QUOTA, Outcome::Answered(200)),
                note(1, QUOTA, Outcome::Answered(500)),
                note(2, QUOTA, Outcome::Broken),
                note(3, QUOTA, Outcome::Broken),
                note(4, PREPAID, Outcome::Broken),
                note(5, TRIAL, Outcome::Answered(404)),
                note(6, TRIAL, refused(429, "trial_exhausted")),
                note(7, PREPAID, refused(503, "not_ready")),
            ],
            served: vec![
                served(0, 200),
                served(1, 500),
                served(2, 200),
                served(3, 200),
                served(4, 200),
                served(5, 404),
            ],
            record: Record {
                usage: vec![
                    Usage { calls: 2, billable: 1 },
                    Usage { calls: 1, billable: 1 },
                    Usage { calls: 1, billable: 1 },
                ],
                wallets: vec![Wallet { balance: 0, held: 0 }],
                events: vec![
                    event(0, QUOTA, 200, Ending::Complete),
                    event(1, QUOTA, 500, Ending::Complete),
                    event(2, QUOTA, 200, Ending::Interrupted),
                    event(4, PREPAID, 200, Ending::Complete),
                    event(5, TRIAL, 404, Ending::Complete),
                    unaccounted,
                ],
            },
            outages: vec![Outage {
                victim: Victim::Gateway(0),
                kill_ms: 999,
                back_ms: 1_500,
                serving_ms: 1_600,
            }],
        }
    }

    fn told(&self) -> Result<Figures, String> {
        self.told_of(&[PRICE_PAISE])
    }

    fn told_of(&self, top_ups_paise: &[u64]) -> Result<Figures, String> {
        reconcile(&Accounts {
            sold: &self.sold,
            top_ups_paise,
            notes: &self.notes,
            served: &self.served,
            record: &self.record,
            outages: &self.outages,
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
    let left: Vec<Left> = figures.open.iter().map(|open| open.left).collect();
    assert_eq!(left, [Left::Interrupted, Left::VendorAlone, Left::Billed]);
    let Sum { answered, billed, interrupted, unaccounted, excess, .. } = figures.sums[QUOTA];
    assert_eq!((answered, billed, interrupted, unaccounted, excess), (2, 1, 1, 1, 0));
}

#[test]
fn a_whole_answer_that_is_not_on_record_or_not_billed_is_a_fault() {
    let mut story = Story::that_agrees();
    story.record.events.remove(0);
    story.fails_because("answered whole with 200; the vendor has");
    let mut story = Story::that_agrees();
    story.record.events[0].billable = false;
    story.fails_because("call 0, billed otherwise");
    let mut story = Story::that_agrees();
    story.record.events[1].billable = true;
    story.fails_because("call 1, billed otherwise");
    let mut story = Story::that_agrees();
    story.record.events[0].tries = 2;
    story.fails_because("call 0, another number of tries on record");
}

#[test]
fn a_call_that_broke_off_is_on_record_as_it_was_too() {
    let mut story = Story::that_agrees();
    story.record.events[3].billable = false;
    story.fails_because("call 4, billed otherwise");
    let mut story = Story::that_agrees();
    story.record.events[2].billable = true;
    story.fails_because("call 2, billed otherwise");
    let mut story = Story::that_agrees();
    story.record.events[3].subscription = story.sold[QUOTA].id;
    story.fails_because("call 4, on record for another subscription");
    let mut story = Story::that_agrees();
    story.record.events[3].status = 404;
    story.fails_because("call 4, another status on record");
    let mut story = Story::that_agrees();
    story.record.events.pop();
    story.fails_because("1 calls in the vendor's log alone");
    story.fails_because("only 2 of 3 could be used");
}

#[test]
fn a_call_that_is_on_record_twice_or_of_nobody_is_a_fault() {
    let mut story = Story::that_agrees();
    story.record.events.push(event(0, QUOTA, 200, Ending::Complete));
    story.fails_because("on record twice");
    let mut story = Story::that_agrees();
    story.record.events.push(event(50, QUOTA, 200, Ending::Complete));
    story.fails_because("never came to the vendor");
}

#[test]
fn the_api_tells_what_the_batches_hold() {
    let mut story = Story::that_agrees();
    story.record.usage[QUOTA].billable = 2;
    story.fails_because("the API tells");
}

#[test]
fn a_limit_that_is_passed_or_not_used_up_is_a_fault() {
    let mut story = Story::that_agrees();
    story.sold[QUOTA].limit = Some(2);
    story.fails_because("3 of 2 calls");
    story.sold[QUOTA].limit = Some(4);
    story.fails_because("only 3 of 4 could be used");
    let mut story = Story::that_agrees();
    story.sold[TRIAL].limit = Some(2);
    story.fails_because("1 calls of trials could not be used, 0 are on record as unaccounted");
    let mut unaccounted = event(91, 900, 0, Ending::Unaccounted);
    unaccounted.leases[LeasedWindow::Trial as usize] = 1;
    story.record.events.push(unaccounted);
    story.fails_because("2 units are unaccounted for, 1 open calls have no record");
}

#[test]
fn a_wallet_that_was_charged_otherwise_or_still_holds_is_a_fault() {
    let mut story = Story::that_agrees();
    story.record.wallets[0].balance = 1;
    story.fails_because("paise of 25 after 1 billed calls");
    let mut story = Story::that_agrees();
    story.record.wallets[0].held = 1;
    story.fails_because("paise of 25 after 1 billed calls");
}

#[test]
fn a_call_that_breaks_off_or_is_refused_without_a_kill_is_a_fault() {
    let mut story = Story::that_agrees();
    story.outages[0].victim = Victim::Gateway(1);
    story.fails_because("gateway 0 was not killed then");
    let mut story = Story::that_agrees();
    story.outages[0].kill_ms = 1_001;
    story.fails_because("refused with 503 not_ready after 100 ms, no kill near");
    let mut story = Story::that_agrees();
    story.notes[7].outcome = Outcome::Refused(503, "counters_unavailable".to_owned());
    story.fails_because("refused with 503 counters_unavailable after 100 ms, no kill near");
    let mut story = Story::that_agrees();
    story.notes[6].outcome = Outcome::Refused(429, "quota_exhausted".to_owned());
    story.fails_because("refused with 429 quota_exhausted after 100 ms, no kill near");
}

#[test]
fn a_refused_call_never_comes_to_the_vendor() {
    let mut story = Story::that_agrees();
    story.served.push(Served { number: 6, request: request(6), status: 200, units: None });
    story.fails_because("429 trial_exhausted, but the vendor has");
}

#[test]
fn more_open_calls_than_connections_are_a_fault() {
    let mut story = Story::that_agrees();
    for number in 10..12 {
        story.notes.push(Note { number, ..story.notes[2].clone() });
    }
    story.fails_because("5 calls broke on 4 connections");
}

#[test]
fn units_on_record_are_those_that_the_vendor_said_and_the_wallet_paid() {
    let by_units = |said, count: u32| {
        let mut story = Story::that_agrees();
        (story.sold[TRIAL].plan, story.sold[TRIAL].limit) = (Plan::Metered, Some(15));
        story.notes.remove(6);
        story.served[5].units = said;
        story.record.events[4].units.count = count;
        // The buyer's other call costs 25, and a unit 5.
        story.record.wallets[0].balance = 15 * 5 - u64::from(count) * 5;
        (story, 25 + 15 * 5)
    };
    let told = |(story, top_up): &(Story, u64)| story.told_of(&[*top_up]);
    for (said, count) in [(Some(7), 7), (None, 3), (Some(25), 10), (Some(15), 10)] {
        let figures = told(&by_units(said, count));
        if 15 - count < 10 {
            assert_eq!(figures.unwrap().sums[TRIAL].units, u64::from(count));
        } else {
            assert!(figures.unwrap_err().contains("only 3 of 15 could be used"));
        }
    }
    assert!(told(&by_units(Some(7), 8)).unwrap_err().contains("the vendor said Some(7) units"));
    let (mut story, top_up) = by_units(Some(7), 7);
    story.record.wallets[0].balance += 5;
    assert!(told(&(story, top_up)).unwrap_err().contains("after 2 billed calls of 60 paise"));
    let (mut story, top_up) = by_units(Some(7), 7);
    story.sold[TRIAL].limit = Some(6);
    assert!(told(&(story, top_up)).unwrap_err().contains("7 of 6 calls"));
}
