//! Which plugins can be attached where, with which configuration: to the whole gateway, a listing, a route, a plan. Pure:
//! what the gateways have announced comes in as a parameter. What passes here, every gateway can build.

use std::collections::BTreeSet;

use apiclay_config::ids::BindingId;
use apiclay_config::snapshot::Binding;
use apiclay_plugins::by_name;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::input::BindingInput;
use super::rules::{BINDING_CONFIG_MAX_BYTES, BINDINGS_MAX, BINDINGS_MAX_BYTES};
use crate::admin::documents::Gateway;
use crate::admin::gateways::first_unannounced;
use crate::http::{Code, Fault, Problem};
use crate::refusal::{Invalid, Refusal};

/// Levels of one configuration.
const CONFIG_DEPTH_MAX_LEVELS: usize = 16;
/// Characters of what is told of a wrong configuration: it may hold what was sent.
const FAULT_MAX_CHARS: usize = 300;

/// Where plugins are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To the whole gateway, a listing or a route, which are known before it is known who calls.
    Early,
    /// To a plan, which is not.
    Plan,
}

/// A plugin attached somewhere.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BindingView {
    plugin: String,
    config: Value,
}

impl From<&Binding> for BindingView {
    fn from(binding: &Binding) -> Self {
        Self { plugin: binding.plugin.clone(), config: binding.config.clone() }
    }
}

/// Checks what is to be attached, and names it; what is `known` with the same configuration keeps its id. `at` is where
/// the list stands in the body.
pub(crate) fn checked(
    input: Vec<BindingInput>,
    place: Place,
    at: &str,
    gateways: &[Gateway],
    known: &[Binding],
) -> Result<Vec<Binding>, Problem> {
    check_shape(&input, at)?;
    let names = input.iter().map(|binding| binding.plugin.as_str());
    if let Some(name) = first_unannounced(gateways, names) {
        let number = input.iter().position(|binding| binding.plugin == name).unwrap_or_default();
        let detail =
            format!("not every gateway has the plugin `{}`; see GET /admin/plugins", name.escape_debug());
        let fault = Fault::new(format!("{at}/{number}/plugin"), "not_announced", detail.clone());
        return Err(Problem::new(Code::PluginNotAnnounced, detail).with_errors(vec![fault]));
    }
    let mut faults = Vec::new();
    let mut bindings = Vec::with_capacity(input.len());
    for (number, binding) in input.into_iter().enumerate() {
        // No configuration is an empty one.
        let config =
            if binding.config.is_null() { Value::Object(serde_json::Map::new()) } else { binding.config };
        match by_name(&binding.plugin) {
            Err(unknown) => faults.push(Invalid::new(
                format!("{at}/{number}/plugin"),
                "unknown",
                format!("{unknown} in this release of the control plane"),
            )),
            Ok(kind) if kind.on_access && place == Place::Plan => faults.push(Invalid::new(
                format!("{at}/{number}/plugin"),
                "acts_before_plan",
                "this plugin acts before the plan is known; attach it to the listing",
            )),
            // A list of its fields' values would be read as a configuration too.
            Ok(_) if !config.is_object() => faults.push(Invalid::new(
                format!("{at}/{number}/config"),
                "wrong_type",
                "a configuration is an object",
            )),
            Ok(kind) => {
                if let Err(wrong) = (kind.build)(&config) {
                    faults.push(Invalid::new(
                        format!("{at}/{number}/config"),
                        "config_invalid",
                        wrong.to_string().chars().take(FAULT_MAX_CHARS).collect::<String>(),
                    ));
                }
            }
        }
        bindings.push(Binding { id: BindingId::generate(), plugin: binding.plugin, config, stays: false });
    }
    Refusal::unless_empty(faults)?;
    check_together(&bindings)?;
    Ok(keeping_ids(bindings, known))
}

/// Holds all plugins of a listing and its routes to what gateways can carry.
///
/// # Errors
/// Where they are too large together.
pub(crate) fn check_together<'a>(bindings: impl IntoIterator<Item = &'a Binding>) -> Result<(), Refusal> {
    let bytes: usize = bindings.into_iter().map(|binding| binding.config.to_string().len()).sum();
    if bytes <= BINDINGS_MAX_BYTES {
        return Ok(());
    }
    let rule = format!("the configurations of all plugins here together: at most {BINDINGS_MAX_BYTES} bytes");
    Err(Refusal::field("", "too_large", rule))
}

