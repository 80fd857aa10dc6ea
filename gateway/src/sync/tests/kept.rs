//! What outlives a revision, and what must not.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiclay_config::egress::Names;

use super::*;

/// A market whose upstream has a name.
fn named_market(revision: u64) -> Snapshot {
    let mut snapshot = market(revision);
    for listing in snapshot.listings.values_mut() {
        listing.upstream.targets[0].url = "http://api.example".to_owned();
    }
    snapshot
}

async fn address(life: &Life) -> Result<IpAddr, String> {
    let upstream = Arc::clone(&life.gateway.runtime().unwrap().listings.get("acme/echo").unwrap().upstream);
    upstream.targets[0].address().await.map(|address| address.ip()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_known_address_outlives_revisions_that_leave_its_upstream_as_it_is() {
    let (folder, asked) = (TempDir::new().unwrap(), Arc::new(AtomicUsize::new(0)));
    // Each question has another answer.
    let counted = Arc::clone(&asked);
    let names = move |_: &str| {
        let n = u8::try_from(counted.fetch_add(1, Ordering::Relaxed)).unwrap();
        vec![IpAddr::from([1, 1, 1, n])]
    };
    let egress = Egress::with_names(Vec::new(), Vec::new(), Vec::new(), Names::Given(Arc::new(names)));
    let mut life = Life::begin_with(folder.path(), 1, egress);
    let first = named_market(1);
    life.tell(whole(&first));
    let known = address(&life).await.unwrap();
    assert_eq!(known, IpAddr::from([1, 1, 1, 0]));
    // Another change, the same listing with another route, and everything anew.
    life.change(2, vec![Change::RemoveCredential(only_credential(&first).id)]);
    let mut listing = first.listings.values().next().unwrap().clone();
    listing.routes[0].path = "/then".to_owned();
    life.change(3, vec![Change::PutListing(Box::new(listing.clone()))]);
    life.tell(whole(&Snapshot { revision: 4, ..first.clone() }));
    assert_eq!((address(&life).await.unwrap(), asked.load(Ordering::Relaxed)), (known, 1));
    // What is another upstream is asked for.
    listing.upstream.read_timeout_ms += 1;
    life.change(5, vec![Change::PutListing(Box::new(listing))]);
    assert_eq!(
        (address(&life).await.unwrap(), asked.load(Ordering::Relaxed)),
        (IpAddr::from([1, 1, 1, 1]), 2)
    );
}

/// Months after what was refused was mended, a start that finds what was told of no use must not serve what was served then,
/// with every key that was revoked since.
#[test]
fn what_was_served_is_forgotten_once_what_was_told_is_served() {
    let folder = TempDir::new().unwrap();
    let served = || Told::open(folder.path()).unwrap().1.unwrap().served;
    let first = market(1);
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&first));
    assert_eq!(served(), None);
    life.change(2, vec![Change::SetBindings(unknown_plugin())]);
    assert_eq!(served(), Some(Vec::new()));
    life.change(3, vec![Change::SetBindings(Vec::new())]);
    assert_eq!(served(), None, "an old configuration is kept");
    life.change(4, vec![Change::RemoveCredential(only_credential(&first).id)]);
    drop(life);
    left(folder.path(), &Snapshot { revision: 5, bindings: unknown_plugin(), ..first }, None);
    assert!(!Life::begin(folder.path(), 2).opens(), "a key that was revoked opens");
}

#[test]
fn plugins_that_are_refused_again_leave_those_before_for_a_start_again() {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&market(1)));
    for (revision, bindings) in [(2, unknown_plugin()), (3, Vec::new()), (4, unknown_plugin())] {
        life.change(revision, vec![Change::SetBindings(bindings)]);
    }
    drop(life);
    assert!(Life::begin(folder.path(), 2).opens());
}

/// A subscriber that ends whoever logs, at that line: as a fault in compiling would.
struct Faulty;

impl tracing::Subscriber for Faulty {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        assert_ne!(*event.metadata().level(), tracing::Level::ERROR, "planted");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_revision_whose_serving_is_cut_off_is_served_with_the_next_word_and_acknowledged_then() {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    let first = market(1);
    life.tell(whole(&first));
    let changes =
        vec![Change::RemoveCredential(only_credential(&first).id), Change::SetBindings(unknown_plugin())];
    let cut_off = tracing::subscriber::with_default(Faulty, || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.change(2, changes)))
    });
    assert!(cut_off.is_err() && life.opens(), "nothing was cut off");
    assert_eq!(life.configuration.standing().0, 1);
    let applied = life.tell(vec![Frame::Heartbeat { revision: 2, live_gateways: Some(1) }]);
    assert!(!life.opens(), "a revoked key opens, though its revision is acknowledged");
    assert_eq!(applied.revision, 2);
}

/// A control plane that is still building its first snapshot says how many gateways live.
#[test]
fn what_comes_before_the_first_configuration_opens_no_empty_market() {
    let folder = TempDir::new().unwrap();
    let mut life = Life::begin(folder.path(), 1);
    life.tell(vec![Frame::Heartbeat { revision: 0, live_gateways: Some(2) }]);
    assert!(life.gateway.runtime().is_none(), "calls are answered that no listing is there");
    life.tell(whole(&market(1)));
    assert!(life.opens());
}
