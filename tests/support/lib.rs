//! Real servers for the tests: each starts on a free port in a temporary folder and ends with the value that holds it.
//!
//! Tests run against the parts that production runs against. A server whose program is missing is a failed test that says
//! what to do, never a skipped one. `process.rs` is what all of them stand on; then a file a server.

pub mod api;
pub mod apiclay;
pub mod certificate;
pub mod chance;
pub mod chromium;
pub mod http1;
pub mod marketplace;
pub mod mongod;
pub mod nginx;
pub mod ports;
pub mod process;
pub mod redis;
pub mod tls;
pub mod wait;

pub use api::Api;
pub use apiclay::{Apiclay, Ready};
pub use certificate::Certificate;
pub use chance::Chance;
pub use chromium::Chromium;
pub use http1::{Answer, Wire};
pub use marketplace::Marketplace;
pub use mongod::Mongod;
pub use nginx::{Nginx, NginxSite};
pub use ports::free_port;
pub use process::Process;
pub use redis::{Persist, Redis};
pub use tls::{TlsClient, TlsConnection};
pub use wait::{http_client, trusting_client, wait_until};
