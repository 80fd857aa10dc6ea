//! The rules of accounts, pure: time and randomness come in as parameters.

mod count;
pub mod guard;
pub mod names;
pub mod password;
pub mod scopes;
pub mod tokens;
pub mod tries;
