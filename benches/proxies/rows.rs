//! What is measured, as data: the rows, each a base that it differs from in one thing, and who is called in them.

use apiclay_config::snapshot::Window;

/// The base row's body: 90 bytes of JSON.
pub const SMALL_BODY: &str =
    r#"{"city":"Vienna","at":"2026-11-24T12:00:00Z","temperature_c":7.5,"wind_ms":3.1,"ok":true} "#;

/// An answer's body.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    /// Below the listing's path.
    pub path: &'static str,
    /// How long it is.
    pub bytes: usize,
}

const SMALL: Body = Body { path: "/90b", bytes: SMALL_BODY.len() };
/// Bodies that the upstream has in files.
pub const LARGE: [Body; 2] = [Body { path: "/10k", bytes: 10_240 }, Body { path: "/1m", bytes: 1_048_576 }];

/// How calls reach the proxy. To the upstream they go over HTTP/1.1 in the clear, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS, one stream a connection, and one key, as h2load knows no more.
    Http2,
}

/// When the next call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When the last one on its connection was answered: as many as the proxy can do.
    Full,
    /// When it is due, at half of what nginx did in the base row. Only here do latencies mean anything.
    HalfOfNginx,
}

/// Who is called in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// All.
    All,
    /// The gateway in its last two stages, and those that it is compared with.
    Bodies,
    /// The same, save those that only differ with bodies that are large.
    Compared,
    /// The same, save those that do something comparable.
    Few,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As the table names it. Without a comma, which stands between names on the command line.
    pub name: &'static str,
    /// What is answered.
    pub body: Body,
    /// Client connections; `None` is as many as asked for on the command line.
    pub connections: Option<u32>,
    /// Headers of a request beside those that all have.
    pub headers: u32,
    /// Keys that the gateway knows; `None` is as many as asked for on the command line.
    pub keys: Option<u32>,
    /// How calls come.
    pub transport: Transport,
    /// And when.
    pub pace: Pace,
    /// Whom to.
    pub who: Who,
    /// Whether only `make bench-full` has it.
    pub full: bool,
}

/// The row that the others differ from.
pub const BASE: Row = Row {
    name: "90 B",
    body: SMALL,
    connections: None,
    headers: 0,
    keys: None,
    transport: Transport::Http1,
    pace: Pace::Full,
    who: Who::All,
    full: false,
};
const ONE: Row = Row { who: Who::Compared, ..BASE };
const FULL: Row = Row { full: true, ..ONE };

/// All rows. Rows of one kind of gateway stand together, as it starts anew for another number of keys or for TLS; the row
/// at half load comes after the base, which says what half is.
pub const ROWS: [Row; 14] = [
    BASE,
    Row { name: "10 KB", body: LARGE[0], who: Who::Bodies, ..ONE },
    Row { name: "1 MB", body: LARGE[1], who: Who::Bodies, ..ONE },
    Row { name: "8 connections", connections: Some(8), ..ONE },
    Row { name: "256 connections", connections: Some(256), ..ONE },
    Row { name: "half load", pace: Pace::HalfOfNginx, who: Who::Few, ..ONE },
    Row { name: "8 extra headers", headers: 8, ..FULL },
    Row { name: "2000 connections", connections: Some(2_000), ..FULL },
    Row { name: "1 key", keys: Some(1), ..FULL },
    Row { name: "1000 keys", keys: Some(1_000), ..FULL },
    Row { name: "10000 keys", keys: Some(10_000), ..FULL },
    Row { name: "100000 keys", keys: Some(100_000), ..FULL },
    Row { name: "TLS 1.3", transport: Transport::Tls, ..FULL },
    Row { name: "HTTP/2", transport: Transport::Http2, ..FULL },
];

/// What a peer does besides passing on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Bare,
    /// What it has that comes near to keys and a rate.
    On,
}

/// A proxy that is measured.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// nginx.
    Nginx {
        /// Whether it reads answers ahead of the client, its default.
        buffered: bool,
    },
    /// HAProxy.
    Haproxy(Policy),
    /// Envoy.
    Envoy(Policy),
    /// Traefik.
    Traefik(Policy),
    /// pingap.
    Pingap(Policy),
    /// The gateway. Keys, durable metering and metrics cannot be switched off.
    Gateway {
        /// What the plan limits.
        limits: &'static [Window],
        /// Whether it writes a line a call.
        access_log: bool,
    },
}

/// One that is measured, by the name that the table gives it.
#[derive(Debug, Clone, Copy)]
pub struct Party {
    /// The name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// In which rows, from the fewest that have it on.
    pub from: Who,
    /// Whether only `make bench-full` has it.
    pub full: bool,
}

