//! A buyer's prepaid money: what he has, what is held of it, and every movement (`statement`, `routes`), what he allows
//! himself to spend (`budget`), and the calls that gateways take from it (`leases`). The figures are the journal's own. Money
//! comes in through `payments`.

pub mod budget;
pub mod leases;
pub mod routes;
pub mod statement;
