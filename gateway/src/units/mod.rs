//! What a call used, where its plan counts other units than calls: the upstream says it in a header or in the answer's body, which
//! is read as it passes and never kept. Compiled once a plan; phase forward asks the upstream for a body that can be read, phase
//! respond begins a [`Reading`], the lane feeds it, and phase settle asks [`Meter::units`] what is charged.

mod json;
mod key;
mod number;
mod sse;

use std::sync::Arc;

use apiclay_config::snapshot::{self, MeterSource, parse_pointer};
use apiclay_config::usage::{Ending, Units, UnitsFrom};
use apiclay_plugins::Headers;
use http::HeaderName;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use json::JsonScanner;
use sse::SseScanner;

/// Bytes of one body that are read for units; what comes after goes on unread.
pub const METER_BODY_MAX_BYTES: u64 = 16 << 20;

/// How a plan's units are known.
#[derive(Debug, Clone)]
pub struct Meter {
    source: Source,
    /// What is held for a call, and charged at most.
    pub units_max: u32,
    units_default: u32,
}

#[derive(Debug, Clone)]
enum Source {
    Header(HeaderName),
    /// A pointer's tokens.
    Body(Arc<[Box<str>]>),
}

/// An answer that is being read.
#[derive(Debug)]
pub enum Reading {
    /// Its head has said it.
    Said(u64),
    /// Its body may say it.
    Body(Box<Body>),
}

/// A body that is being read.
#[derive(Debug)]
pub struct Body {
    scanner: Scanner,
    left_bytes: u64,
    /// Whether there was more.
    cut: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "boxed with its body, one a call")]
enum Scanner {
    Json(JsonScanner),
    Events(SseScanner),
}

impl Meter {
    /// That of a plan; none where its header or pointer is none, which validation has refused.
    #[must_use]
    pub fn compile(meter: &snapshot::Meter) -> Option<Self> {
        let source = match &meter.source {
            MeterSource::Header(name) => Source::Header(HeaderName::try_from(name.as_str()).ok()?),
            MeterSource::JsonPointer(pointer) => {
                let tokens = parse_pointer(pointer).ok()?;
                Source::Body(tokens.into_iter().map(String::into_boxed_str).collect())
            }
        };
        let units_max = meter.units_max_per_call.max(1);
        Some(Self { source, units_max, units_default: meter.units_default.min(units_max) })
    }

    /// Whether the body says it: then the upstream is asked for one that is not compressed.
    #[must_use]
    pub const fn reads_body(&self) -> bool {
        matches!(self.source, Source::Body(_))
    }

    /// Begins with the head of the upstream's answer; none where it cannot say it.
    #[must_use]
    pub fn begin(&self, headers: &dyn Headers) -> Option<Reading> {
        let text = |name: &HeaderName| std::str::from_utf8(headers.get(name)?).ok().map(str::trim);
        let tokens = match &self.source {
            Source::Header(name) => return text(name).and_then(number::count).map(Reading::Said),
            Source::Body(tokens) => Arc::clone(tokens),
        };
        if text(&CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return None;
        }
        let media = text(&CONTENT_TYPE)?.split(';').next()?.trim().to_ascii_lowercase();
        let scanner = match media.as_str() {
            "text/event-stream" => Scanner::Events(SseScanner::new(tokens)),
            "application/json" => Scanner::Json(JsonScanner::new(tokens)),
            other if other.ends_with("+json") => Scanner::Json(JsonScanner::new(tokens)),
            _ => return None,
        };
        Some(Reading::Body(Box::new(Body { scanner, left_bytes: METER_BODY_MAX_BYTES, cut: false })))
    }

    /// What a call is charged that ended so, as far as it is billed at all.
    #[must_use]
    pub fn units(&self, reading: Option<&Reading>, ending: Ending) -> Units {
        let whole = ending == Ending::Complete && !reading.is_some_and(Reading::is_cut);
        let (said, from) = match reading.and_then(Reading::said) {
            None => return Units::assumed(self.units_default),
            // Of events that go on the last one may say more than those before it.
            Some(said) if !whole && reading.is_some_and(Reading::is_stream) => {
                (said.max(u64::from(self.units_default)), UnitsFrom::Estimated)
            }
            Some(said) => (said, UnitsFrom::Reported),
        };
        let most = u64::from(self.units_max);
        // At most the most, which has 32 bits.
        Units { count: said.min(most) as u32, from, capped: said > most }
    }
}

