//! What leaves the control plane by itself: mail now; webhooks and media come beside it.

pub mod mail;
pub mod routes;
