//! A counter's whole state as the bytes of one row: what is out, and of each gateway its newest lease and its open ones. A
//! checksum tells bytes that the disk has spoiled, which would else grant a limit again.

use std::sync::Arc;

use crate::counters::LeaseId;
use crate::limits::counter::CounterState;

/// The first byte: how the others are to be read.
const FORM: u8 = 1;

/// The bytes of a state; all numbers are little-endian.
pub(super) fn encode(state: &CounterState) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(FORM);
    bytes.extend(state.granted.to_le_bytes());
    // Whoever has an open lease has a newest one.
    for (gateway, (epoch, serial)) in &state.latest {
        let open = || state.open.iter().filter(|(lease, _)| lease.gateway == *gateway);
        push_count(&mut bytes, gateway.len());
        bytes.extend(gateway.as_bytes());
        push_name(&mut bytes, *epoch, *serial);
        push_count(&mut bytes, open().count());
        for (lease, units) in open() {
            push_name(&mut bytes, lease.epoch, lease.serial);
            bytes.extend(units.to_le_bytes());
        }
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn push_name(bytes: &mut Vec<u8>, epoch: u64, serial: u32) {
    bytes.extend(epoch.to_le_bytes());
    bytes.extend(serial.to_le_bytes());
}

fn push_count(bytes: &mut Vec<u8>, count: usize) {
    // SQLite takes no row of 4 GiB.
    bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// The state that these are the bytes of; `None` where they are not what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Option<CounterState> {
    let (content, sum) = bytes.split_last_chunk()?;
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = content;
    if take(&mut rest)? != [FORM] {
        return None;
    }
    let mut state = CounterState { granted: u64::from_le_bytes(take(&mut rest)?), ..CounterState::default() };
    while !rest.is_empty() {
        let length = u32::from_le_bytes(take(&mut rest)?) as usize;
        let (gateway, after) = rest.split_at_checked(length)?;
        rest = after;
        let gateway: Arc<str> = std::str::from_utf8(gateway).ok()?.into();
        let latest = take_name(&mut rest)?;
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let (epoch, serial) = take_name(&mut rest)?;
            let units = u32::from_le_bytes(take(&mut rest)?);
            state.open.insert(LeaseId { gateway: gateway.clone(), epoch, serial }, units);
        }
        state.latest.insert(gateway, latest);
    }
    Some(state)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn take_name(rest: &mut &[u8]) -> Option<(u64, u32)> {
    Some((u64::from_le_bytes(take(rest)?), u32::from_le_bytes(take(rest)?)))
}
