//! Where a listing is proxied: targets by weight, their addresses found and vetted through the one door out. The phase
//! `upstream` picks a target; the lane connects to the address found here and to no other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apiclay_config::egress::{Destination, Egress, EgressError};
use apiclay_config::snapshot;
use arc_swap::ArcSwapOption;

/// How long found addresses are believed.
const ADDRESSES_KEEP_MS: u64 = 30_000;
/// How long they serve on when they cannot be found anew, and how often that is tried.
const ADDRESSES_STALE_MAX_MS: u64 = 600_000;
const ADDRESSES_RETRY_MS: u64 = 1_000;

/// A listing's upstream, ready to use.
#[derive(Default)]
pub struct Upstream {
    /// Its addresses.
    pub targets: Vec<Target>,
    /// Limit on connecting.
    pub connect_timeout: Duration,
    /// Limit on each wait for its bytes.
    pub read_timeout: Duration,
    /// Further tries of a call that is safe to send again.
    pub retries_max: u8,
    /// Targets by turn: each stands here as often as its weight says, spread out.
    turns: Vec<u16>,
    next: AtomicUsize,
}

/// One address of an upstream.
pub struct Target {
    /// Scheme, host and port.
    pub destination: Destination,
    /// What goes before the call's path; empty or `/base`, without a slash at its end.
    pub base_path: String,
    /// The `Host` header for it.
    pub authority: String,
    egress: Egress,
    addresses: ArcSwapOption<Found>,
    /// Held by the one call that asks anew.
    asking: tokio::sync::Mutex<()>,
    /// When asking failed with nothing known: those who waited for it need not each ask in turn.
    failed_at: ArcSwapOption<Instant>,
    turn: AtomicUsize,
}

#[derive(Clone)]
struct Found {
    addresses: Vec<SocketAddr>,
    /// When they were found, and when they are to be found anew.
    at: Instant,
    renew_at: Instant,
}

impl Upstream {
    /// Reads what the snapshot says.
    ///
    /// # Errors
    /// What is wrong with a target.
    pub fn compile(upstream: &snapshot::Upstream, egress: &Egress) -> Result<Self, String> {
        let mut targets = Vec::with_capacity(upstream.targets.len());
        for target in &upstream.targets {
            // Vetted when it is connected to: what the operator allows is not the snapshot's to say, and one listing that
            // may not be reached is no reason to refuse all others.
            let destination = Destination::parse(&target.url).map_err(|e| e.to_string())?;
            let base_path = destination.path_and_query.trim_end_matches('/').to_owned();
            let authority = destination.authority();
            let (addresses, turn) = (ArcSwapOption::empty(), AtomicUsize::new(0));
            targets.push(Target {
                destination,
                base_path,
                authority,
                egress: egress.clone(),
                addresses,
                asking: tokio::sync::Mutex::new(()),
                failed_at: ArcSwapOption::empty(),
                turn,
            });
        }
        let weights: Vec<u32> = upstream.targets.iter().map(|t| t.weight).collect();
        Ok(Self {
            targets,
            connect_timeout: Duration::from_millis(upstream.connect_timeout_ms.into()),
            read_timeout: Duration::from_millis(upstream.read_timeout_ms.into()),
            retries_max: upstream.retries_max,
            turns: turns(&weights),
            next: AtomicUsize::new(0),
        })
    }

    /// Whether both were read from the same.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let limits = |one: &Self| (one.connect_timeout, one.read_timeout, one.retries_max);
        let places = self.targets.iter().map(|target| &target.destination);
        limits(self) == limits(other)
            && self.turns == other.turns
            && places.eq(other.targets.iter().map(|target| &target.destination))
    }

    /// The next target by weight; another than `but`, where there is one.
    #[must_use]
    pub fn pick(&self, but: Option<usize>) -> usize {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let picked = self.turns.get(turn % self.turns.len().max(1)).map_or(0, |t| usize::from(*t));
        match but {
            Some(tried) if tried == picked && self.targets.len() > 1 => (picked + 1) % self.targets.len(),
            _ => picked,
        }
    }
}

impl Target {
    /// An address to connect to, where what was found is not too old at this moment: vetted.
    ///
    /// # Errors
    /// When it may not be reached.
    pub fn address_at(&self, now: Instant) -> Option<Result<SocketAddr, EgressError>> {
        let found = self.addresses.load();
        let fresh = found.as_ref().filter(|found| now < found.renew_at)?;
        Some(self.choose(&fresh.addresses))
    }

