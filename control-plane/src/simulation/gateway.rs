//! Gateways: they take units of leases for calls, record what became of each, send that in batches, and close leases. Their
//! records and leases outlive a kill, as mapped files do; what was under way is recorded as interrupted.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{CredentialId, RequestId, RouteId};
use apiclay_config::usage::{Ending, Event, LEASED_WINDOWS, LeasedWindow, Units};
use apiclay_gateway::counters::LeaseId;
use apiclay_gateway::limits::lease::LeaseWord;
use apiclay_gateway::limits::store::Marker;
use apiclay_gateway::limits::windows::Window;
use rand::Rng as _;

use super::faults::Fault;
use super::world::{GATEWAYS, World};

/// Units asked for at once.
pub(super) const WANT_UNITS: u32 = 4;

/// A lease at its gateway.
pub(super) struct Lease {
    pub(super) kind: LeasedWindow,
    pub(super) serial: u32,
    pub(super) epoch: u64,
    pub(super) window: i64,
    ends: Option<Timestamp>,
    pub(super) units: u32,
    pub(super) word: LeaseWord,
    /// Calls that kept their unit, of these those that are in batches, and the last such batch of each life.
    pub(super) kept: u32,
    batched: u32,
    batches: BTreeMap<u64, u64>,
    under_way: u32,
    pub(super) closed: bool,
}

impl Lease {
    /// Whether it is of the quota's window of this number.
    pub(super) fn ends_in(&self, window: i64) -> bool {
        self.kind == LeasedWindow::Day && self.window == window
    }
}

pub(super) struct Flight {
    quota: u32,
    wallet: u32,
}

/// What a gateway sends.
#[derive(Clone)]
pub(super) struct SimBatch {
    pub(super) gateway: usize,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) events: Vec<Event>,
}

pub(super) struct Gateway {
    pub(super) id: Arc<str>,
    pub(super) up: bool,
    pub(super) enrolled: bool,
    pub(super) epoch: u64,
    pub(super) known: Marker,
    serials: u32,
    /// Asked for under this serial, and not answered.
    pub(super) asked: BTreeMap<LeasedWindow, u32>,
    pub(super) leases: Vec<Lease>,
    pub(super) flights: Vec<Flight>,
    spool: Vec<Event>,
    seq: u64,
    unacknowledged: Vec<SimBatch>,
}

/// How a life is written.
pub(super) fn life(epoch: u64) -> String {
    format!("{epoch:016x}")
}

impl Gateway {
    pub(super) fn new(n: usize, known: Marker) -> Self {
        Self {
            id: format!("gw-{n}").into(),
            up: true,
            enrolled: true,
            epoch: 1,
            known,
            serials: 0,
            asked: BTreeMap::new(),
            leases: Vec::new(),
            flights: Vec::new(),
            spool: Vec::new(),
            seq: 0,
            unacknowledged: Vec::new(),
        }
    }

    fn lease(&mut self, serial: u32) -> &mut Lease {
        self.leases.iter_mut().find(|lease| lease.serial == serial).unwrap()
    }

    pub(super) fn name(&self, serial: u32, epoch: u64) -> LeaseId {
        LeaseId { gateway: self.id.clone(), epoch, serial }
    }

    /// A unit of a lease at hand.
    fn take(&mut self, kind: LeasedWindow, now: Timestamp, beyond: bool) -> Option<u32> {
        let epoch = self.epoch;
        let usable = |lease: &&mut Lease| {
            let lasts = beyond || lease.ends.is_none_or(|ends| now < ends);
            lease.kind == kind && lease.epoch == epoch && !lease.closed && lasts
        };
        let mut usable = self.leases.iter_mut().filter(usable);
        usable.find_map(|lease| {
            lease.word = lease.word.take(1)?;
            lease.under_way += 1;
            Some(lease.serial)
        })
    }

    /// Where a unit goes that a call does not keep.
    fn give_back(&mut self, serial: u32, returned: bool) {
        let lease = self.lease(serial);
        lease.under_way -= 1;
        if returned {
            lease.word = lease.word.give_back(1).unwrap_or(lease.word);
        }
    }

    /// The serial of an asking: the same again where no answer came.
    pub(super) fn serial_for(&mut self, kind: LeasedWindow) -> u32 {
        if let Some(asked) = self.asked.get(&kind) {
            return *asked;
        }
        self.serials += 1;
        self.asked.insert(kind, self.serials);
        self.serials
    }

