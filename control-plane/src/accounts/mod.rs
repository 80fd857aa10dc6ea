//! Accounts: who people are and how they show it. Sign-up, sign-in, sessions, tokens, and the codes that go by mail.
//!
//! `rules` are pure, `documents` are what is stored, `routes` are what stands at `/auth` and `/me`. Between them are
//! the few things that happen here, a file each. The rest of the control plane knows an account by its id and takes
//! `http::Caller`, which `recognise` makes.

pub mod access_token;
pub mod admin;
pub mod codes;
pub mod documents;
pub mod families;
pub mod hashing;
mod letters;
pub mod limits;
pub mod personal_tokens;
pub mod recognise;
pub mod routes;
pub mod rules;
pub mod sessions;
pub mod sign_in;
pub mod sign_up;
mod tries;