    /// The same; found anew when what was found is too old.
    ///
    /// # Errors
    /// When the name cannot be found or its address may not be reached.
    pub async fn address(&self) -> Result<SocketAddr, EgressError> {
        if let Some(fresh) = self.address_at(Instant::now()) {
            return fresh;
        }
        self.has_not_just_failed()?;
        // One call asks; others go by what was known, and wait only where nothing was.
        let asking = match (self.asking.try_lock(), self.known()) {
            (Ok(asking), _) => asking,
            (Err(_), Some(stale)) => return self.choose(&stale.addresses),
            (Err(_), None) => self.asking.lock().await,
        };
        if let Some(fresh) = self.address_at(Instant::now()) {
            return fresh;
        }
        self.has_not_just_failed()?;
        // Boxed, or every call would carry the room for what few do.
        let resolved = Box::pin(self.egress.resolve(&self.destination)).await;
        let now = Instant::now();
        let found = match (resolved, self.known()) {
            (Ok(addresses), _) => {
                Found { addresses, at: now, renew_at: now + Duration::from_millis(ADDRESSES_KEEP_MS) }
            }
            (Err(error), Some(stale)) => {
                tracing::warn!(host = self.destination.host, %error, "the addresses known before serve on");
                let too_old_at = stale.at + Duration::from_millis(ADDRESSES_STALE_MAX_MS);
                let renew_at = too_old_at.min(now + Duration::from_millis(ADDRESSES_RETRY_MS));
                Found { renew_at, ..(*stale).clone() }
            }
            (Err(error), None) => {
                self.failed_at.store(Some(Arc::new(now)));
                return Err(error);
            }
        };
        let chosen = self.choose(&found.addresses);
        self.addresses.store(Some(Arc::new(found)));
        drop(asking);
        chosen
    }

    fn has_not_just_failed(&self) -> Result<(), EgressError> {
        let recently = Duration::from_millis(ADDRESSES_RETRY_MS);
        let failed = self.failed_at.load().as_ref().is_some_and(|at| at.elapsed() < recently);
        if failed && self.known().is_none() {
            return Err(EgressError::NotFound { host: self.destination.host.clone() });
        }
        Ok(())
    }

    /// What was found, where it is not too old to be of use at all.
    fn known(&self) -> Option<Arc<Found>> {
        let stale = Duration::from_millis(ADDRESSES_STALE_MAX_MS);
        self.addresses.load_full().filter(|found| found.at.elapsed() < stale)
    }

    fn choose(&self, addresses: &[SocketAddr]) -> Result<SocketAddr, EgressError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let address = addresses.get(turn % addresses.len().max(1)).copied();
        let address = address.ok_or_else(|| EgressError::NotFound { host: self.destination.host.clone() })?;
        self.egress.vet(address)?;
        Ok(address)
    }
}

/// A round in which each target has as many turns as its weight, spread evenly (smooth weighted round robin).
fn turns(weights: &[u32]) -> Vec<u16> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0i64; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        let richest = (0..credit.len()).max_by_key(|i| (credit[*i], std::cmp::Reverse(*i))).unwrap_or(0);
        credit[richest] -= total;
        turns.push(u16::try_from(richest).unwrap_or(0));
    }
    turns
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use apiclay_config::egress::Names;
    use futures_util::future::join_all;

    use super::*;

    /// An upstream whose name is asked for by this function.
    fn named(names: impl Fn() -> Vec<IpAddr> + Send + Sync + 'static) -> Arc<Upstream> {
        let names = Names::Given(Arc::new(move |_| names()));
        let egress = Egress::with_names(Vec::new(), Vec::new(), Vec::new(), names);
        let upstream = snapshot::Upstream {
            targets: vec![snapshot::Target { url: "http://api.example".to_owned(), weight: 1 }],
            connect_timeout_ms: 1_000,
            read_timeout_ms: 1_000,
            retries_max: 0,
        };
        Arc::new(Upstream::compile(&upstream, &egress).unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_name_that_is_not_found_is_asked_for_once_a_second_however_many_call() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        // It takes a while, and is found at the third question.
        let upstream = named(move || {
            std::thread::sleep(Duration::from_millis(100));
            let before = counted.fetch_add(1, Ordering::Relaxed);
            if before < 2 { Vec::new() } else { vec![IpAddr::from([1, 1, 1, 1])] }
        });
        let call = || {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move { upstream.targets[0].address().await })
        };
        let pause = Duration::from_millis(ADDRESSES_RETRY_MS + 50);
        for (questions, found) in [(1, 0), (2, 0), (3, 20)] {
            let answers = join_all((0..20).map(|_| call())).await;
            let ok = answers.into_iter().filter(|answer| answer.as_ref().unwrap().is_ok()).count();
            assert_eq!((ok, asked.load(Ordering::Relaxed)), (found, questions));
            assert_eq!(
                (call().await.unwrap().is_ok(), asked.load(Ordering::Relaxed)),
                (found > 0, questions)
            );
            tokio::time::sleep(pause).await;
        }
    }

    #[test]
    fn turns_follow_weights_and_are_spread() {
        assert_eq!(turns(&[1]), [0]);
        assert_eq!(turns(&[2, 2]), [0, 1]);
        assert_eq!(turns(&[3, 1]), [0, 0, 1, 0]);
        let many = turns(&[5, 1, 1]);
        assert_eq!(many.len(), 7);
        assert_eq!(many.iter().filter(|t| **t == 0).count(), 5);
    }
}
