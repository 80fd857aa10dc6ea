//! The store of leases on wallets: the control plane, where each is a hold in the ledger. Grants and closes of `wallet:` keys go
//! there, over a breaker and a bound on what is asked at once; [`Stores`] sends every other key to the counter store. Next:
//! `sync/leases.rs` says it over HTTP.

use std::sync::Arc;

use apiclay_config::usage::LeasedWindow;
use apiclay_config::wallet_leases::{
    CLOSES_MAX, EarlierOver, LEASE_MAX_UNITS, LastBatch, LeaseAsked, LeaseClosed, LeasesAnswer, LeasesRequest,
};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use http::HeaderValue;
use tokio::sync::Semaphore;
use url::Url;

use super::breaker::Breaker;
use super::{COUNT_MAX, Close, Counters, CountersError, Grant, GrantRequest, LeaseId};
use crate::limits::{WalletCalls, wallet_of_key};

/// Requests at the control plane at once; more wait for their turn.
const ASKED_AT_ONCE_MAX: usize = 64;
/// Wallets are in no counters that can be lost: an answer of theirs always holds.
const GENERATION: u64 = u64::MAX;

/// Why a control plane did not answer about leases.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Nobody there, or not now.
    #[error("the control plane cannot be asked about wallets: {0}")]
    Away(String),
    /// There, and it could not do this one thing now.
    #[error("the control plane failed at what it was asked about wallets: {0}")]
    Failed(String),
    /// The lease that was asked for is over.
    #[error("the control plane says that the lease is over")]
    Over,
    /// It does not know what was said: it is of an earlier version.
    #[error("the control plane does not know what was said about wallets")]
    Unknown,
    /// It does not understand us, or we not it.
    #[error("the control plane answered about wallets: {0}")]
    Refused(String),
}

/// Where leases on wallets are asked for; the control plane.
#[async_trait]
pub trait WalletDesk: Send + Sync {
    /// Says closes and asks for a lease.
    async fn leases(&self, request: &LeasesRequest) -> Result<LeasesAnswer, DeskError>;

    /// Says that nothing more comes of this gateway's earlier lives.
    async fn earlier_over(&self, over: &EarlierOver) -> Result<(), DeskError>;

    /// Whether it was heard of lately.
    fn is_heard(&self) -> bool;
}

/// Where buyers top up, as the control plane said last.
#[derive(Debug, Default)]
pub struct TopUp(ArcSwapOption<HeaderValue>);

impl TopUp {
    /// The value of a `Link` header.
    #[must_use]
    pub fn link(&self) -> Option<HeaderValue> {
        self.0.load().as_deref().cloned()
    }

    pub(crate) fn learn(&self, url: &Url) {
        let link = HeaderValue::from_str(&format!("<{url}>; rel=\"payment\"")).ok();
        if let Some(link) = link.filter(|link| self.0.load().as_deref() != Some(link)) {
            self.0.store(Some(Arc::new(link)));
        }
    }
}

/// Leases on wallets, at the control plane.
pub struct WalletCounters<D> {
    desk: D,
    /// This life's.
    epoch: String,
    breaker: Breaker,
    at_once: Semaphore,
    top_up: Arc<TopUp>,
}

impl<D: WalletDesk> WalletCounters<D> {
    /// For the life with this epoch; what is heard of topping up goes to `top_up`.
    #[must_use]
    pub fn new(desk: D, epoch: String, top_up: Arc<TopUp>) -> Self {
        let (breaker, at_once) = (Breaker::new(), Semaphore::new(ASKED_AT_ONCE_MAX));
        Self { desk, epoch, breaker, at_once, top_up }
    }

