//! The subscription's months and the wallet's invoices, each driven by a control plane that may die between two writes.

use rand::Rng as _;

use super::books::Unwritten;
use super::faults::Fault;
use super::world::{Issued, World};
use crate::invoices::slice::{Slice, month_begins_at};
use crate::ledger::{EntryKind, Holder, JournalEntry, Proposal, Spending, Step};
use crate::subscriptions::charge::{Charge, Purpose};
use crate::subscriptions::documents::Subscription;
use crate::subscriptions::life::Due;

const STEPS_MAX: u32 = 40;
/// What the operator keeps of a sale.
pub(super) const RATE_BASIS_POINTS: u32 = 1_500;

impl World {
    /// Takes the first month in hand, where the plan has a price.
    pub(super) fn begin_month(&mut self) {
        if self.terms.price.is_zero() {
            return;
        }
        let becomes = Subscription::begun(self.subscription.edition(), &self.terms, self.now);
        self.subscription.charge(Purpose::Start, (self.terms.price, RATE_BASIS_POINTS), becomes, self.now);
        self.bill();
    }

    /// Does what is due; where it dies, the next turn does what is left.
    pub(super) fn bill(&mut self) {
        self.slow_writers();
        for _ in 0..STEPS_MAX {
            let now = self.now;
            let mut last = false;
            match self.subscription.due(now) {
                Due::Nothing => return,
                Due::End => self.subscription.end(now),
                Due::Renew(edition) => {
                    let becomes = self.subscription.renewed(edition, &self.terms);
                    let price = (self.terms.price, RATE_BASIS_POINTS);
                    self.subscription.charge(Purpose::Renewal, price, becomes, now);
                }
                Due::Finish(charge) => match self.make(&charge) {
                    None => self.decline(&charge),
                    made => self.came(made),
                },
                Due::GiveUp(charge) => self.decline(&charge),
                Due::Try(charge) => {
                    let made = self.make(&charge);
                    last = made.is_none();
                    match made {
                        None => self.subscription.refused(now),
                        made => self.came(made),
                    }
                }
            }
            if last || self.dies() {
                return;
            }
        }
    }

    /// Whether it was made, or will never be; none where the money is not there.
    fn make(&mut self, charge: &Charge) -> Option<bool> {
        let mut proposal = charge.made(&self.subscription);
        if self.has(Fault::RenewedByTry) {
            proposal.facts[0].push_str(&format!(":{}", self.books.entries.len()));
        }
        if self.one_in(4) {
            // Another control plane has come as far as here, and writes when it likes.
            self.provider.slow.push(proposal.clone());
        }
        let now = self.skewed();
        match self.books.append(&proposal, now) {
            Ok(_) => Some(true),
            Err(Unwritten::OtherContent) => Some(false),
            Err(Unwritten::Refused) => None,
        }
    }

    fn decline(&mut self, charge: &Charge) {
        let now = self.skewed();
        let made = if self.has(Fault::DeclinedAndMade) {
            false
        } else {
            matches!(
                self.books.append(&charge.declined(&self.subscription), now),
                Err(Unwritten::OtherContent)
            )
        };
        self.came(Some(made));
    }

    /// The document says what came of it; unless its writer dies before.
    fn came(&mut self, made: Option<bool>) {
        let now = self.now;
        if self.dies() {
            return;
        }
        match made {
            Some(true) => {
                self.subscription.made(now);
                self.provider.months_made += 1;
            }
            Some(false) => self.subscription.declined(now),
            None => {}
        }
    }

    pub(super) fn end_slow_writers(&mut self) {
        let now = self.now;
        for proposal in std::mem::take(&mut self.provider.slow) {
            let _ = self.books.append(&proposal, now);
        }
    }

    fn slow_writers(&mut self) {
        let now = self.skewed();
        for proposal in std::mem::take(&mut self.provider.slow) {
            if self.rng.random_range(0..3) == 0 {
                let _ = self.books.append(&proposal, now);
            } else {
                self.provider.slow.push(proposal);
            }
        }
    }

