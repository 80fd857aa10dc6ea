//! What operators do and see, over the real programs: metrics, readiness, stopping, backups, forgetting a gateway,
//! counters that are lost or stall, calls that a wallet pays for, and what the books say.
//!
//! `shop.rs` is the marketplace with something on sale, `load.rs` somebody who calls it; then a file a theme.

mod backup;
mod books;
mod counters_lost;
mod counters_stall;
mod forget;
mod load;
mod metrics;
mod ready;
mod shop;
mod stop;
mod wallet;