    async fn ask(
        &self,
        key: &str,
        lease: Option<(&LeaseId, u32)>,
        closes: &[Close],
    ) -> Result<LeasesAnswer, CountersError> {
        let WalletCalls { subscription, plan, plan_revision } =
            wallet_of_key(key).ok_or_else(|| CountersError::Key(key.to_owned()))?;
        let asked = |(lease, want): (&LeaseId, u32)| LeaseAsked {
            serial: lease.serial,
            want: want.clamp(1, LEASE_MAX_UNITS),
            plan,
            plan_revision,
        };
        let request = LeasesRequest {
            epoch: self.epoch.clone(),
            subscription,
            grant: lease.map(asked),
            closes: closes.iter().map(closed).collect::<Result<_, _>>()?,
        };
        let _turn =
            self.at_once.acquire().await.map_err(|closed| CountersError::Wallets(Some(Arc::new(closed))))?;
        // Whoever waited for a turn finds out here that the one before failed.
        if self.breaker.is_open() {
            return Err(CountersError::Wallets(None));
        }
        let answer = self.desk.leases(&request).await;
        match &answer {
            Err(DeskError::Away(_)) => self.breaker.failed(),
            _ => self.breaker.answered(),
        }
        match (answer, lease) {
            (Ok(answer), _) => {
                answer.top_up_url.iter().for_each(|url| self.top_up.learn(url));
                Ok(answer)
            }
            (Err(DeskError::Over), Some((lease, _))) => Err(CountersError::Stale(lease.clone())),
            (Err(away @ DeskError::Away(_)), _) => Err(CountersError::Wallets(Some(Arc::new(away)))),
            (Err(failed @ DeskError::Failed(_)), _) => Err(CountersError::WalletFailed(failed.to_string())),
            (Err(refused), _) => Err(CountersError::WalletsRefused(refused.to_string())),
        }
    }
}

fn closed(close: &Close) -> Result<LeaseClosed, CountersError> {
    // The lease book says it of every lease on a wallet.
    let unsaid =
        || CountersError::WalletsRefused(format!("{} is closed without what was spent of it", close.lease));
    let spent = close.spent.ok_or_else(unsaid)?;
    let epoch = |epoch: u64| format!("{epoch:016x}");
    // Without a unit spent there is nothing to wait for.
    let last_batch = spent.last_batch.filter(|_| spent.units > 0);
    Ok(LeaseClosed {
        epoch: epoch(close.lease.epoch),
        serial: close.lease.serial,
        spent: spent.units,
        last_batch: last_batch.map(|batch| LastBatch { epoch: epoch(batch.epoch), seq: batch.seq }),
    })
}

#[async_trait]
impl<D: WalletDesk> Counters for WalletCounters<D> {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        let (with_it, before) = request.closes.split_at(request.closes.len().min(CLOSES_MAX));
        self.close(&request.key, before).await?;
        let answer = self.ask(&request.key, Some((&request.lease, request.want)), with_it).await?;
        let missing =
            || CountersError::WalletsRefused("a lease was asked for, and nothing was said of it".to_owned());
        let granted = answer.granted.ok_or_else(missing)?;
        if granted.units > LEASE_MAX_UNITS {
            return Err(CountersError::WalletsRefused(format!("a lease of {} calls", granted.units)));
        }
        Ok(Grant {
            window: 0,
            units: granted.units,
            remaining: granted.remaining.min(COUNT_MAX),
            ends_in_ms: None,
            generation: GENERATION,
        })
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        for some in closes.chunks(CLOSES_MAX) {
            self.ask(key, None, some).await?;
        }
        Ok(GENERATION)
    }

    /// The control plane does its own where a gateway is forgotten.
    async fn forget(&self, _: &str) -> Result<u64, CountersError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), CountersError> {
        if self.wallets_are_there() { Ok(()) } else { Err(CountersError::Wallets(None)) }
    }

    fn wallets_are_there(&self) -> bool {
        !self.breaker.is_open() && self.desk.is_heard()
    }
}

/// Both stores as one: each key to its own.
pub struct Stores {
    /// Quotas and trials.
    pub counters: Arc<dyn Counters>,
    /// Wallets.
    pub wallets: Arc<dyn Counters>,
}

impl Stores {
    fn of(&self, is_wallet: bool) -> &dyn Counters {
        if is_wallet { &*self.wallets } else { &*self.counters }
    }
}

#[async_trait]
impl Counters for Stores {
    async fn grant(&self, request: &GrantRequest) -> Result<Grant, CountersError> {
        self.of(request.window == LeasedWindow::Wallet).grant(request).await
    }

    async fn close(&self, key: &str, closes: &[Close]) -> Result<u64, CountersError> {
        self.of(wallet_of_key(key).is_some()).close(key, closes).await
    }

    async fn forget(&self, gateway: &str) -> Result<u64, CountersError> {
        self.counters.forget(gateway).await
    }

    async fn ping(&self) -> Result<(), CountersError> {
        self.counters.ping().await
    }

    fn wallets_are_there(&self) -> bool {
        self.wallets.wallets_are_there()
    }
}

#[cfg(test)]
mod tests;
