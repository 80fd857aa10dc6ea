//! What a gateway that bills has to hold against bytes that mean two things, clients that cheat and vendors that err.
//!
//! Every case asks three questions: what was answered, which bytes reached the upstream, what was billed. `site.rs` is
//! the marketplace they run against, `upstream.rs` the vendor's server that keeps every byte; then a file a theme, and
//! `frames.rs` for HTTP/2 as no client library would send it.

mod access;
mod bodies;
mod charges;
mod connections;
mod floods;
mod frames;
mod framing;
mod heads;
mod http2;
mod lanes;
mod paths;
mod site;
mod tls;
mod trailers;
mod upstream;
