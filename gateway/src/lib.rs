//! The data plane: buyers' calls to vendors' upstreams, authenticated, limited, counted. Start at [`start`]; a call's way
//! is [`front`], then the phases, driven by [`proxy`]; its record goes to [`metering`], the configuration comes by [`sync`].

pub mod context;
pub mod counters;
mod deadline;
mod earlier;
mod error;
mod files;
pub mod front;
pub mod gateway;
pub mod life;
pub mod limits;
mod listen;
pub mod mapped;
pub mod metering;
pub mod observe;
pub mod phases;
pub mod proxy;
mod rebuild;
pub mod rejection;
mod relay;
mod run;
pub mod runtime;
mod serve;
pub mod sync;
mod thread_number;
pub mod units;
pub mod upstreams;

pub use error::GatewayError;
pub use run::{FOLDER, parts, run};
pub use serve::{Identity, Parts, Running, start};
