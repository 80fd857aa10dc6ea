//! What a user wrote, read strictly: the text must mean the same to us, to the URL standard and to a resolver, so that
//! what is vetted is what is connected to. Pure. Next: [`super::Egress::resolve`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

use super::EgressError;

/// Longest address taken.
pub const URL_MAX_BYTES: usize = 2_048;
/// Longest host name DNS has.
const HOST_MAX_BYTES: usize = 253;

/// How to speak to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As it stands before `://`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An address a user wrote, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// How to speak.
    pub scheme: Scheme,
    /// Name in lower case, or literal address; a v6 address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// Begins with `/`.
    pub path_and_query: String,
}

impl Destination {
    /// Reads `text` without asking whether it may be reached; [`super::Egress::parse`] asks.
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        let raw_host = check_raw(text)?;
        let url = Url::parse(text).map_err(|_| malformed("cannot be read"))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(malformed("is neither http nor https")),
        };
        // The URL standard turns 2130706433, 0177.0.0.1, 0x7f.1 and 127.1 into addresses. A text that is not the
        // address in its one usual form is not taken, whatever it would turn into.
        let rewritten =
            || malformed("has a number where a host belongs: write an IP address in full, in decimal");
        let host = match url.host() {
            Some(Host::Ipv4(v4)) if v4.to_string() == raw_host => raw_host.to_owned(),
            Some(Host::Ipv6(v6)) => {
                let inner = raw_host.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
                if inner.and_then(|t| t.parse::<Ipv6Addr>().ok()) != Some(v6) {
                    return Err(malformed("has an IPv6 address that is not written plainly"));
                }
                v6.to_string()
            }
            Some(Host::Domain(name)) if name.eq_ignore_ascii_case(raw_host) => name.to_owned(),
            _ => return Err(rewritten()),
        };
        let port = url.port().unwrap_or_else(|| scheme.default_port());
        if port == 0 {
            return Err(malformed("has port 0"));
        }
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self { scheme, host, port, path_and_query })
    }

    /// The address, where the host is one and no name.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// What belongs in `Host`: brackets around a v6 address, no port where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// Everything that a lenient parser would repair in silence is refused here. Gives the host as written.
fn check_raw(text: &str) -> Result<&str, EgressError> {
    if text.len() > URL_MAX_BYTES {
        return Err(malformed("is longer than 2048 bytes"));
    }
    if text.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'\\') {
        return Err(malformed("has a space, a control character or a backslash in it"));
    }
    if text.contains('#') {
        return Err(malformed("has a fragment (#)"));
    }
    let (scheme, rest) = text.split_once("://").ok_or(malformed("has no scheme"))?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(malformed("is neither http nor https"));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(malformed("has a user name or password in it"));
    }
    let (host, port) = match authority.rfind(']') {
        Some(end) => (&authority[..=end], &authority[end + 1..]),
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_number) {
        return Err(malformed("has a port that is not a number"));
    }
    if host.is_empty() || host.len() > HOST_MAX_BYTES {
        return Err(malformed("has no host, or one longer than 253 bytes"));
    }
    // Other alphabets have digits and dots of their own, which IDNA turns into ours; and %31 is a 1. Zones (%eth0) too.
    if !host.is_ascii() || host.contains('%') {
        return Err(malformed("has a host with characters that need translation: write a name as xn--"));
    }
    Ok(host)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn malformed(problem: &'static str) -> EgressError {
    EgressError::Malformed { problem }
}
