//! Reads frames of a newer control plane: what this version cannot read is left out part by part and named, so that one plan
//! of a kind that is not known here keeps nothing else from being served, and no revocation from being heard. A frame of which
//! every part is understood is read at once. Next: [`Snapshot::apply`](super::Snapshot::apply), `validate.rs`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Binding, Change, Credential, Frame, Listing, Part, Plan, Subscription};

/// A part that was told and that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Which; none where not even that can be read.
    pub part: Option<Part>,
    /// Of a listing: where its public paths are, `vendor/listing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

/// One kind of part: where it stands in a snapshot, by which change it is told, and how it is read.
struct Kind {
    field: &'static str,
    change: &'static str,
    fault: fn(&Value) -> Option<String>,
    part: fn(&Value) -> Option<Part>,
}

const KINDS: [Kind; 5] = [
    Kind {
        field: "listings",
        change: "put_listing",
        fault: fault::<Listing>,
        part: |value| Some(Part::Listing(field(value, "id")?)),
    },
    Kind {
        field: "plans",
        change: "put_plan",
        fault: fault::<Plan>,
        part: |value| Some(Part::Plan(field(value, "id")?, field(value, "revision")?)),
    },
    Kind {
        field: "subscriptions",
        change: "put_subscription",
        fault: fault::<Subscription>,
        part: |value| Some(Part::Subscription(field(value, "id")?)),
    },
    Kind {
        field: "credentials",
        change: "put_credential",
        fault: fault::<Credential>,
        part: |value| Some(Part::Credential(field(value, "id")?)),
    },
    Kind {
        field: "bindings",
        change: "set_bindings",
        fault: fault::<Vec<Binding>>,
        part: |_| Some(Part::Everywhere),
    },
];

impl Frame {
    /// Reads a frame of the stream, or of the file on disk.
    ///
    /// # Errors
    /// Where it is no frame of ours.
    pub fn read(payload: &[u8]) -> Result<Self, serde_json::Error> {
        match serde_json::from_slice(payload) {
            Ok(frame) => Ok(frame),
            Err(_) => sifted(serde_json::from_slice(payload)?),
        }
    }
}

fn sifted(mut frame: Value) -> Result<Frame, serde_json::Error> {
    if let Some(snapshot) = frame.get_mut("snapshot").and_then(Value::as_object_mut) {
        sift_snapshot(snapshot)?;
    }
    for change in frame.pointer_mut("/delta/changes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(why) = fault::<Change>(change) {
            *change = serde_json::to_value(Change::Unread(unread_change(change, why)))?;
        }
    }
    serde_json::from_value(frame)
}

/// Takes what cannot be read out of a snapshot, and notes it there.
fn sift_snapshot(snapshot: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
    let mut unread = snapshot.get("unread").map_or(Ok(Vec::new()), Vec::<Unread>::deserialize)?;
    for kind in &KINDS {
        let mut is_read = |value: &Value| {
            let wrong = (kind.fault)(value);
            let is_read = wrong.is_none();
            unread.extend(wrong.map(|why| name(kind, value, why)));
            is_read
        };
        match snapshot.get_mut(kind.field) {
            // One part, of all of them.
            Some(bindings) if kind.field == "bindings" && !is_read(bindings) => {
                *bindings = Value::Array(Vec::new());
            }
            Some(Value::Array(parts)) if kind.field != "bindings" => parts.retain(is_read),
            Some(Value::Object(parts)) => parts.retain(|_, part| is_read(part)),
            // Nothing, or no snapshot of ours: the reader says so.
            _ => {}
        }
    }
    snapshot.insert("unread".to_owned(), serde_json::to_value(unread)?);
    Ok(())
}

/// A change that cannot be read, named as far as it can be.
fn unread_change(change: &Value, why: String) -> Unread {
    let told = |kind: &Kind| Some((kind.change, change.get(kind.change)?));
    match KINDS.iter().find_map(|kind| told(kind).map(|(_, value)| (kind, value))) {
        Some((kind, value)) => name(kind, value, why),
        None => Unread { part: None, path: None, why },
    }
}