const fn party(name: &'static str, kind: Kind, from: Who, full: bool) -> Party {
    Party { name, kind, from, full }
}

/// Reads no answer ahead of the client, as the gateway does not.
pub const UNBUFFERED: Party = party("nginx, unbuffered", Kind::Nginx { buffered: false }, Who::Bodies, false);

/// All that are measured. The first is what the others are compared with.
pub const PARTIES: [Party; 14] = [
    party("nginx", Kind::Nginx { buffered: true }, Who::Few, false),
    UNBUFFERED,
    party("HAProxy", Kind::Haproxy(Policy::Bare), Who::Few, false),
    party("HAProxy: keys, rate", Kind::Haproxy(Policy::On), Who::Compared, true),
    party("Envoy", Kind::Envoy(Policy::Bare), Who::All, true),
    party("Envoy: header, rate", Kind::Envoy(Policy::On), Who::Compared, true),
    party("Traefik", Kind::Traefik(Policy::Bare), Who::All, true),
    party("Traefik: header, rate", Kind::Traefik(Policy::On), Who::Compared, true),
    party("pingap", Kind::Pingap(Policy::Bare), Who::All, true),
    party("pingap: rate", Kind::Pingap(Policy::On), Who::Compared, true),
    party("gateway: keys", Kind::Gateway { limits: &[], access_log: false }, Who::All, false),
    party("gateway: + rate", Kind::Gateway { limits: &[Window::Second], access_log: false }, Who::All, false),
    party(
        "gateway: + quota",
        Kind::Gateway { limits: &[Window::Second, Window::Day], access_log: false },
        Who::Few,
        false,
    ),
    party(
        "gateway: all on",
        Kind::Gateway { limits: &[Window::Second, Window::Day], access_log: true },
        Who::Few,
        false,
    ),
];

impl Kind {
    /// Whether it only passes on.
    pub fn is_bare(&self) -> bool {
        match self {
            Self::Nginx { .. } => true,
            Self::Haproxy(policy) | Self::Envoy(policy) | Self::Traefik(policy) | Self::Pingap(policy) => {
                *policy == Policy::Bare
            }
            Self::Gateway { .. } => false,
        }
    }

    /// Whether it refuses calls without a key. pingap has none that it could look for.
    pub fn wants_key(&self) -> bool {
        !self.is_bare() && !matches!(self, Self::Pingap(_))
    }
}

impl Row {
    /// Who is called in it.
    pub fn parties(&self, full: bool) -> Vec<Party> {
        let rank = |who| match who {
            Who::Few => 0,
            Who::Compared => 1,
            Who::Bodies => 2,
            Who::All => 3,
        };
        let called = |party: &Party| rank(party.from) <= rank(self.who) && (full || !party.full);
        PARTIES.into_iter().filter(called).collect()
    }

    /// Whether the same gateways serve it: the same keys, TLS or none.
    pub fn shares_servers(&self, other: &Self) -> bool {
        let tls = |row: &Self| row.transport != Transport::Http1;
        self.keys == other.keys && tls(self) == tls(other)
    }
}

/// The rows asked for: those named, or all of `make bench`, or all.
///
/// # Errors
/// When there is none of a name.
pub fn rows(names: &[String], full: bool) -> anyhow::Result<Vec<Row>> {
    for name in names {
        let known = ROWS.iter().any(|row| row.name == name);
        anyhow::ensure!(known, "there is no row {name:?}: there are {:?}", ROWS.map(|row| row.name));
    }
    let wanted = |row: &Row| {
        if names.is_empty() { full || !row.full } else { names.iter().any(|name| name == row.name) }
    };
    Ok(ROWS.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(row: &Row, full: bool) -> Vec<&'static str> {
        row.parties(full).iter().map(|party| party.name).collect()
    }

    #[test]
    fn a_row_calls_those_that_it_is_about() {
        assert_eq!(names(&BASE, true).len(), PARTIES.len());
        let gateway = ["gateway: + quota", "gateway: all on"];
        assert_eq!(
            names(&ROWS[1], false),
            [&["nginx", "nginx, unbuffered", "HAProxy"], &gateway[..]].concat()
        );
        assert_eq!(names(&ROWS[5], false), [&["nginx", "HAProxy"], &gateway[..]].concat());
        assert_eq!(rows(&[], false).unwrap().len(), 6);
        assert_eq!(rows(&["1 key".to_owned()], false).unwrap().len(), 1);
        assert!(rows(&["2 keys".to_owned()], true).is_err());
        assert!(ROWS.iter().all(|row| !row.name.contains(',')));
    }
}
