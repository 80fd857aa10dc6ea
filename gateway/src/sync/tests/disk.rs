//! A disk that fails delays nothing and loses nothing; what it lost is asked for anew.

use rusqlite::Connection;

use super::super::configuration::Gap;
use super::*;

/// Until it is dropped, the disk takes nothing that is written: somebody reads the file, and the one that is written beside is a folder.
pub(super) struct BrokenDisk {
    _reader: Connection,
    beside: PathBuf,
}

impl BrokenDisk {
    pub(super) fn begin(folder: &Path) -> Self {
        let reader = Connection::open(file(folder)).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM parts").unwrap();
        let beside = folder.join("configuration.new.db");
        std::fs::create_dir(&beside).unwrap();
        Self { _reader: reader, beside }
    }
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.beside).unwrap();
    }
}

#[test]
fn a_disk_that_fails_stops_no_revocation_and_nothing_unwritten_is_acknowledged() {
    let folder = TempDir::new().unwrap();
    let first = market(1);
    Life::begin(folder.path(), 1).tell(whole(&first));
    let mut life = Life::begin(folder.path(), 2);
    assert!(life.opens());
    let broken = BrokenDisk::begin(folder.path());
    let applied = life.change(2, vec![Change::RemoveCredential(only_credential(&first).id)]);
    assert!(!life.opens(), "the revoked key still opens");
    assert_eq!(applied.revision, 1, "a revision that is not on disk was acknowledged");
    assert!(applied.not_kept.is_some());
    // What comes meanwhile follows in memory; so does what all is compiled from.
    let again = Credential { id: CredentialId::generate(), ..only_credential(&first) };
    let applied = life.change(3, vec![Change::PutCredential(again)]);
    assert!(life.opens() && applied.not_kept.is_some() && applied.revision == 1);
    life.tell(vec![Frame::Heartbeat { revision: 3, live_gateways: Some(2) }]);
    assert!(life.opens());
    life.change(4, vec![Change::RemoveCredential(only_credential(&first).id)]);
    drop(broken);
    let applied = life.tell(vec![Frame::Heartbeat { revision: 4, live_gateways: Some(2) }]);
    assert_eq!(applied.revision, 4, "it was not written once the disk was whole again");
    drop(life);
    let life = Life::begin(folder.path(), 3);
    assert!(life.opens() && life.configuration.revision().0 == 4);
}

#[test]
fn a_whole_configuration_that_the_disk_does_not_take_is_served_and_followed_until_it_does() {
    let folder = TempDir::new().unwrap();
    let first = market(1);
    let mut life = Life::begin(folder.path(), 1);
    life.tell(whole(&market(1)));
    let broken = BrokenDisk::begin(folder.path());
    let applied = life.tell(whole(&Snapshot { revision: 7, ..first.clone() }));
    assert!(life.opens() && applied.not_kept.is_some());
    life.change(8, vec![Change::RemoveCredential(only_credential(&first).id)]);
    assert!(!life.opens());
    drop(broken);
    let heartbeat = || vec![Frame::Heartbeat { revision: 8, live_gateways: Some(1) }];
    let written = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        life.tell(heartbeat()).revision == 8
    });
    assert!(written, "it was never written");
    drop(life);
    let life = Life::begin(folder.path(), 2);
    assert!(!life.opens() && life.configuration.revision().0 == 8);
}

/// Rows are read when something changes, long after the start.
#[test]
fn what_was_told_and_is_lost_is_asked_for_anew_while_what_is_served_stays() {
    let folder = TempDir::new().unwrap();
    let (first, previous) = (market(1), folder.path().join("configuration.previous.db"));
    let mut life = Life::begin(folder.path(), 1);
    for revision in [1, 2] {
        life.tell(whole(&Snapshot { revision, ..first.clone() }));
    }
    let before = std::fs::read(&previous).unwrap();
    Connection::open(file(folder.path())).unwrap().execute("UPDATE parts SET sum = 0", []).unwrap();
    let revoked = Delta {
        revision: 3,
        fingerprint: None,
        changes: vec![Change::RemoveCredential(only_credential(&first).id)],
    };
    let gap = life.configuration.apply(vec![Frame::Delta(revoked)]).unwrap_err();
    assert!(matches!(gap, Gap::Lost(_)), "{gap}");
    assert_eq!(life.configuration.revision(), (0, None));
    // A control plane that builds a snapshot says meanwhile that it is there.
    for live_gateways in [1, 2] {
        life.tell(vec![Frame::Heartbeat { revision: 3, live_gateways: Some(live_gateways) }]);
        assert!(life.opens(), "nothing is served any more");
        assert_eq!(life.configuration.standing().0, 2, "what is lost was acknowledged");
    }
    let mut anew = Snapshot { revision: 3, ..first };
    anew.credentials.clear();
    assert_eq!(life.tell(whole(&anew)).revision, 3);
    assert!(!life.opens() && life.configuration.revision().0 == 3);
    assert_eq!(std::fs::read(&previous).unwrap(), before, "the damaged one is the second choice");
}
