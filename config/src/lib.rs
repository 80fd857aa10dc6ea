//! What both planes agree on: names, money, time, secrets, the configuration a gateway needs, usage on the wire,
//! settings, and the one door out. Nothing here knows HTTP servers, databases or plugins; both planes start from here.

pub mod access_log;
pub mod admin;
pub mod background;
pub mod clock;
pub mod counters;
pub mod egress;
pub mod ids;
pub mod key;
pub mod money;
pub mod process;
pub mod quota_key;
pub mod seal;
pub mod settings;
pub mod snapshot;
pub mod usage;
pub mod wallet_leases;
pub mod wire;
pub mod zone;
