//! The control plane over real connections and a real embedded store. One binary, so that one link builds them all; a
//! module a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

mod access_tokens;
mod api;
mod bad_amounts;
mod bad_input;
mod bounds;
mod budgets;
mod buying_pages;
mod calls_left;
mod changes;
mod checkout;
mod codes;
mod commission;
mod definitions;
mod folding;
mod giving_back;
mod idempotency;
mod invoice_pages;
mod invoices;
mod key_pages;
mod late_payments;
mod lost;
mod main_flow;
mod members;
mod months;
mod pages;
mod password_tries;
mod payments;
mod plan_changes;
mod plugins;
mod prices;
mod push;
mod rebuild;
mod rebuild_bounds;
mod reconciling;
mod refund_decisions;
mod refunds;
mod retention;
mod sign_in;
mod subscription_pages;
mod support;
mod sweeping;
mod tenants;
mod test_calls;
mod tls;
mod usage_books;
mod usage_days;
mod usage_pages;
mod vendor_usage;
mod wallet_leases;
mod wallet_pages;
mod wallet_tiers;
mod zones;
