//! Sets and takes away headers of the request before the upstream sees it.

use std::collections::BTreeMap;

use apiclay_config::snapshot::header_is_reserved;
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::contract::{BuildError, Plugin, PluginError, PluginType, Verdict};
use crate::view::Request;

/// What to change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestHeadersConfig {
    /// Headers to set, in place of what the buyer sent.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Headers to take away.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// The type `request_headers`.
pub struct RequestHeaders {
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl PluginType for RequestHeaders {
    const NAME: &'static str = "request_headers";
    const ON_ACCESS: bool = false;
    type Config = RequestHeadersConfig;

    fn build(config: RequestHeadersConfig) -> Result<Box<dyn Plugin>, BuildError> {
        let wrong = |reason: String| BuildError::Config { plugin: Self::NAME, reason };
        let name = |text: &str| match HeaderName::try_from(text) {
            Ok(name) if !header_is_reserved(name.as_str()) => Ok(name),
            Ok(_) => Err(wrong(format!("the header `{text}` is the gateway's own"))),
            Err(_) => Err(wrong(format!("`{text}` is not a header name"))),
        };
        let mut set = Vec::with_capacity(config.set.len());
        for (key, value) in &config.set {
            let value = HeaderValue::from_str(value)
                .map_err(|_| wrong(format!("the value of `{key}` is not text")))?;
            set.push((name(key)?, value));
        }
        let remove = config.remove.iter().map(|key| name(key)).collect::<Result<_, _>>()?;
        Ok(Box::new(Self { set, remove }))
    }
}

impl Plugin for RequestHeaders {
    fn on_request(&self, request: &mut Request<'_>) -> Result<Verdict, PluginError> {
        for name in &self.remove {
            request.edits.remove(name.clone());
        }
        for (name, value) in &self.set {
            request.edits.set(name.clone(), value.clone());
        }
        Ok(Verdict::Continue)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::registry::by_name;

    #[test]
    fn the_gateways_own_headers_cannot_be_touched() {
        let build = by_name("request_headers").unwrap().build;
        assert!(build(&json!({"set": {"x-a": "1"}, "remove": ["x-b"]})).is_ok());
        for config in [
            json!({"set": {"Host": "x"}}),
            json!({"remove": ["X-Forwarded-For"]}),
            json!({"set": {"a b": ""}}),
        ] {
            assert!(build(&config).is_err(), "{config}");
        }
    }
}
