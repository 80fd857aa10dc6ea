//! What a price of usage counts: calls, or units that the upstream says a call used. Next: `rules_usage` checks it, the gateway
//! gets its [`Meter`], prices and pages say its name.

use apiclay_config::snapshot::{
    Meter, MeterSource, UNITS_PER_CALL_MAX, header_may_be_metered, parse_pointer,
};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::terms::Unit;
use crate::refusal::Invalid;

/// Characters of a unit's name.
const NAME_MAX_CHARS: usize = 30;

/// What a price of usage counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum UsageUnit {
    /// Calls.
    Call(Unit),
    /// What calls use.
    Metered(MeteredUnit),
}

/// A unit that the upstream says how many a call used of: in a header of its answer, or at a place in its JSON body or its events.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MeteredUnit {
    /// What one is called.
    #[schema(example = "token")]
    pub name: String,
    /// The header that says how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "x-units")]
    pub header: Option<String>,
    /// Or the place in the body (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/usage/total_tokens")]
    pub json_pointer: Option<String>,
    /// Held for each call, and charged at most.
    pub units_max_per_call: u32,
    /// Charged where an answer does not say how many.
    pub units_default: u32,
}

impl UsageUnit {
    /// Each call is one.
    pub const CALL: Self = Self::Call(Unit::Call);

    /// The unit that is not a call.
    #[must_use]
    pub const fn metered(&self) -> Option<&MeteredUnit> {
        match self {
            Self::Call(_) => None,
            Self::Metered(unit) => Some(unit),
        }
    }

    /// What so many are called: `call`, `tokens`.
    #[must_use]
    pub fn noun(&self, count: u64) -> String {
        let name = self.metered().map_or("call", |unit| &unit.name);
        if count == 1 { name.to_owned() } else { plural(name) }
    }
}

