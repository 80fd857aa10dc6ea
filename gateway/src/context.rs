//! What is known about one call, filled in phase by phase. The lanes own one a call and hand it to the phases.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{IdText, RequestId};
use apiclay_config::usage::{Event, LEASED_WINDOWS};
use apiclay_plugins::HeaderEdits;
use arrayvec::{ArrayString, ArrayVec};
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};

use crate::limits::Unit;
use crate::metering::Ticket;
use crate::phases::authenticate::KEY_HEADER;
use crate::phases::forward::Connection;
use crate::phases::reserve;
use crate::rejection::Rejection;
use crate::runtime::rates::RATES_MAX;
use crate::runtime::{Credential, InFlight, Listing, Route};
use crate::units::Reading;

/// Headers of the request as the phases read them; each lane has its own.
pub trait CallHeaders: apiclay_plugins::Headers + Sync {
    /// Calls `each` with every value under `name`.
    fn values(&self, name: &HeaderName, each: &mut dyn FnMut(&[u8]));
}

impl CallHeaders for HeaderLines<'_> {
    fn values(&self, name: &HeaderName, each: &mut dyn FnMut(&[u8])) {
        for value in self.0.get_all(name) {
            each(value.as_bytes());
        }
    }
}

/// Headers as the Pingora lane holds them.
pub struct HeaderLines<'a>(pub &'a HeaderMap);

impl apiclay_plugins::Headers for HeaderLines<'_> {
    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.0.get(name).map(http::HeaderValue::as_bytes)
    }
}

/// The buyer's headers as plugins may see them: without what he is known by, here or at the vendor's.
pub struct WithoutSecrets<'a> {
    /// All of them.
    pub headers: &'a dyn CallHeaders,
    /// The one that our keys travel in.
    pub key_header: &'a HeaderName,
}

impl apiclay_plugins::Headers for WithoutSecrets<'_> {
    fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        let secret = name == self.key_header
            || [KEY_HEADER, AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name);
        if secret { None } else { self.headers.get(name) }
    }
}

/// The request's head, borrowed from the lane.
pub struct Head<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The path as sent, without the query.
    pub path: &'a str,
    /// The host asked for, without its port.
    pub host: &'a [u8],
    /// The headers.
    pub headers: &'a dyn CallHeaders,
}

/// Of an address of version 6 (RFC 4291, section 2.2).
const PEER_MAX_BYTES: usize = 45;

/// A client's address as text, which is made once a connection.
pub type PeerText = ArrayString<PEER_MAX_BYTES>;

/// The text of an address.
#[must_use]
pub fn peer_text(address: IpAddr) -> PeerText {
    let mut text = PeerText::new();
    // It has room for every address.
    let _ = write!(text, "{address}");
    text
}

/// A quota unit that this call holds, and where it goes back to.
pub struct Held {
    /// Which of the entitlement's tallies.
    pub tally: usize,
    /// The unit.
    pub unit: Unit,
}

/// What is known about the call so far.
pub struct Context {
    /// Its id, also at the upstream.
    pub request: RequestId,
    /// Its text, which the upstream, the client and the log are told.
    pub request_text: IdText,
    /// When its head was read, by the clock that never jumps.
    pub started: Instant,
    /// The same clock when it was last read for this call: with its head, and again after each wait. What decides or counts by it
    /// need not read it anew.
    pub now: Instant,
    /// When its head was read, by the wall clock.
    pub at: Timestamp,
    /// Who is connected, as text.
    pub peer: Option<PeerText>,
    /// Whether the client came over TLS.
    pub secure: bool,
    /// Phase route. What stands here and below is of one configuration, from the call's first phase to its last.
    pub listing: Option<Arc<Listing>>,
    /// Phase route: which of the listing's.
    pub route_at: Option<usize>,
    /// Phase route: where the path below the listing begins in the path as sent.
    pub path_below: usize,
    /// Phase authenticate.
    pub credential: Option<Credential>,
    /// Phase limit: what is left of each of the entitlement's rates, in their order, where it was asked.
    pub rates_left: [Option<u32>; RATES_MAX],
    /// Phase limit: given back when the context goes.
    pub in_flight: Option<InFlight>,
    /// Phase reserve.
    pub held: ArrayVec<Held, LEASED_WINDOWS>,
    /// Phase upstream: the target tried last.
    pub target: Option<usize>,
    /// Phase upstream: how many were tried.
    pub tries: u8,
    /// What the client's `Connection` headers say.
    pub connection: Connection,
    /// Plugins' edits of the request.
    pub request_edits: HeaderEdits,
    /// Interim answers that came before the final one, in Pingora's lane.
    pub interims: u8,
    /// Phase respond: the open record.
    pub ticket: Option<Ticket>,
    /// Phase respond: the record's content so far.
    pub event: Option<Event>,
    /// Phase respond: the answer, as far as it says what the call used.
    pub reading: Option<Reading>,
    /// Status that the client was given.
    pub status: u16,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
    /// The refusal, where there was one.
    pub rejection: Option<Rejection>,
    /// All of its request was on its way to the upstream, in Pingora's lane.
    pub is_forwarded: bool,
    /// Its client left there before the answer.
    pub is_left: bool,
    /// Settled: nothing more is counted.
    pub settled: bool,
}

impl Context {
    /// A call of which nothing is known.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        let (request, now) = (RequestId::generate_at(at), Instant::now());
        Self {
            request,
            request_text: request.text(),
            started: now,
            now,
            at,
            peer: None,
            secure: false,
            listing: None,
            route_at: None,
            path_below: 0,
            credential: None,
            rates_left: [None; RATES_MAX],
            in_flight: None,
            held: ArrayVec::new(),
            target: None,
            tries: 0,
            connection: Connection::default(),
            request_edits: HeaderEdits::default(),
            interims: 0,
            ticket: None,
            event: None,
            reading: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            rejection: None,
            is_forwarded: false,
            is_left: false,
            settled: false,
        }
    }

    /// Reads the clock anew: the call has waited.
    pub fn read_clock(&mut self) {
        self.now = Instant::now();
    }

    /// The route, once it is found.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        self.listing.as_ref()?.routes.get(self.route_at?)
    }

    /// The header that this call's key travels in.
    #[must_use]
    pub fn key_header(&self) -> &HeaderName {
        static OURS: HeaderName = KEY_HEADER;
        self.listing.as_ref().map_or(&OURS, |listing| &listing.key_header)
    }

    /// The leases its units came from, as the event names them.
    #[must_use]
    pub fn leases(&self) -> [u32; LEASED_WINDOWS] {
        let mut leases = [0; LEASED_WINDOWS];
        if let Some(credential) = &self.credential {
            for held in &self.held {
                leases[credential.entitlement.counted().tallies[held.tally].window as usize] =
                    held.unit.lease;
            }
        }
        leases
    }
}

/// A call that is dropped before its answer began (a panic, a stop that waits no longer) gives its units back: a lease on a wallet
/// would wait for them until the next start. One whose record is open keeps them, as its record says when it is dropped.
impl Drop for Context {
    fn drop(&mut self) {
        if !self.settled && self.event.is_none() {
            reserve::give_back(self);
        }
    }
}