fn name(kind: &Kind, value: &Value, why: String) -> Unread {
    let part = (kind.part)(value);
    let slugs = || Some((field::<String>(value, "vendor_slug")?, field::<String>(value, "slug")?));
    let path = slugs().filter(|_| kind.field == "listings").map(|(vendor, slug)| format!("{vendor}/{slug}"));
    Unread { part, path, why }
}

fn fault<T: DeserializeOwned>(value: &Value) -> Option<String> {
    T::deserialize(value).err().map(|wrong| wrong.to_string())
}

fn field<T: DeserializeOwned>(value: &Value, name: &str) -> Option<T> {
    T::deserialize(value.get(name)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Delta, Snapshot};
    use super::*;
    use crate::ids::{CredentialId, PlanId};

    fn plan(id: PlanId, window: &str) -> Value {
        let listing = crate::ids::ListingId::from_u128(1);
        json!({"id": id, "revision": 2, "listing": listing,
            "limits": [{"window": window, "max": 5, "hard": true}]})
    }

    fn read(frame: &Value) -> Frame {
        Frame::read(frame.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_plan_that_is_not_understood_is_named_and_the_rest_of_the_snapshot_is_read() {
        let (known, newer) = (PlanId::from_u128(1), PlanId::from_u128(2));
        let frame = json!({"snapshot": {"revision": 7, "listings": {}, "subscriptions": {}, "credentials": {},
            "plans": [plan(newer, "fortnight"), plan(known, "day")]}});
        let Frame::Snapshot(snapshot) = read(&frame) else { panic!("another frame") };
        assert_eq!(snapshot.plans.keys().collect::<Vec<_>>(), [&(known, 2)]);
        assert_eq!(snapshot.unread.len(), 1);
        assert_eq!(snapshot.unread[0].part, Some(Part::Plan(newer, 2)));
        assert!(snapshot.unread[0].why.contains("fortnight"), "{}", snapshot.unread[0].why);
        // As it stands on disk.
        let written = serde_json::to_vec(&Frame::Snapshot(snapshot.clone())).unwrap();
        assert_eq!(Frame::read(&written).unwrap(), Frame::Snapshot(snapshot));
    }

    #[test]
    fn a_change_that_is_not_understood_takes_its_part_away_and_the_next_one_brings_it_back() {
        let (id, key) = (PlanId::from_u128(1), CredentialId::from_u128(9));
        let mut snapshot = Snapshot::default();
        let tell = |snapshot: &mut Snapshot, changes: Value| {
            let frame = json!({"delta": {"revision": snapshot.revision + 1, "changes": changes}});
            let Frame::Delta(delta) = read(&frame) else { panic!("another frame") };
            snapshot.follow(&delta);
            delta
        };
        tell(&mut snapshot, json!([{"put_plan": plan(id, "day")}]));
        assert!(snapshot.plans.contains_key(&(id, 2)));
        let delta: Delta =
            tell(&mut snapshot, json!([{"put_plan": plan(id, "fortnight")}, {"remove_credential": key}]));
        assert_eq!(delta.changes[1], Change::RemoveCredential(key), "a revocation was not heard");
        assert!(snapshot.plans.is_empty(), "the plan is sold as it was");
        assert_eq!(snapshot.unread.len(), 1);
        tell(&mut snapshot, json!([{"put_plan": plan(id, "fortnight")}]));
        assert_eq!(snapshot.unread.len(), 1);
        tell(&mut snapshot, json!([{"put_plan": plan(id, "hour")}]));
        assert!(snapshot.unread.is_empty() && snapshot.plans.contains_key(&(id, 2)));
        // A kind of change that is not known: nobody can say what it takes away.
        let delta = tell(&mut snapshot, json!([{"remove_everything": []}]));
        assert!(matches!(&delta.changes[0], Change::Unread(unread) if unread.part.is_none()));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&b"{"[..], b"{}", b"{\"snapshot\":{\"revision\":1}}", b"{\"delta\":{\"revision\":-1}}"]
        {
            assert!(Frame::read(bytes).is_err());
        }
    }
}