/// `tokens`, `queries`, `keys`, `searches`.
fn plural(name: &str) -> String {
    let vowel_before_last = name.chars().rev().nth(1).is_some_and(|letter| "aeiou".contains(letter));
    match name.strip_suffix('y') {
        Some(stem) if !vowel_before_last => format!("{stem}ies"),
        None if ["s", "x", "z", "ch", "sh"].iter().any(|end| name.ends_with(end)) => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

impl MeteredUnit {
    /// As a gateway reads it.
    #[must_use]
    pub fn meter(&self) -> Option<Meter> {
        let source = match (&self.header, &self.json_pointer) {
            (Some(name), None) => MeterSource::Header(name.to_ascii_lowercase()),
            (None, Some(pointer)) => MeterSource::JsonPointer(pointer.clone()),
            _ => return None,
        };
        let (units_max_per_call, units_default) = (self.units_max_per_call, self.units_default);
        Some(Meter { source, units_max_per_call, units_default })
    }

    /// Checks one in a price of usage.
    pub(super) fn check(&self, faults: &mut Vec<Invalid>) {
        let mut fault = |field: &str, code, message: &str| {
            faults.push(Invalid::new(format!("/usage_price/unit{field}"), code, message));
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ' ' || c == '-';
        let edge = |c: char| c == ' ' || c == '-';
        let named =
            !self.name.is_empty() && self.name.len() <= NAME_MAX_CHARS && self.name.chars().all(plain);
        if !named || self.name.starts_with(edge) || self.name.ends_with(edge) {
            let message = format!(
                "one unit's name: 1 to {NAME_MAX_CHARS} lower-case letters, digits, inner spaces or hyphens"
            );
            fault("/name", "invalid", &message);
        } else if self.name == "call" {
            fault("/name", "invalid", "where calls are counted, the unit is \"call\" and no object");
        }
        match (&self.header, &self.json_pointer) {
            (Some(header), None) if !header_may_be_metered(&header.to_ascii_lowercase()) => {
                fault("/header", "invalid", "the name of a header of the answer, as x-units");
            }
            (None, Some(pointer)) => {
                if let Err(wrong) = parse_pointer(pointer) {
                    fault("/json_pointer", "invalid", &wrong.to_string());
                }
            }
            (Some(_), None) => {}
            _ => fault("", "one_of", "either header or json_pointer says where units are read"),
        }
        if !(1..=UNITS_PER_CALL_MAX).contains(&self.units_max_per_call) {
            fault("/units_max_per_call", "out_of_range", &format!("1 to {UNITS_PER_CALL_MAX}"));
        }
        if self.units_default > self.units_max_per_call {
            fault("/units_default", "out_of_range", "0 to units_max_per_call");
        }
    }
}

/// By hand, so that what is wrong in an object is told where it is and not that nothing fits.
impl<'de> Deserialize<'de> for UsageUnit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = UsageUnit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"call\" or an object that says what is counted and where it is read")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<UsageUnit, E> {
                Unit::deserialize(StrDeserializer::new(text)).map(UsageUnit::Call)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UsageUnit, A::Error> {
                MeteredUnit::deserialize(MapAccessDeserializer::new(map)).map(UsageUnit::Metered)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(unit: serde_json::Value) -> Vec<(String, &'static str)> {
        let unit: UsageUnit = serde_json::from_value(unit).unwrap();
        let mut faults = Vec::new();
        unit.metered().unwrap().check(&mut faults);
        faults.into_iter().map(|f| (f.pointer.replace("/usage_price/unit", ""), f.code)).collect()
    }

    #[test]
    fn a_unit_is_a_call_or_says_where_it_is_read() {
        assert_eq!(serde_json::from_value::<UsageUnit>(json!("call")).unwrap(), UsageUnit::CALL);
        assert_eq!(serde_json::to_value(UsageUnit::CALL).unwrap(), json!("call"));
        let token = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut unit =
                json!({"name": "token", "header": "X-Units", "units_max_per_call": 100, "units_default": 7});
            change(&mut unit);
            unit
        };
        let good = token(&|_| {});
        let read: UsageUnit = serde_json::from_value(good.clone()).unwrap();
        assert_eq!((serde_json::to_value(&read).unwrap(), faults(good)), (token(&|_| {}), vec![]));
        assert_eq!(
            (read.noun(1), read.noun(0), UsageUnit::CALL.noun(2)),
            ("token".into(), "tokens".into(), "calls".into())
        );
        assert_eq!(
            ["query", "key", "search", "pixel", "box"].map(plural),
            ["queries", "keys", "searches", "pixels", "boxes"]
        );
        let meter = read.metered().unwrap().meter().unwrap();
        assert_eq!(meter.source, MeterSource::Header("x-units".to_owned()));
        for (field, value, pointer, code) in [
            ("name", json!(""), "/name", "invalid"),
            ("name", json!("Token"), "/name", "invalid"),
            ("name", json!(" token"), "/name", "invalid"),
            ("name", json!("call"), "/name", "invalid"),
            ("name", json!("t".repeat(31)), "/name", "invalid"),
            ("header", json!("x units"), "/header", "invalid"),
            ("header", json!(""), "/header", "invalid"),
            ("json_pointer", json!("/a"), "", "one_of"),
            ("header", json!(null), "", "one_of"),
            ("units_max_per_call", json!(0), "/units_max_per_call", "out_of_range"),
            ("units_max_per_call", json!(UNITS_PER_CALL_MAX + 1), "/units_max_per_call", "out_of_range"),
            ("units_default", json!(101), "/units_default", "out_of_range"),
        ] {
            let told = faults(token(&|it| it[field] = value.clone()));
            assert!(told.contains(&(pointer.to_owned(), code)), "{told:?}");
        }
        let pointer = token(&|it| (it["header"], it["json_pointer"]) = (json!(null), json!("a")));
        assert_eq!(faults(pointer), [("/json_pointer".to_owned(), "invalid")]);
        for wrong in [json!("token"), json!(1), json!({"name": "token"}), token(&|it| it["more"] = json!(1))]
        {
            assert!(serde_json::from_value::<UsageUnit>(wrong).is_err());
        }
    }
}
