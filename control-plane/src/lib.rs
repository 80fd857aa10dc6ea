//! The control plane: accounts, listings, plans, subscriptions, the web app, and the configuration that gateways get.
//! [`router`] is the API's table of contents; each domain is a folder with rules, documents and routes. [`app`] is
//! what they share, [`serve`] answers until told to end.

pub mod accounts;
pub mod admin;
pub mod app;
pub mod catalog;
pub mod discover;
pub mod http;
pub mod invoices;
pub mod jobs;
pub mod ledger;
pub mod observe;
pub mod openapi;
pub mod outbound;
pub mod pages;
pub mod payments;
pub mod plans;
pub mod push;
pub mod refusal;
pub mod router;
pub mod run;
pub mod serve;
pub mod store;
pub mod subscriptions;
pub mod tls;
pub mod usage;
pub mod vendors;
pub mod wallet;
