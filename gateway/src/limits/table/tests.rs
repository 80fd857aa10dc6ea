//! The table over its files: growth, damage, and what a kill or a power cut leaves of them.
#![allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]

use apiclay_config::usage::LeasedWindow;

use super::*;

#[test]
fn a_table_grows_and_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (table, _) = LeaseTable::open(dir.path()).unwrap();
    let mut places = std::collections::BTreeSet::new();
    let mut damaged = 0;
    for n in 1..=3_000_u32 {
        let (place, serial) = table.reserve().unwrap();
        assert!(places.insert(place));
        assert_eq!(serial, n);
        table.slot(place).ask(serial, 9, &format!("counter-{n}"), LeasedWindow::Hour);
        if n % 1_000 == 0 {
            table.slot(place).0[20].store(1, Relaxed);
            table.slot(place).0[13].store(64, Relaxed);
            damaged += 1;
        }
    }
    drop(table);
    let (table, found_damaged) = LeaseTable::open(dir.path()).unwrap();
    assert_eq!(found_damaged, damaged);
    let found = table.places().filter(|place| !table.slot(*place).is_empty()).count();
    assert_eq!(found, 3_000 - damaged);
    let (place, serial) = table.reserve().unwrap();
    assert_eq!(serial, 3_001);
    assert!(table.slot(place).is_empty());
}

#[test]
fn a_file_that_a_kill_left_half_made_is_made_again_and_another_s_is_refused() {
    for half in [0, 4_096] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(segment_path(dir.path(), 0), vec![0; half]).unwrap();
        assert_eq!(LeaseTable::open(dir.path()).unwrap().0.reserve().unwrap().1, 1);
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(segment_path(dir.path(), 0), [7; 4_096]).unwrap();
    assert!(LeaseTable::open(dir.path()).is_err());
}

/// So many that the third file has some; where each stands.
fn with_three_files(dir: &Path) -> Vec<u32> {
    let (table, _) = LeaseTable::open(dir).unwrap();
    let one = || {
        let (place, serial) = table.reserve().unwrap();
        table.slot(place).ask(serial, 9, &format!("counter-{serial}"), LeasedWindow::Hour);
        place
    };
    (0..1_000).map(|_| one()).collect()
}

/// What a power cut leaves of a file is any of its pages, or not even its name.
#[test]
fn a_file_that_a_power_cut_left_without_its_head_takes_no_other_s_leases_with_it() {
    for lost in ["head", "name", "length"] {
        let dir = tempfile::tempdir().unwrap();
        let places = with_three_files(dir.path());
        let second = segment_path(dir.path(), 1);
        let length = std::fs::metadata(&second).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&second).unwrap();
        match lost {
            "head" => std::os::unix::fs::FileExt::write_all_at(&file, &[0; 8], 0).unwrap(),
            "name" => std::fs::remove_file(&second).unwrap(),
            _ => file.set_len(0).unwrap(),
        }
        for _ in 0..2 {
            let (table, damaged) = LeaseTable::open(dir.path()).unwrap();
            let kept = places.iter().filter(|place| {
                (lost == "head" || !places_of(1).contains(place)) && !table.slot(**place).is_empty()
            });
            let expected = places.iter().filter(|place| lost == "head" || !places_of(1).contains(place));
            assert_eq!((kept.count(), damaged), (expected.count(), 0), "{lost}");
        }
        let (table, _) = LeaseTable::open(dir.path()).unwrap();
        assert_eq!(std::fs::metadata(&second).unwrap().len(), length);
        // Beyond what all three hold.
        for _ in 0..2_000 {
            let (place, serial) = table.reserve().unwrap();
            assert!(table.slot(place).is_empty());
            table.slot(place).ask(serial, 9, "counter", LeasedWindow::Hour);
        }
    }
}

#[test]
fn what_a_growth_that_failed_left_is_in_the_way_of_none() {
    let dir = tempfile::tempdir().unwrap();
    let (table, _) = LeaseTable::open(dir.path()).unwrap();
    std::fs::write(segment_path(dir.path(), 1), [0; 4_096]).unwrap();
    for _ in 0..1_000 {
        table.reserve().unwrap();
    }
}
