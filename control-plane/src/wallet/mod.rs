//! A buyer's prepaid money: what he has, what is held of it, and every movement. The figures are the journal's own; nothing
//! is kept here. Money comes in through `payments` and goes out for periods and calls.

pub mod routes;
pub mod statement;
