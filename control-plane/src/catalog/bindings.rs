//! Which plugins can be attached. Pure: what the gateways have announced comes in as a parameter.

use std::collections::BTreeSet;

use apiclay_config::ids::BindingId;
use apiclay_config::snapshot::Binding;
use serde_json::Value;

use super::input::BindingInput;
use super::rules::{BINDING_CONFIG_MAX_BYTES, BINDINGS_MAX};
use crate::admin::documents::Gateway;
use crate::admin::gateways::first_unannounced;
use crate::http::Code;
use crate::refusal::{Invalid, Refusal};

/// Levels of one configuration.
const CONFIG_DEPTH_MAX_LEVELS: usize = 16;

/// Checks what is to be attached, and names it.
pub(super) fn checked(
    input: Vec<BindingInput>,
    gateways: &[Gateway],
    mut new_id: impl FnMut() -> BindingId,
) -> Result<Vec<Binding>, Refusal> {
    if input.len() > BINDINGS_MAX {
        return Err(Refusal::field("", "too_many", format!("at most {BINDINGS_MAX} plugins")));
    }
    let mut names = BTreeSet::new();
    let mut faults = Vec::new();
    for (place, binding) in input.iter().enumerate() {
        if !names.insert(binding.plugin.as_str()) {
            faults.push(Invalid::new(
                format!("/{place}/plugin"),
                "repeated",
                "a plugin is attached once a place",
            ));
        }
        if !is_storable(&binding.config) || binding.config.to_string().len() > BINDING_CONFIG_MAX_BYTES {
            faults.push(Invalid::new(
                format!("/{place}/config"),
                "too_large",
                format!("at most {BINDING_CONFIG_MAX_BYTES} bytes, {CONFIG_DEPTH_MAX_LEVELS} levels, numbers of 63 bits"),
            ));
        }
    }
    Refusal::unless_empty(faults)?;
    if let Some(name) = first_unannounced(gateways, names) {
        return Err(Refusal::because(
            Code::PluginNotAnnounced,
            format!("not every gateway has the plugin `{}`; see GET /admin/plugins", name.escape_debug()),
        ));
    }
    let bind = |binding: BindingInput| {
        // No configuration is an empty one.
        let config =
            if binding.config.is_null() { Value::Object(serde_json::Map::new()) } else { binding.config };
        Binding { id: new_id(), plugin: binding.plugin, config }
    };
    Ok(input.into_iter().map(bind).collect())
}

/// Whether the store keeps it as it is. The stack is ours, and each level is counted.
fn is_storable(config: &Value) -> bool {
    let mut stack = vec![(config, 1)];
    while let Some((value, level)) = stack.pop() {
        match value {
            _ if level > CONFIG_DEPTH_MAX_LEVELS => return false,
            Value::Number(number) if number.is_u64() && !number.is_i64() => return false,
            Value::Array(items) => stack.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(fields) => stack.extend(fields.values().map(|field| (field, level + 1))),
            _ => {}
        }
    }
    true
}
