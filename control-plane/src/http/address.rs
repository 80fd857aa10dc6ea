//! The address that a request came from, for limits by address. It is the connection's; where that is a proxy which the
//! operator trusts, the one that the proxy saw. Anybody else can write any header, so theirs is not looked at. Without a
//! connection (a test that calls the router directly) it is unspecified.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::app::App;

/// Where each proxy adds the address that it was called from, at the end.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The peer's address; of an IPv6 address its /64, since that is what one customer of a provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(six) => Self(IpAddr::V6((u128::from(six) & !u128::from(u64::MAX)).into())),
            four => Self(four),
        }
    }
}

impl FromRequestParts<App> for PeerAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        Ok(Self::new(client(peer, &parts.headers, &app.trusted_proxies)))
    }
}

/// The nearest address that is not a trusted proxy's: from the connection's back through what each trusted proxy says it
/// was called from. Where one says what is no address, it is that proxy's own.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut hops = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','))
        .map(|hop| read(hop.trim()));
    let mut client = peer.to_canonical();
    while is_trusted(&client) {
        match hops.next() {
            Some(Some(before)) => client = before,
            Some(None) | None => break,
        }
    }
    client
}

/// An address, to which some proxies add a port.
fn read(hop: &str) -> Option<IpAddr> {
    let address =
        hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|range| range.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_on_what_it_saw_itself() {
        assert_eq!(client_of("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client_of("::ffff:10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client_of("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        // What the client wrote itself stands to the left of what the proxy added.
        assert_eq!(client_of("10.0.0.1", &["198.51.100.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client_of("10.0.0.1", &["198.51.100.1", "192.0.2.7,10.0.0.2"]), "192.0.2.7");
        assert_eq!(client_of("fd00::1", &["[2001:db8::1]:443, 10.0.0.2:80"]), "2001:db8::1");
        // No word, or none that can be read: the last that is known.
        assert_eq!(client_of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", &["192.0.2.7, nonsense"]), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }
}
