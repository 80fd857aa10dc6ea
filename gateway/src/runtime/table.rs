//! A hash table that one revision shares with the next: it is in pieces, and a change copies the one piece that it is in. A piece
//! is a flat row of places (open addressing with linear probing; Knuth, volume 3, section 6.4), so that a look-up waits for memory
//! once. It is written before it is served, and read only then.

use std::sync::Arc;

/// Entries of a piece when a table is built. A change copies so many, and as many pointers to pieces where there are a million.
const PIECE_ENTRIES: usize = if cfg!(test) { 16 } else { 1_024 };
/// Entries of a piece, on average, that a table is built anew for.
const PIECE_ENTRIES_MAX: usize = 2 * PIECE_ENTRIES;
/// Places to entries, 3 to 2: the fuller, the more places a look-up reads, above all one for what is not there.
const PLACES: usize = 3;
const OF_ENTRIES: usize = 2;

/// What stands in a table.
pub trait Entry: Clone {
    /// What it is found by.
    type Key: ?Sized + PartialEq;

    /// Its own.
    fn key(&self) -> &Self::Key;

    /// Spread evenly over all 64 bits.
    fn hash(key: &Self::Key) -> u64;
}

type Piece<T> = Arc<[Option<T>]>;

/// Entries by their key, one of each.
#[derive(Clone)]
pub struct Table<T> {
    /// A power of two of them.
    pieces: Box<[Piece<T>]>,
    entries: usize,
}

impl<T: Entry> Table<T> {
    /// The entry of this key.
    #[must_use]
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        let hash = T::hash(key);
        let piece = &self.pieces[self.piece_of(hash)];
        match place_of(piece, hash, key) {
            Some(place) => piece[place].as_ref(),
            None => None,
        }
    }

    /// Puts an entry in place of the one that has its key.
    pub fn insert(&mut self, entry: T) {
        self.extend([entry]);
    }

    /// Takes an entry away.
    pub fn remove(&mut self, key: &T::Key) {
        if self.get(key).is_none() {
            return;
        }
        let at = self.piece_of(T::hash(key));
        let others = self.pieces[at].iter().flatten().filter(|other| other.key() != key).cloned().collect();
        self.set_piece(at, others);
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flat_map(|piece| piece.iter().flatten())
    }

    fn set_piece(&mut self, at: usize, entries: Vec<T>) {
        let entries_in = |piece: &Piece<T>| piece.iter().flatten().count();
        let before = entries_in(&self.pieces[at]);
        self.pieces[at] = piece(entries);
        self.entries = self.entries - before + entries_in(&self.pieces[at]);
    }

    fn of_pieces(pieces: usize) -> Self {
        Self { pieces: (0..pieces).map(|_| Arc::default()).collect(), entries: 0 }
    }

    /// By the upper half of the hash; the lower one says where in the piece.
    fn piece_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.pieces.len() - 1)
    }
}

/// Of several with one key the last.
impl<T: Entry> FromIterator<T> for Table<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let entries: Vec<T> = entries.into_iter().collect();
        let mut table = Self::of_pieces(entries.len().div_ceil(PIECE_ENTRIES).next_power_of_two());
        table.extend(entries);
        table
    }
}

/// Each piece is copied once, however many go into it.
impl<T: Entry> Extend<T> for Table<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, entries: I) {
        let mut entries: Vec<T> = entries.into_iter().collect();
        // Stable: those of one key stay in their order.
        entries.sort_by_key(|entry| self.piece_of(T::hash(entry.key())));
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.peek() {
            let at = self.piece_of(T::hash(first.key()));
            let mut of_piece: Vec<T> = self.pieces[at].iter().flatten().cloned().collect();
            of_piece.extend(std::iter::from_fn(|| {
                entries.next_if(|next| self.piece_of(T::hash(next.key())) == at)
            }));
            self.set_piece(at, of_piece);
        }
        if self.entries > PIECE_ENTRIES_MAX * self.pieces.len() {
            *self = self.iter().cloned().collect();
        }
    }
}

impl<T: Entry> Default for Table<T> {
    fn default() -> Self {
        Self::of_pieces(1)
    }
}

