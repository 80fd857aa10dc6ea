//! The plugins that come with the gateway, one file each.

pub mod cors;
pub mod request_headers;
