//! What operators do and see, over the real programs: metrics, readiness, stopping, backups, forgetting a gateway, and
//! counters that are lost.
//!
//! `shop.rs` is the marketplace with something on sale; then a file a theme.

mod backup;
mod counters_lost;
mod forget;
mod metrics;
mod ready;
mod shop;
mod stop;
