//! A buyer's prepaid money: what he has, what is held of it, and every movement (`statement`, `routes`), and the calls that
//! gateways take from it (`leases`). The figures are the journal's own. Money comes in through `payments`.

pub mod leases;
pub mod routes;
pub mod statement;
