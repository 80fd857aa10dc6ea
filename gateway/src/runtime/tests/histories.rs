//! Whole lives of a market: what follows from random changes, looked at through the file, is what compiling all of it comes to.

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::market::{DIGESTS, change, digest, first};
use super::*;
use crate::sync::Told;

/// Lives.
const CASES: u32 = 96;

/// What calls can see of it, in lines.
fn seen(runtime: &Runtime) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let plugins = |bound: &[Bound]| bound.iter().map(|one| (one.name, one.binding)).collect::<Vec<_>>();
    for listing in runtime.listings.iter() {
        let route = listing.routes.get(listing.routes.at("/now").start).unwrap();
        let bound = (plugins(&listing.plugins), route.id, plugins(&route.plugins));
        let told = (listing.id, listing.suspended, listing.upstream.read_timeout, bound);
        lines.insert(listing.name.to_string(), format!("{told:?}"));
    }
    for (n, key) in (0..DIGESTS).filter_map(|n| runtime.credentials.get(&digest(n)).map(|key| (n, key))) {
        let e = &key.entitlement;
        let told = (key.id, key.expires_at, e.subscription, e.listing, e.edition.plan, e.edition.revision);
        let may = (e.inactive, e.ends_at, e.unpaid, e.trial_until, plugins(&e.edition.plugins));
        // One that is inactive is refused before anything is counted.
        let counted = (!e.inactive).then(|| counted(e.counted()));
        lines.insert(format!("key {n}"), format!("{told:?} {may:?} {counted:?}"));
    }
    let mut left_out: Vec<_> = runtime.left_out.listings.iter().map(ToString::to_string).collect();
    left_out.extend(runtime.left_out.credentials.iter().map(|digest| format!("{digest:?}")));
    left_out.sort();
    lines.insert("left out".to_owned(), left_out.join(" "));
    lines
}

fn counted(counted: &Counted) -> String {
    let quotas: Vec<_> = counted.tallies.iter().map(|q| (q.window, q.hard, q.tally.view().max)).collect();
    let rates: Vec<_> = counted.rates.iter().map(|rate| (rate.window, rate.max, rate.share)).collect();
    let at_once = counted.concurrency.as_ref().map(|calls| calls.max.load(Relaxed));
    format!("{quotas:?} {rates:?} {at_once:?}")
}

/// Batches of changes, followed in one life and compiled as a whole in another; how many were followed.
fn follow_and_compile(batches: Vec<Vec<[u8; 5]>>) -> Result<usize, TestCaseError> {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [mut by_changes, mut by_all] = folders.each_ref().map(compiler);
    let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
    first().iter().for_each(|change| snapshot.apply(change));
    // What it follows from is on the disk, and only what a change bears on is looked at.
    let (mut told, _) = Told::open(folders[0].path()).unwrap();
    told.replace(snapshot.clone());
    told.keep(None).unwrap();
    let mut served = by_changes.compile(&snapshot, None, 1).unwrap();
    assert_eq!(by_changes.faults().to_string(), "");
    let (mut plugins, mut followed) = (snapshot.bindings.clone(), 0);
    for batch in batches {
        let mut changes = Changes::default();
        // Two at a time are of one revision.
        for delta in batch.chunks(2) {
            let changed = delta.iter().copied().map(change).collect();
            let delta = Delta { revision: snapshot.revision + 1, fingerprint: None, changes: changed };
            snapshot.follow(&delta);
            told.follow(&delta, &mut changes).unwrap();
        }
        prop_assert_eq!(&*told.whole().unwrap(), &snapshot);
        let bearing = told.bearing_on(&changes, by_changes.faults().parts()).unwrap().unwrap();
        // Else the disk takes nothing, and what is told meanwhile follows in memory.
        if batch.len() % 3 == 0 {
            told.keep(None).unwrap();
        }
        let all = by_all.compile(&snapshot, Some(&plugins), 1).unwrap();
        served = match by_changes.follow(&served, &bearing, &changes, 1) {
            Some(next) => {
                followed += 1;
                next
            }
            None => by_changes.compile(&snapshot, Some(&plugins), 1).unwrap(),
        };
        prop_assert_eq!(seen(&served), seen(&all));
        prop_assert_eq!(by_changes.faults().to_string(), by_all.faults().to_string());
        if !by_all.faults().are_of(Part::Everywhere) {
            plugins.clone_from(&snapshot.bindings);
        }
    }
    told.keep(None).unwrap();
    drop(told);
    let found = Told::open(folders[0].path()).unwrap().1.unwrap();
    prop_assert!(found.lacks_nothing, "it is not believed after a start");
    prop_assert_eq!(&*found.whole, &snapshot);
    Ok(followed)
}

#[test]
fn what_follows_is_what_all_of_it_comes_to() {
    let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
    let batches = proptest::collection::vec(proptest::collection::vec(any::<[u8; 5]>(), 1..6), 1..80);
    let followed = std::cell::Cell::new(0);
    let ran = runner.run(&batches, |batches| {
        followed.set(followed.get() + follow_and_compile(batches)?);
        Ok(())
    });
    ran.unwrap();
    // Were all compiled each time, nothing would differ.
    assert!(followed.get() > 2 * CASES as usize, "{} were followed", followed.get());
}
