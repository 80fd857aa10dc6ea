//! Money of a top-up that goes back to the buyer.
//!
//! A refund of ours ([`Refund`]) is reserved against its order, held on the wallet, asked of the provider, and then posted
//! or void (`steps`). Each of these is decided by one atomic write, which is not the refund's own: the reservation by the
//! order's version, the hold by the journal's fact `refund:<our id>`, the end by `close:<hold>`. The refund notes how far
//! it is, and can be taken up by anybody at any step. `told` takes what the provider says, of ours and of what was given
//! back at its desk, `decided` what an admin says in its place; `rules` is pure. Next: `routes_refunds` and the reconciler, which go on with a refund.

mod decided;
mod documents;
pub(crate) mod rules;
mod steps;
mod told;

pub use decided::{DECISION_AFTER_MS, gauge_undecided, undecided};
pub(super) use documents::register;
pub use documents::{Refund, RefundState};
