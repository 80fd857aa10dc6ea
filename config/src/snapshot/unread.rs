//! Reads frames of a newer control plane: what this version cannot read is left out part by part and named, so that one plan
//! of a kind that is not known here keeps nothing else from being served, and no revocation from being heard. A frame of which
//! every part is understood is read at once. Next: [`Snapshot::apply`](super::Snapshot::apply), `validate.rs`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Binding, Change, Credential, Frame, Listing, Part, Plan, Subscription};
use crate::key::Digest;

/// A part that was told and that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Which; none where not even that can be read.
    pub part: Option<Part>,
    /// Of a listing: where its public paths are, `vendor/listing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of a key: its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What is wrong with it.
    pub why: String,
}

/// One kind of part of which there are many: where it stands in a snapshot, by which change it is told, and how it is read.
struct Kind {
    field: &'static str,
    change: &'static str,
    fault: fn(&Value) -> Option<String>,
    part: fn(&Value) -> Option<Part>,
}

const KINDS: [Kind; 4] = [
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
];

impl Frame {
    /// Reads a frame of the stream.
    #[must_use]
    pub fn read(payload: &[u8]) -> Self {
        serde_json::from_slice(payload)
            .or_else(|_| sifted(serde_json::from_slice(payload)?))
            .unwrap_or_else(|wrong| Self::Unread(wrong.to_string()))
    }
}

impl Change {
    /// Reads one change, as it stands in the file on disk.
    #[must_use]
    pub fn read(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).unwrap_or_else(|wrong: serde_json::Error| {
            let told = serde_json::from_slice(payload).unwrap_or(Value::Null);
            Self::Unread(unread_change(&told, wrong.to_string()))
        })
    }
}

fn sifted(mut frame: Value) -> Result<Frame, serde_json::Error> {
    if let Some(snapshot) = frame.get_mut("snapshot").and_then(Value::as_object_mut) {
        let unread = serde_json::to_value(sift_snapshot(snapshot))?;
        snapshot.insert("unread".to_owned(), unread);
    }
    for change in frame.pointer_mut("/delta/changes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(why) = fault::<Change>(change) {
            *change = serde_json::to_value(Change::Unread(unread_change(change, why)))?;
        }
    }
    serde_json::from_value(frame)
}

/// Takes what cannot be read out of a snapshot.
fn sift_snapshot(snapshot: &mut Map<String, Value>) -> Vec<Unread> {
    let noted = snapshot.get("unread").and_then(Value::as_array).into_iter().flatten();
    let mut unread: Vec<Unread> = noted
        .map(|one| Unread::deserialize(one).unwrap_or_else(|wrong| Unread::of(None, wrong.to_string())))
        .collect();
    for kind in &KINDS {
        let mut is_read = |value: &Value| {
            let wrong = (kind.fault)(value);
            let is_read = wrong.is_none();
            unread.extend(wrong.map(|why| name(kind, value, why)));
            is_read
        };
        match snapshot.get_mut(kind.field) {
            Some(Value::Array(parts)) => parts.retain(is_read),
            Some(Value::Object(parts)) => parts.retain(|_, part| is_read(part)),
            // Nothing, or no snapshot of ours: the reader says so.
            _ => {}
        }
    }
    if let Some(bindings) = snapshot.get_mut("bindings")
        && let Some(why) = fault::<Vec<Binding>>(bindings)
    {
        *bindings = Value::Array(Vec::new());
        unread.push(Unread::of(Some(Part::Everywhere), why));
    }
    unread
}

/// A change that cannot be read, named as far as it can be.
fn unread_change(change: &Value, why: String) -> Unread {
    if change.get("set_bindings").is_some() {
        return Unread::of(Some(Part::Everywhere), why);
    }
    let told = KINDS.iter().find_map(|kind| Some((kind, change.get(kind.change)?)));
    match told {
        Some((kind, value)) => name(kind, value, why),
        None => Unread::of(None, why),
    }
}

impl Unread {
    const fn of(part: Option<Part>, why: String) -> Self {
        Self { part, path: None, digest: None, why }
    }
}

fn name(kind: &Kind, value: &Value, why: String) -> Unread {
    let slugs = (field::<String>(value, "vendor_slug"), field::<String>(value, "slug"));
    let path = if let (Some(vendor), Some(slug)) = slugs { Some(format!("{vendor}/{slug}")) } else { None };
    Unread { part: (kind.part)(value), path, digest: field(value, "digest"), why }
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
        Frame::read(frame.to_string().as_bytes())
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
        assert_eq!(Frame::read(&written), Frame::Snapshot(snapshot));
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

    /// As a newer version wrote it before it was set back to this one.
    #[test]
    fn parts_of_a_new_kind_that_another_version_could_not_read_are_not_named_and_the_others_are() {
        let frame = json!({"snapshot": {"revision": 7, "listings": {}, "plans": [], "subscriptions": {},
            "credentials": {}, "unread": [{"part": {"account": "acc_1"}, "why": "new"},
                {"part": "everywhere", "why": "new"}]}});
        let Frame::Snapshot(snapshot) = read(&frame) else { panic!("another frame") };
        let parts: Vec<_> = snapshot.unread.iter().map(|unread| unread.part).collect();
        assert_eq!(parts, [None, Some(Part::Everywhere)]);
    }

    #[test]
    fn plugins_of_the_whole_gateway_that_cannot_be_read_are_one_part() {
        let bindings = json!([{"plugin": 7}]);
        let frames = [
            json!({"snapshot": {"revision": 7, "listings": {}, "plans": [], "subscriptions": {},
                "credentials": {}, "bindings": bindings}}),
            json!({"delta": {"revision": 7, "changes": [{"set_bindings": bindings}]}}),
        ];
        for frame in frames {
            let mut snapshot = Snapshot::default();
            match read(&frame) {
                Frame::Snapshot(whole) => snapshot = *whole,
                Frame::Delta(delta) => snapshot.follow(&delta),
                other => panic!("{other:?}"),
            }
            assert_eq!(snapshot.unread.len(), 1);
            assert_eq!(snapshot.unread[0].part, Some(Part::Everywhere));
        }
    }

    #[test]
    fn what_is_no_frame_of_ours_is_not_read() {
        for bytes in [
            &b"{\"revoke_all\":{}}"[..],
            b"{",
            b"{}",
            b"{\"snapshot\":{\"revision\":1}}",
            b"{\"delta\":{\"revision\":-1}}",
        ] {
            assert!(matches!(Frame::read(bytes), Frame::Unread(_)));
        }
    }
}
