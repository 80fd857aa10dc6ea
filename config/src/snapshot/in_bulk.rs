//! Readers for what there is much of in a large market, so that it takes no more memory than it has to. Maps are read as one row
//! first: one that grows entry by entry, in order, has every node half empty. And rows give back the room that they grew by. Used by
//! the derived readers of [`Snapshot`](super::Snapshot) and its parts.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Entries that are allocated before they are read, whatever the reader says there are.
const ENTRIES_MAX: usize = 1_024;

/// A map.
pub(super) fn map<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(Row(PhantomData))
}

/// A row.
pub(super) fn row<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let mut row = Vec::deserialize(deserializer)?;
    row.shrink_to_fit();
    Ok(row)
}

struct Row<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Row<K, V> {
    type Value = BTreeMap<K, V>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut row = Vec::with_capacity(map.size_hint().unwrap_or(0).min(ENTRIES_MAX));
        while let Some(entry) = map.next_entry()? {
            row.push(entry);
        }
        // Builds full nodes; of two entries of one key the last stays, as if they had been put in one by one.
        Ok(row.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Both {
        #[serde(deserialize_with = "map")]
        map: BTreeMap<u8, u8>,
        #[serde(deserialize_with = "row")]
        row: Vec<u8>,
    }

    #[test]
    fn a_map_is_read_whatever_its_order_and_the_last_of_one_key_stays_and_a_row_has_no_room_left() {
        let both: Both = serde_json::from_str(r#"{"map":{"3":1,"1":2,"3":4},"row":[1,2,3,4,5]}"#).unwrap();
        assert_eq!(both, Both { map: BTreeMap::from([(1, 2), (3, 4)]), row: vec![1, 2, 3, 4, 5] });
        assert_eq!(both.row.capacity(), 5);
        assert!(serde_json::from_str::<Both>(r#"{"map":[],"row":[]}"#).is_err());
    }
}
