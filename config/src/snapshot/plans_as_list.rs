//! Plans travel as a list: a pair cannot be a key in JSON. Used by [`Snapshot`](super::Snapshot)'s derived reader and writer.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serializer};

use super::Plan;
use crate::ids::PlanId;

pub(super) fn serialize<S: Serializer>(
    plans: &BTreeMap<(PlanId, u32), Plan>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(plans.values())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<(PlanId, u32), Plan>, D::Error> {
    let plans = Vec::<Plan>::deserialize(deserializer)?;
    Ok(plans.into_iter().map(|plan| ((plan.id, plan.revision), plan)).collect())
}
