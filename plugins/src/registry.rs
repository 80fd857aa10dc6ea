//! One ordered list of plugin types: the order plugins run in is the order they stand in here.

use serde_json::Value;

use crate::builtin::cors::Cors;
use crate::builtin::request_headers::RequestHeaders;
use crate::contract::{BuildError, Plugin, PluginType};

/// A type, with its generics gone.
#[derive(Clone, Copy)]
pub struct Registered {
    /// Its name in bindings.
    pub name: &'static str,
    /// Whether it acts before the plan is known.
    pub on_access: bool,
    /// JSON Schema of its configuration.
    pub schema: fn() -> Value,
    /// Builds one, strictly.
    pub build: fn(&Value) -> Result<Box<dyn Plugin>, BuildError>,
}

/// What a gateway tells the control plane of a type it has.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Announcement {
    /// Its name.
    pub name: String,
    /// Whether it acts before the plan is known.
    pub on_access: bool,
    /// JSON Schema of its configuration.
    pub schema: Value,
}

const fn registered<T: PluginType>() -> Registered {
    Registered {
        name: T::NAME,
        on_access: T::ON_ACCESS,
        schema: || schemars::schema_for!(T::Config).to_value(),
        build: |config| {
            let config = <T::Config as serde::Deserialize>::deserialize(config)
                .map_err(|e| BuildError::Config { plugin: T::NAME, reason: e.to_string() })?;
            T::build(config)
        },
    }
}

/// All types, in the order they run in.
#[must_use]
pub fn registry() -> &'static [Registered] {
    const REGISTRY: &[Registered] = &[registered::<Cors>(), registered::<RequestHeaders>()];
    REGISTRY
}

/// The type of this name.
///
/// # Errors
/// When there is none.
pub fn by_name(name: &str) -> Result<&'static Registered, BuildError> {
    registry().iter().find(|r| r.name == name).ok_or_else(|| BuildError::Unknown(name.to_owned()))
}

/// All types, as a gateway announces them.
#[must_use]
pub fn announcements() -> Vec<Announcement> {
    let announce = |r: &Registered| Announcement {
        name: r.name.to_owned(),
        on_access: r.on_access,
        schema: (r.schema)(),
    };
    registry().iter().map(announce).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_types_and_fields_are_refused() {
        assert!(by_name("no_such").is_err());
        let cors = by_name("cors").unwrap();
        assert!((cors.build)(&json!({"allow_origins": ["*"]})).is_ok());
        assert!((cors.build)(&json!({"allow_origins": ["*"], "typo": 1})).is_err());
        assert!((cors.build)(&json!({})).is_err());
        let origin = |text: &str| (cors.build)(&json!({"allow_origins": [text]})).is_ok();
        for good in
            ["https://shop.test", "http://127.0.0.1:8080", "http://[::1]:3000", "capacitor://localhost"]
        {
            assert!(origin(good), "{good}");
        }
        for never in [
            "https://Shop.test",
            "https://shop.test:443",
            "http://a.test:80",
            "https://*.test",
            "https://a.test/",
            "a.test",
            "null",
        ] {
            assert!(!origin(never), "{never}");
        }
    }

    #[test]
    fn every_type_announces_an_object_schema() {
        for announcement in announcements() {
            assert_eq!(announcement.schema["type"], "object", "{}", announcement.name);
            assert!(announcement.schema["properties"].is_object());
        }
    }
}
