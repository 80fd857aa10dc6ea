//! The one door out, as these settings have it: what the operator allows, and his own listeners and databases, which are
//! never reached through it.

use std::net::{SocketAddr, ToSocketAddrs as _};

use secrecy::ExposeSecret as _;
use url::Url;

use super::Settings;
use crate::egress::Egress;

/// Redis' own port.
const REDIS_PORT: u16 = 6_379;
/// MongoDB's own port.
const MONGODB_PORT: u16 = 27_017;

impl Settings {
    /// The door out; `exact` are addresses that pass whatever else is said, such as the demo's upstream.
    #[must_use]
    pub fn egress(&self, exact: Vec<SocketAddr>) -> Egress {
        let mut never = vec![self.control.listen, self.gateway.listen, self.admin_listen];
        if let Some(uri) = &self.redis_url
            && let Ok(url) = Url::parse(uri.expose_secret())
            && let Some(host) = url.host_str()
        {
            never.extend(addresses(host.trim_matches(['[', ']']), url.port().unwrap_or(REDIS_PORT)));
        }
        if let Some(uri) = &self.store {
            // Several hosts, which a URL cannot have: `mongodb://user:password@a:1,b:2/name`.
            let rest = uri.expose_secret().split_once("://").map_or("", |(_, rest)| rest);
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            for host in authority.rsplit('@').next().unwrap_or_default().split(',') {
                let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
                never.extend(addresses(name.trim_matches(['[', ']']), port.parse().unwrap_or(MONGODB_PORT)));
            }
        }
        Egress::new(self.egress_allow.clone(), exact, never)
    }
}

/// The addresses of a name now. One that does not resolve cannot be kept from being reached, nor be reached.
fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}