    pub(super) fn opened(&mut self, kind: LeasedWindow, serial: u32, units: u32, window: &Window) {
        self.asked.remove(&kind);
        self.leases.push(Lease {
            kind,
            serial,
            epoch: self.epoch,
            window: window.id,
            ends: window.ends,
            units,
            word: LeaseWord::open(serial, units),
            kept: 0,
            batched: 0,
            batches: BTreeMap::new(),
            under_way: 0,
            closed: false,
        });
    }
}

impl World {
    /// A call comes in: it takes all it needs or nothing.
    pub(super) fn call(&mut self, n: usize) {
        if !self.gateways[n].up {
            return;
        }
        let (now, beyond) = (self.now, self.has(Fault::WindowEdge));
        let Some(quota) = self.gateways[n].take(LeasedWindow::Day, now, beyond).or_else(|| {
            self.ask_quota(n);
            self.gateways[n].take(LeasedWindow::Day, now, beyond)
        }) else {
            return;
        };
        let Some(wallet) = self.gateways[n].take(LeasedWindow::Wallet, now, false).or_else(|| {
            self.ask_wallet(n);
            self.gateways[n].take(LeasedWindow::Wallet, now, false)
        }) else {
            self.gateways[n].give_back(quota, true);
            return;
        };
        self.truth.calls += 1;
        // By the day that it is, whatever day the lease is of.
        let day = Window::at(LeasedWindow::Day, now).id;
        let admitted = self.truth.admitted.entry(day).or_default();
        *admitted += 1;
        self.truth.most_admitted = self.truth.most_admitted.max(*admitted);
        self.gateways[n].flights.push(Flight { quota, wallet });
    }

    fn ask_wallet(&mut self, n: usize) {
        let serial = self.gateways[n].serial_for(LeasedWindow::Wallet);
        let granted = self.grant(n, serial);
        if self.is_lost() {
            return;
        }
        let window = Window::at(LeasedWindow::Wallet, self.now);
        match granted {
            Ok(0) => {}
            Ok(units) => self.gateways[n].opened(LeasedWindow::Wallet, serial, units, &window),
            Err(()) => drop(self.gateways[n].asked.remove(&LeasedWindow::Wallet)),
        }
    }

    /// A call ends: mostly billed; where it is not, its units go back.
    pub(super) fn end_call(&mut self, n: usize) {
        if self.gateways[n].flights.is_empty() {
            return;
        }
        let which = self.rng.random_range(0..self.gateways[n].flights.len());
        let flight = self.gateways[n].flights.swap_remove(which);
        let billable = !self.one_in(5);
        let returned = !billable && !self.has(Fault::UnitsNotGivenBack);
        if !billable {
            let day = self.gateways[n].lease(flight.quota).window;
            let admitted = self.truth.admitted.entry(day).or_default();
            *admitted = admitted.saturating_sub(1);
        }
        let ending = if billable { Ending::Complete } else { Ending::UpstreamBroke };
        self.record(n, &flight, (billable, billable), ending);
        for serial in [flight.quota, flight.wallet] {
            self.gateways[n].give_back(serial, returned);
        }
        self.truth.billed += u64::from(billable);
    }

    fn record(&mut self, n: usize, flight: &Flight, (kept, billable): (bool, bool), ending: Ending) {
        let day_off_ms = if n == 1 { 86_400_000 } else { 0 };
        let at = self.skewed().plus_ms(day_off_ms);
        let mut leases = [0; LEASED_WINDOWS];
        leases[LeasedWindow::Day as usize] = flight.quota;
        leases[LeasedWindow::Wallet as usize] = flight.wallet;
        let event = Event {
            request: RequestId::from_u128(u128::from(self.truth.calls)),
            subscription: self.subscription.id,
            credential: CredentialId::from_u128(1),
            route: RouteId::from_u128(1),
            plan_revision: 1,
            at,
            duration_us: 1_000,
            status: if ending == Ending::Complete { 200 } else { 502 },
            tries: 1,
            ending,
            billable,
            kept,
            units: Units::CALL,
            leases,
            bytes_in: 0,
            bytes_out: 0,
        };
        let gateway = &mut self.gateways[n];
        gateway.spool.push(event);
        for serial in [flight.quota, flight.wallet] {
            gateway.lease(serial).kept += u32::from(kept);
        }
    }