/// The same bindings, under the ids of those that are there already: what says nothing new is no change.
pub(crate) fn keeping_ids(mut bindings: Vec<Binding>, known: &[Binding]) -> Vec<Binding> {
    for binding in &mut bindings {
        let same = |old: &&Binding| Binding { id: binding.id, ..(*old).clone() } == *binding;
        if let Some(old) = known.iter().find(same) {
            binding.id = old.id;
        }
    }
    bindings
}

fn check_shape(input: &[BindingInput], at: &str) -> Result<(), Refusal> {
    if input.len() > BINDINGS_MAX {
        return Err(Refusal::field(at, "too_many", format!("at most {BINDINGS_MAX} plugins")));
    }
    let mut names = BTreeSet::new();
    let mut faults = Vec::new();
    for (place, binding) in input.iter().enumerate() {
        if !names.insert(binding.plugin.as_str()) {
            faults.push(Invalid::new(
                format!("{at}/{place}/plugin"),
                "repeated",
                "a plugin is attached once a place",
            ));
        }
        if !is_storable(&binding.config) || binding.config.to_string().len() > BINDING_CONFIG_MAX_BYTES {
            faults.push(Invalid::new(
                format!("{at}/{place}/config"),
                "too_large",
                format!("at most {BINDING_CONFIG_MAX_BYTES} bytes, {CONFIG_DEPTH_MAX_LEVELS} levels, numbers of 63 bits"),
            ));
        }
    }
    Refusal::unless_empty(faults)
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

#[cfg(test)]
mod tests {
    use apiclay_config::clock::Timestamp;
    use apiclay_config::key::digest;
    use serde_json::json;

    use super::*;
    use crate::admin::documents::{GatewayReport, PluginType};

    fn gateway(names: Option<&[&str]>) -> Gateway {
        let at = Timestamp(1);
        let plugin = |name: &&str| PluginType { name: (*name).to_owned(), schema: "{}".to_owned() };
        let report = |names: &[&str]| GatewayReport {
            revision: 1,
            plugins: names.iter().map(plugin).collect(),
            version: String::new(),
            epoch: String::new(),
            refused: None,
            at,
        };
        Gateway {
            id: "gw".into(),
            token_digest: digest(b"t"),
            enrolled_at: at,
            last_seen_at: Some(at),
            report: names.map(report),
        }
    }

    fn told(place: Place, gateways: &[Gateway], plugin: &str, config: Value) -> Option<(Code, String)> {
        let input = vec![BindingInput { plugin: plugin.to_owned(), config }];
        let refused = checked(input, place, "", gateways, &[]).err()?;
        Some((refused.code(), refused.errors()[0].pointer.clone()))
    }

    #[test]
    fn a_plugin_is_attached_where_it_can_act_with_a_configuration_it_takes() {
        let all = [gateway(Some(&["cors", "request_headers", "newer"]))];
        let cors = json!({"allow_origins": ["*"]});
        assert_eq!(told(Place::Early, &all, "cors", cors.clone()), None);
        let fault = |pointer: &str| Some((Code::ValidationFailed, pointer.to_owned()));
        assert_eq!(told(Place::Plan, &all, "cors", cors.clone()), fault("/0/plugin"));
        assert_eq!(told(Place::Plan, &all, "request_headers", Value::Null), None);
        assert_eq!(told(Place::Early, &all, "cors", json!({"typo": 1})), fault("/0/config"));
        assert_eq!(told(Place::Early, &all, "newer", json!({})), fault("/0/plugin"), "not checkable here");
        let unannounced = Some((Code::PluginNotAnnounced, "/0/plugin".to_owned()));
        assert_eq!(told(Place::Early, &all, "nothing", json!({})), unannounced);
        for other in [gateway(Some(&[])), gateway(None)] {
            assert_eq!(told(Place::Early, &[all[0].clone(), other], "cors", cors.clone()), unannounced);
        }
    }

    #[test]
    fn what_says_nothing_new_keeps_its_id() {
        let all = [gateway(Some(&["cors"]))];
        let list = || vec![BindingInput { plugin: "cors".into(), config: json!({"allow_origins": ["*"]}) }];
        let first = checked(list(), Place::Early, "", &all, &[]).unwrap();
        assert_eq!(checked(list(), Place::Early, "", &all, &first).unwrap(), first);
        assert_ne!(checked(list(), Place::Early, "", &all, &[]).unwrap(), first);
    }
}
