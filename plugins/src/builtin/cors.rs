//! Cross-origin access (the Fetch standard, section 3.2): answers preflights, and marks answers that a page of another
//! origin may read, the gateway's refusals among them. Credentials are never allowed: a key is a header, not a cookie.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::contract::{Answer, BuildError, Plugin, PluginError, PluginType, Verdict};
use crate::view::{Access, Headers, Response};

/// Headers that a page may read besides the safelisted ones.
const EXPOSED: &str = "X-Request-Id, RateLimit, RateLimit-Policy, Retry-After";
/// What a preflight's answer depends on.
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
/// How long a browser may keep a preflight's answer, where the configuration does not say.
const MAX_AGE_DEFAULT_S: u32 = 600;

/// Which origins may call from a page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins such as `https://shop.example`, or `*` for any.
    pub allow_origins: Vec<String>,
    /// How long a browser may keep a preflight's answer, in seconds.
    #[serde(default = "max_age_default")]
    pub max_age_s: u32,
}

const fn max_age_default() -> u32 {
    MAX_AGE_DEFAULT_S
}

/// The type `cors`.
pub struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
    max_age: HeaderValue,
}

impl PluginType for Cors {
    const NAME: &'static str = "cors";
    const ON_ACCESS: bool = true;
    type Config = CorsConfig;

    fn build(config: CorsConfig) -> Result<Box<dyn Plugin>, BuildError> {
        let wrong = |reason: &str| BuildError::Config { plugin: Self::NAME, reason: reason.to_owned() };
        if config.allow_origins.is_empty() {
            return Err(wrong("name at least one origin, or `*`"));
        }
        let mut origins = Vec::new();
        for origin in config.allow_origins.iter().filter(|o| *o != "*") {
            let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin(origin));
            let rule = "an origin is a scheme and a host in lower case, such as https://shop.example, with a port where it \
                        is not the scheme's own";
            origins.push(value.ok_or_else(|| wrong(rule))?);
        }
        let any = config.allow_origins.iter().any(|o| o == "*");
        Ok(Box::new(Self { any, origins, max_age: HeaderValue::from(config.max_age_s) }))
    }
}

/// Whether a browser could send this as an origin (RFC 6454, section 6.2): anything else would be accepted and never match.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.:[]_".contains(c);
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return !scheme.is_empty() && !host.is_empty() && text.chars().all(|c| plain(c) || c == '/'),
    };
    !host.is_empty() && host.chars().all(plain) && !host.ends_with(own_port)
}

impl Cors {
    /// What to say to this origin: itself, `*`, or nothing.
    fn allowed(&self, headers: &dyn Headers) -> Option<HeaderValue> {
        let origin = headers.get(&ORIGIN)?;
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.iter().find(|o| o.as_bytes() == origin).cloned()
    }
}

impl Plugin for Cors {
    fn on_access(&self, access: &Access<'_>) -> Result<Verdict, PluginError> {
        let requested = access.headers.get(&ACCESS_CONTROL_REQUEST_METHOD);
        let (true, Some(method), Some(_)) =
            (access.method == "OPTIONS", requested, access.headers.get(&ORIGIN))
        else {
            return Ok(Verdict::Continue);
        };
        // Another origin's preflight may be the vendor's own to answer; where he has no route for it, it is refused.
        let Some(origin) = self.allowed(access.headers) else { return Ok(Verdict::Continue) };
        let bytes = |b: &[u8]| HeaderValue::from_bytes(b).map_err(|e| PluginError(e.to_string()));
        let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
            (VARY, HeaderValue::from_static(PREFLIGHT_VARY)),
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (ACCESS_CONTROL_ALLOW_METHODS, bytes(method)?),
            (ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
        ];
        if let Some(wanted) = access.headers.get(&ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.push((ACCESS_CONTROL_ALLOW_HEADERS, bytes(wanted)?));
        }
        Ok(Verdict::Respond(Answer { status: 204, headers, body: Vec::new() }))
    }

    fn on_response(&self, response: &mut Response<'_>) -> Result<(), PluginError> {
        if let Some(origin) = self.allowed(response.request_headers) {
            response.edits.set(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.edits.set(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
        if !self.any {
            // Another origin gets another answer: caches must know.
            response.edits.add(VARY, HeaderValue::from_static("Origin"));
        }
        Ok(())
    }
}