    /// What is recorded goes out, and may be lost, or come twice.
    pub(super) fn send(&mut self, n: usize) {
        let copies = self.rng.random_range(0..3);
        let gateway = &mut self.gateways[n];
        if !gateway.up || gateway.spool.is_empty() {
            return self.resend(n);
        }
        gateway.seq += 1;
        let (epoch, seq) = (gateway.epoch, gateway.seq);
        let events = std::mem::take(&mut gateway.spool);
        for event in events.iter().filter(|event| event.kept) {
            for kind in [LeasedWindow::Day, LeasedWindow::Wallet] {
                let lease = gateway.lease(event.leases[kind as usize]);
                lease.batched += 1;
                lease.batches.insert(epoch, seq);
            }
        }
        let batch = SimBatch { gateway: n, epoch, seq, events };
        gateway.unacknowledged.push(batch.clone());
        self.on_its_way.extend(std::iter::repeat_n(batch, copies));
    }

    pub(super) fn resend(&mut self, n: usize) {
        self.on_its_way.extend(self.gateways[n].unacknowledged.iter().cloned());
    }

    pub(super) fn acknowledged(&mut self, batch: &SimBatch) {
        let known = |one: &SimBatch| (one.epoch, one.seq) == (batch.epoch, batch.seq);
        self.gateways[batch.gateway].unacknowledged.retain(|one| !known(one));
    }

    /// Closes leases that are used up, over, or of an earlier life; now and then one that is not.
    pub(super) fn close_leases(&mut self, n: usize) {
        let all = self.one_in(6);
        self.close_some(n, all);
    }

    pub(super) fn close_leases_all(&mut self, n: usize) {
        self.close_some(n, true);
    }

    fn close_some(&mut self, n: usize, all: bool) {
        if !self.gateways[n].up {
            return;
        }
        for place in 0..self.gateways[n].leases.len() {
            let (now, epoch) = (self.now, self.gateways[n].epoch);
            let lease = &self.gateways[n].leases[place];
            let done = lease.word.free() == 0 || lease.ends.is_some_and(|ends| ends <= now);
            if lease.closed || lease.under_way > 0 || !(all || done || lease.epoch != epoch) {
                continue;
            }
            match lease.kind {
                LeasedWindow::Wallet => self.close_wallet_lease(n, place),
                _ => self.close_quota_lease(n, place),
            }
        }
    }

    fn close_wallet_lease(&mut self, n: usize, place: usize) {
        let lease = &mut self.gateways[n].leases[place];
        if lease.batched < lease.kept {
            return;
        }
        lease.word = lease.word.freeze().unwrap_or(lease.word);
        let folded_first = lease.batches.iter().map(|(epoch, seq)| (life(*epoch), *seq)).collect();
        let (serial, epoch, spent) = (lease.serial, lease.epoch, lease.kept);
        self.closed(n, (serial, epoch), spent, folded_first);
        let lost = self.is_lost();
        self.gateways[n].leases[place].closed = !lost;
    }

    /// Kill -9, or the start after one.
    pub(super) fn kill(&mut self, n: usize) {
        if !self.gateways[n].up {
            return self.start(n);
        }
        self.truth.kills += 1;
        let flights = std::mem::take(&mut self.gateways[n].flights);
        for flight in flights {
            self.record(n, &flight, (true, false), Ending::Interrupted);
            for serial in [flight.quota, flight.wallet] {
                self.gateways[n].lease(serial).under_way -= 1;
            }
        }
        self.gateways[n].up = false;
    }

    pub(super) fn start(&mut self, n: usize) {
        let gateway = &mut self.gateways[n];
        if gateway.up {
            return;
        }
        gateway.up = true;
        gateway.seq = 0;
        gateway.known = Marker::unknown();
        self.close_asked(n);
        self.gateways[n].epoch += 1;
    }

    /// What was asked for and not answered is not wanted any more; the asking may have been heard.
    pub(super) fn close_asked(&mut self, n: usize) {
        let asked = std::mem::take(&mut self.gateways[n].asked);
        let epoch = self.gateways[n].epoch;
        if let Some(serial) = asked.get(&LeasedWindow::Wallet) {
            self.closed(n, (*serial, epoch), 0, Vec::new());
        }
    }

    /// A gateway is given up; it may go on for a while.
    pub(super) fn forget(&mut self, n: usize) {
        let other = &self.gateways[(n + 1) % GATEWAYS];
        if !self.gateways[n].enrolled || !other.enrolled {
            return;
        }
        let (id, known) = (self.gateways[n].id.clone(), other.known.clone());
        if self.counters.forget(&known, &id).is_ok() {
            self.gateways[n].enrolled = false;
            self.forget_holds(n);
        }
    }
}