impl Reading {
    /// Takes the next piece of the body, as it goes on to the client.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self::Body(body) = self else { return };
        let taken = usize::try_from(body.left_bytes).map_or(bytes.len(), |left| left.min(bytes.len()));
        body.left_bytes -= taken as u64;
        body.cut |= taken < bytes.len();
        match &mut body.scanner {
            Scanner::Json(scanner) => scanner.feed(&bytes[..taken]),
            Scanner::Events(scanner) => scanner.feed(&bytes[..taken]),
        }
    }

    fn said(&self) -> Option<u64> {
        match self {
            Self::Said(said) => Some(*said),
            Self::Body(body) => match &body.scanner {
                Scanner::Json(scanner) => scanner.seen(),
                Scanner::Events(scanner) => scanner.seen(),
            },
        }
    }

    /// Whether it went on behind what was read of it.
    fn is_cut(&self) -> bool {
        matches!(self, Self::Body(body) if body.cut)
    }

    fn is_stream(&self) -> bool {
        matches!(self, Self::Body(body) if matches!(body.scanner, Scanner::Events(_)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::context::HeaderLines;

    fn meter(source: MeterSource) -> Meter {
        Meter::compile(&snapshot::Meter { source, units_max_per_call: 100, units_default: 7 }).unwrap()
    }

    fn body() -> Meter {
        meter(MeterSource::JsonPointer("/n".to_owned()))
    }

    fn begun(meter: &Meter, headers: &[(&'static str, &str)]) -> Option<Reading> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        meter.begin(&HeaderLines(&headers))
    }

    fn said(count: u32, from: UnitsFrom, capped: bool) -> Units {
        Units { count, from, capped }
    }

    #[test]
    fn a_header_says_it_or_what_the_plan_assumes_holds() {
        let meter = meter(MeterSource::Header("x-units".to_owned()));
        assert!(!meter.reads_body());
        for (value, units) in [
            ("12", said(12, UnitsFrom::Reported, false)),
            (" 12 ", said(12, UnitsFrom::Reported, false)),
            ("0", said(0, UnitsFrom::Reported, false)),
            ("100", said(100, UnitsFrom::Reported, false)),
            ("101", said(100, UnitsFrom::Reported, true)),
            ("99999999999999999999999", said(100, UnitsFrom::Reported, true)),
            ("-1", Units::assumed(7)),
            ("1.5", Units::assumed(7)),
            ("many", Units::assumed(7)),
            ("inf", Units::assumed(7)),
            ("", Units::assumed(7)),
        ] {
            let reading = begun(&meter, &[("x-units", value)]);
            assert_eq!(meter.units(reading.as_ref(), Ending::ClientLeft), units, "{value}");
        }
        assert_eq!(meter.units(begun(&meter, &[]).as_ref(), Ending::Complete), Units::assumed(7));
    }

    #[test]
    fn only_a_body_that_can_be_read_is() {
        for (headers, reads) in [
            (&[("content-type", "application/json")][..], true),
            (&[("content-type", "Application/Problem+JSON; charset=utf-8")], true),
            (&[("content-type", "text/event-stream")], true),
            (&[("content-type", "application/json"), ("content-encoding", "Identity")], true),
            (&[("content-type", "application/json"), ("content-encoding", "gzip")], false),
            (&[("content-type", "text/plain")], false),
            (&[], false),
        ] {
            assert_eq!(begun(&body(), headers).is_some(), reads, "{headers:?}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_estimated_where_more_could_follow() {
        let json = [("content-type", "application/json")];
        let events = [("content-type", "text/event-stream")];
        for (headers, text, ending, units) in [
            (&json, "{\"n\":9}", Ending::Complete, said(9, UnitsFrom::Reported, false)),
            (&json, "{\"n\":9,", Ending::ClientLeft, said(9, UnitsFrom::Reported, false)),
            (&json, "{\"n\":9", Ending::ClientLeft, Units::assumed(7)),
            (&events, "data: {\"n\":9}\n\n", Ending::Complete, said(9, UnitsFrom::Reported, false)),
            (&events, "data: {\"n\":9}\n\n", Ending::ClientLeft, said(9, UnitsFrom::Estimated, false)),
            (&events, "data: {\"n\":2}\n\n", Ending::ClientLeft, said(7, UnitsFrom::Estimated, false)),
            (&events, "data: {\"n\":900}\n\n", Ending::ClientLeft, said(100, UnitsFrom::Estimated, true)),
            (&events, "data: {}\n\n", Ending::ClientLeft, Units::assumed(7)),
        ] {
            let mut reading = begun(&body(), headers);
            reading.as_mut().unwrap().feed(text.as_bytes());
            assert_eq!(body().units(reading.as_ref(), ending), units, "{text} {ending:?}");
        }
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_read() {
        let padded = |bytes: u64| {
            let mut reading = begun(&body(), &[("content-type", "application/json")]).unwrap();
            reading.feed(b"{\"n\":3,\"pad\":\"");
            let piece = [b'x'; 1 << 16];
            let mut left = bytes;
            while left > 0 {
                let some = left.min(piece.len() as u64);
                reading.feed(&piece[..usize::try_from(some).unwrap()]);
                left -= some;
            }
            reading.feed(b"\",\"n\":4}");
            body().units(Some(&reading), Ending::Complete).count
        };
        assert_eq!(padded(METER_BODY_MAX_BYTES - 100), 4);
        assert_eq!(padded(METER_BODY_MAX_BYTES), 3, "what was seen before stays");
    }
}