/// These entries, each where its hash says or in the next free place.
fn piece<T: Entry>(entries: Vec<T>) -> Piece<T> {
    // One place at least stays free, where a look-up for what is not there ends.
    let places = if entries.is_empty() { 0 } else { entries.len() * PLACES / OF_ENTRIES + 1 };
    let mut piece: Vec<Option<T>> = Vec::new();
    piece.resize_with(places, || None);
    for entry in entries {
        let hash = T::hash(entry.key());
        let place = place_of(&piece, hash, entry.key()).unwrap_or_else(|| free_place(&piece, hash));
        piece[place] = Some(entry);
    }
    piece.into()
}

/// Where an entry of this key is.
fn place_of<T: Entry>(piece: &[Option<T>], hash: u64, key: &T::Key) -> Option<usize> {
    places(piece.len(), hash)
        .map_while(|place| piece[place].as_ref().map(|entry| (place, entry)))
        .find_map(|(place, entry)| (entry.key() == key).then_some(place))
}

fn free_place<T>(piece: &[Option<T>], hash: u64) -> usize {
    let place = places(piece.len(), hash).find(|place| piece[*place].is_none());
    debug_assert!(place.is_some(), "a piece has more places than entries");
    place.unwrap_or(0)
}

/// The places of a piece in the order they are tried in: from where the hash's lower half, as a part of one, points at.
fn places(places: usize, hash: u64) -> impl Iterator<Item = usize> {
    let first = (((hash & u64::from(u32::MAX)) * places as u64) >> 32) as usize;
    (first..places).chain(0..first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A number whose hash is one of few, so that places are fought for.
    #[derive(Clone, Debug, PartialEq)]
    struct Numbered(u32, u32);

    impl Entry for Numbered {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }

        fn hash(key: &u32) -> u64 {
            u64::from(*key % 7) << 61 | u64::from(*key % 5) << 29 | u64::from(*key % 11) << 32
        }
    }

    fn sorted(table: &Table<Numbered>) -> Vec<(u32, u32)> {
        let mut all: Vec<_> = table.iter().map(|one| (one.0, one.1)).collect();
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds_and_what_it_was_copied_from_stays(
            first in proptest::collection::vec((0_u32..400, any::<u32>()), 0..300),
            changes in proptest::collection::vec((0_u32..400, proptest::option::of(any::<u32>())), 0..60),
            more in proptest::collection::vec((0_u32..400, any::<u32>()), 0..300),
        ) {
            let mut map: BTreeMap<u32, u32> = first.iter().copied().collect();
            let mut table: Table<Numbered> = first.iter().map(|(key, value)| Numbered(*key, *value)).collect();
            for (key, value) in changes {
                let (before, all) = (table.clone(), sorted(&table));
                match value {
                    Some(value) => {
                        table.insert(Numbered(key, value));
                        map.insert(key, value);
                    }
                    None => {
                        table.remove(&key);
                        map.remove(&key);
                    }
                }
                prop_assert_eq!(table.get(&key).map(|one| one.1), map.get(&key).copied());
                prop_assert_eq!(sorted(&before), all);
            }
            map.extend(more.iter().copied());
            table.extend(more.into_iter().map(|(key, value)| Numbered(key, value)));
            prop_assert_eq!(table.entries, map.len());
            prop_assert_eq!(sorted(&table), map.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            for key in 0..400 {
                prop_assert_eq!(table.get(&key).map(|one| one.1), map.get(&key).copied());
            }
        }
    }

    #[test]
    fn one_that_grew_entry_by_entry_is_built_anew_and_its_pieces_stay_small() {
        #[derive(Clone)]
        struct Spread(u64);
        impl Entry for Spread {
            type Key = u64;
            fn key(&self) -> &u64 {
                &self.0
            }
            fn hash(key: &u64) -> u64 {
                key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }
        }
        let mut table = Table::default();
        for number in 0..3 * PIECE_ENTRIES_MAX as u64 {
            table.insert(Spread(number));
        }
        let largest = table.pieces.iter().map(|piece| piece.iter().flatten().count()).max();
        assert!(table.pieces.len() >= 4 && largest < Some(2 * PIECE_ENTRIES_MAX), "{largest:?}");
        assert!((0..3 * PIECE_ENTRIES_MAX as u64).all(|number| table.get(&number).is_some()));
    }
}
