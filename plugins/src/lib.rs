//! The plugin contract and everything written against it. A type declares its configuration and builds plugins; a plugin
//! looks at a call in the phases it implements. The gateway's runtime builds them, its phases call them.

pub mod builtin;
mod contract;
mod registry;
mod view;

pub use contract::{Answer, BuildError, Plugin, PluginError, PluginType, Verdict};
pub use registry::{Announcement, Registered, announcements, by_name, registry};
pub use view::{Access, Completion, HeaderEdit, HeaderEdits, Headers, Request, Response};
