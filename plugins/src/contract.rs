//! What a plugin is. Two traits: [`PluginType`] is a kind of plugin with its configuration, [`Plugin`] is one, built.
//! Methods are synchronous and are named after the phases that call them.

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::view::{Access, Completion, Request, Response};

/// What a plugin decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Answer this, without the upstream and without a bill.
    Respond(Answer),
    /// Refuse with 403 `plugin_rejected` and this public sentence.
    Reject(String),
}

/// A plugin's own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, but for framing.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A plugin that could not do its work. The call is refused: nothing fails open.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PluginError(pub String);

/// A plugin attached to a gateway, listing, route or plan. Every method has a default that lets the call go on.
pub trait Plugin: Send + Sync {
    /// Before it is known who calls.
    ///
    /// # Errors
    /// When it cannot decide; the call is refused.
    fn on_access(&self, _access: &Access<'_>) -> Result<Verdict, PluginError> {
        Ok(Verdict::Continue)
    }

    /// When the call is authenticated and entitled, before it goes to the upstream.
    ///
    /// # Errors
    /// When it cannot decide; the call is refused.
    fn on_request(&self, _request: &mut Request<'_>) -> Result<Verdict, PluginError> {
        Ok(Verdict::Continue)
    }

    /// When the answer's head is there, the gateway's own refusals included.
    ///
    /// # Errors
    /// When it cannot do its part; the answer is replaced by a refusal.
    fn on_response(&self, _response: &mut Response<'_>) -> Result<(), PluginError> {
        Ok(())
    }

    /// When all is over. Nothing can be changed any more.
    fn on_complete(&self, _completion: &Completion) {}
}

/// A kind of plugin.
pub trait PluginType {
    /// Its name in bindings.
    const NAME: &'static str;
    /// Whether its plugins implement `on_access`: such a type cannot be bound to a plan, which is not known by then.
    const ON_ACCESS: bool;
    /// Its configuration; unknown fields are refused by `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned + JsonSchema;

    /// Builds a plugin.
    ///
    /// # Errors
    /// What is wrong with the configuration beyond its shape.
    fn build(config: Self::Config) -> Result<Box<dyn Plugin>, BuildError>;
}

/// A configuration from which no plugin can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is no such type.
    #[error("there is no plugin type `{0}`")]
    Unknown(String),
    /// Shape or content.
    #[error("the configuration of `{plugin}` is wrong: {reason}")]
    Config {
        /// The type.
        plugin: &'static str,
        /// What to mend.
        reason: String,
    },
}
