//! From the text of a setting to its value, by kind. Pure; what is wrong is told without the text. Next: `load.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;
use url::{Host, Url};

use super::table::Kind;

/// A problem in words that follow the setting's name.
pub(super) type Problem = &'static str;

const DOMAIN_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;
const NAME_MAX_BYTES: usize = 64;
/// How many ranges an operator may allow; each outgoing connection looks through them.
const NETWORKS_MAX: usize = 256;

impl Kind {
    /// What to write instead.
    pub(super) fn remedy(self) -> String {
        match self {
            Self::Url => "write scheme, host and port only, like https://apis.example.com:8443".to_owned(),
            Self::Address => "write IP address and port, like 127.0.0.1:8080 or [::]:8080".to_owned(),
            Self::Path => "write a path".to_owned(),
            Self::Secret(schemes) => {
                format!("write a connection string that begins with {}", schemes.join(" or "))
            }
            Self::Domain => "write a domain name in lower case, like gw.example.com".to_owned(),
            Self::Name => format!("write at most {NAME_MAX_BYTES} letters, digits, _ or -"),
            Self::Text => "write a text".to_owned(),
            Self::Number { unit, min, max } => format!("write a whole number of {unit} from {min} to {max}"),
            Self::Switch => "write on or off".to_owned(),
            Self::Choice(words) => format!("write {}", words.join(" or ")),
            Self::Networks => {
                format!("write up to {NETWORKS_MAX} ranges like 10.0.0.0/8 or fd00::/8, with commas between")
            }
        }
    }
}

/// An origin: what more a URL can hold would be dropped in silence, so it is refused.
pub(super) fn url(text: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name or password in it");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("has a path, query or fragment");
    }
    if url.port() == Some(0) {
        return Err("has port 0, which cannot be reached");
    }
    Ok(url)
}

/// Whether only this machine can be on the other end.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(v4)) => v4.is_loopback(),
        Some(Host::Ipv6(v6)) => v6.is_loopback(),
        None => false,
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| "is not an address with a port")
}

#[expect(clippy::unnecessary_wraps, reason = "all parsers have one shape")]
pub(super) fn path(text: &str) -> Result<PathBuf, Problem> {
    Ok(PathBuf::from(text))
}

#[expect(clippy::unnecessary_wraps, reason = "all parsers have one shape")]
pub(super) fn text(text: &str) -> Result<String, Problem> {
    Ok(text.to_owned())
}

/// The scheme is in the table; what follows it is for the driver to judge.
pub(super) fn secret(kind: Kind, text: &str) -> Result<SecretString, Problem> {
    match kind {
        Kind::Secret(schemes) if schemes.iter().any(|s| text.len() > s.len() && text.starts_with(s)) => {
            Ok(SecretString::from(text))
        }
        _ => Err("is not a connection string of this kind"),
    }
}

pub(super) fn domain(text: &str) -> Result<String, Problem> {
    let is_label = |label: &str| {
        (1..=LABEL_MAX_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_name = text.len() <= DOMAIN_MAX_BYTES && text.split('.').all(is_label);
    // A last label of digits would be read as an IP address by every URL parser.
    let last = text.rsplit('.').next().unwrap_or_default();
    if is_name && !last.bytes().all(|b| b.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("is not a domain name")
    }
}

pub(super) fn name(text: &str) -> Result<String, Problem> {
    let is_name = text.len() <= NAME_MAX_BYTES
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_name { Ok(text.to_owned()) } else { Err("has characters that a name may not have, or is too long") }
}

pub(super) fn number(kind: Kind, text: &str) -> Result<u64, Problem> {
    let Kind::Number { min, max, .. } = kind else { return Err("is not a number") };
    let is_plain = text.bytes().all(|b| b.is_ascii_digit());
    let value =
        text.parse::<u64>().ok().filter(|_| is_plain).ok_or("is not a whole number, or is far too large")?;
    if (min..=max).contains(&value) { Ok(value) } else { Err("is out of range") }
}

pub(super) fn switch(text: &str) -> Result<bool, Problem> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("is neither on nor off"),
    }
}

pub(super) fn choice(kind: Kind, text: &str) -> Result<&'static str, Problem> {
    let Kind::Choice(words) = kind else { return Err("is not a choice") };
    words.iter().find(|word| **word == text).copied().ok_or("is none of its words")
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Problem> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let ranges: Vec<IpNet> = text
        .split(',')
        .map(|part| part.trim().parse::<IpNet>().map_err(|_| "has a part that is not a range"))
        .collect::<Result<_, _>>()?;
    if ranges.len() > NETWORKS_MAX {
        return Err("has too many ranges");
    }
    // 10.1.2.3/8 is as likely a typing error for /32 as for 10.0.0.0/8: opening 16 million addresses needs no guess.
    if ranges.iter().any(|range| range.addr() != range.network()) {
        return Err("has a range whose address is not its first (10.1.2.3/8 for 10.0.0.0/8)");
    }
    Ok(ranges)
}
