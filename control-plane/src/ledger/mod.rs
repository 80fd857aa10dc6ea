//! The journal of all money: balanced entries, inserted once, never changed, verifiable as a chain.
//!
//! `account` says whose money, `entry` what is stored, `proposal` what is asked for, `rules` how an entry is made of it (pure),
//! `spending` what a wallet spends in a month (pure), `journal` appends, `balance` sums, `verify` replays everything, `export`
//! writes it for auditors. Whoever moves money appends a [`Proposal`] under the business fact it stands for, and may append it
//! again as often as he likes.

pub mod account;
pub mod balance;
pub mod entry;
pub mod export;
pub mod journal;
pub mod proposal;
pub mod rules;
pub mod spending;
pub mod verify;

#[cfg(test)]
mod tests;

pub use account::{Holder, LedgerAccount};
pub use balance::register;
pub use entry::{Amount, EntryKind, Fee, Hold, JournalEntry, Outcome, Slot, Usage};
pub use journal::{Appended, Journal, LedgerError};
pub use proposal::{Proposal, Step};
pub use rules::{Head, Refused};
pub use spending::{Ceiling, Spending};