    /// Writes the invoices of months that are over.
    pub(super) fn invoice(&mut self) {
        if self.has(Fault::MonthByTime) {
            return self.invoice_by_time();
        }
        loop {
            let open = self.walk();
            let Some(open) = open.filter(|open| open.has_charges() && open.is_over(self.now)) else { return };
            if self.dies() {
                continue;
            }
            let covered = open.covered();
            let closing = Proposal {
                facts: vec![format!("invoice:{}", covered.begins_at)],
                kind: EntryKind::Invoice,
                step: Step::CloseMonth(covered.wallet),
                usage: None,
                fee: None,
                reason: "invoiced".to_owned(),
            };
            self.books.append(&closing, self.now).unwrap();
        }
    }

    /// Issues the months that end in the row; the one that does not is left.
    fn walk(&mut self) -> Option<Slice> {
        let wallet = self.wallet();
        let from = self.invoices.last().map_or(0, |last| last.covered.through_seq) as usize;
        let (mut open, mut issued) = (None::<Slice>, Vec::new());
        for entry in self.books.row(&wallet.to_string()).skip(from) {
            if let Some(month) = &mut open {
                if month.take(entry).unwrap() {
                    continue;
                }
                if month.has_charges() {
                    issued.push(month.clone());
                }
            }
            open = Some(Slice::begin(wallet, entry).unwrap());
        }
        for month in issued {
            let lines = month.charges().unwrap();
            let total_micro = month.spent_micro();
            self.invoices.push(Issued { covered: month.covered().clone(), lines, total_micro });
        }
        open
    }

    /// As it is often done: a month is what has a time in it, when it is looked at.
    fn invoice_by_time(&mut self) {
        let wallet = self.wallet();
        let until = month_begins_at(self.now);
        let done = self.invoices.last().map_or(i64::MIN, |last| last.covered.ends_at.0);
        let within = |entry: &&JournalEntry| entry.at.0 >= done && entry.at < until;
        let entries: Vec<&JournalEntry> = self.books.row(&wallet.to_string()).filter(within).collect();
        let spent = |entry: &&JournalEntry| {
            matches!(entry.kind, EntryKind::PeriodFee | EntryKind::Calls).then(|| self.taken_for_calls(entry))
        };
        let total_micro = entries.iter().filter_map(spent).sum();
        let Some(first) = entries.first() else { return };
        let Ok(slice) = Slice::begin(wallet, first) else { return };
        let mut covered = slice.covered().clone();
        covered.ends_at = until;
        self.invoices.push(Issued { covered, lines: Vec::new(), total_micro });
    }

    /// What the wallet's purchases come to.
    pub(super) fn spent_micro(&self) -> i64 {
        let wallet = self.wallet();
        let purchase = |entry: &&JournalEntry| matches!(entry.kind, EntryKind::PeriodFee | EntryKind::Calls);
        let of = |entry: &JournalEntry| {
            entry.lines.iter().filter(|line| line.account == wallet).map(|line| -line.micro).sum::<i64>()
        };
        self.books.row(&wallet.to_string()).filter(purchase).map(of).sum()
    }

    /// What an entry took for calls, from the wallet or the operator.
    pub(super) fn taken_for_calls(&self, entry: &JournalEntry) -> i64 {
        let pays = |holder: Holder| matches!(holder, Holder::Wallet(_) | Holder::WriteOff);
        entry.lines.iter().filter(|line| pays(line.account.holder)).map(|line| -line.micro).sum()
    }

    /// A moment before or after a month's end.
    pub(super) fn near_months_end(&mut self) {
        let ends_at = Spending::default().at(self.now).resets_at();
        let off_ms = self.rng.random_range(-2_000..2_000);
        self.now = self.now.max(ends_at.plus_ms(off_ms));
    }
}
