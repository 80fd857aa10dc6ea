//! Who is killed, by a seed: cards of a deck that is shuffled anew whenever it is used up, so that every few kills everyone's
//! turn has come. Each is started again after a moment; then all must serve before the next one is killed, unless the seed wants
//! two kills at once: the second falls while the first one is down, or while the others take it up again.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Apiclay, Chance, Marketplace, Mongod, Persist, Redis, http_client, wait_until};
use tempfile::TempDir;

use crate::load::{GATEWAYS, Load};
use crate::market::Plan;

/// Longest time from a kill's start again until all of it serves: nobody waits so long for a machine that is only busy.
const SERVING_DEADLINE: Duration = Duration::from_secs(120);
/// Before a kill, once all has settled after the one before; and until the start again.
const BEFORE_MS: [u64; 2] = [200, 1_500];
const DOWN_MS: [u64; 2] = [0, 1_000];
/// Kills in a hundred during which another one falls: while the victim is down, and while it is taken up again.
const WHILE_DOWN: u64 = 10;
const WHILE_TAKEN_UP: u64 = 15;
/// How long after the start again that is.
const TAKEN_UP_MS: [u64; 2] = [0, 800];
const GRANTED: [&str; 2] = [
    "apiclay_gateway_counters_duration_seconds_count{operation=\"grant\",outcome=\"ok\"}",
    "apiclay_gateway_wallets_duration_seconds_count{operation=\"grant\",outcome=\"ok\"}",
];
const LOST: &str = "apiclay_gateway_counters_lost";
/// Settings of both planes: holds are replaced each second, so that kills find charges under way, and all serves again sooner.
const SETTINGS: [(&str, &str); 1] = [("APICLAY_GATEWAY_WALLET_LEASE_MAX_S", "1")];

/// Who is killed, and with what it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    Gateway(usize),
    ControlPlane,
    RedisWithItsData,
    RedisWithNothing,
    RedisWithAnOldCopy,
    Mongod,
}

pub const DECK: [Victim; 8] = [
    Victim::Gateway(0),
    Victim::Gateway(1),
    Victim::ControlPlane,
    Victim::RedisWithItsData,
    Victim::RedisWithNothing,
    Victim::RedisWithAnOldCopy,
    Victim::Mongod,
    Victim::Gateway(0),
];

impl Victim {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway(_) => "gateway",
            Self::ControlPlane => "control plane",
            Self::RedisWithItsData => "Redis, with its data",
            Self::RedisWithNothing => "Redis, without data",
            Self::RedisWithAnOldCopy => "Redis, with an old copy",
            Self::Mongod => "mongod",
        }
    }

    /// Whether a call is rightly refused so while it is down or taken up again. A gateway decides by itself who may call; the
    /// control plane and its store stand behind wallets alone, and Redis behind all other counters.
    pub fn excuses(self, code: &str, gateway: usize, plan: Plan) -> bool {
        match self {
            Self::Gateway(killed) => code == "not_ready" && killed == gateway,
            Self::ControlPlane | Self::Mongod => code == "counters_unavailable" && plan.is_paid_by_wallet(),
            Self::RedisWithItsData | Self::RedisWithNothing | Self::RedisWithAnOldCopy => {
                code == "counters_unavailable" && !plan.is_paid_by_wallet()
            }
        }
    }

    /// Until when after everything served again a call may still be refused so: what asks believes for 100 ms that nobody answers,
    /// and a question to a control plane that hangs is given up after 2 s. Nobody is killed meanwhile, so that refusals after it are seen.
    pub fn settling_ms(self) -> u64 {
        match self {
            Self::ControlPlane | Self::Mongod => 2_500,
            _ => 500,
        }
    }

    /// In this order they are started again where two are down: who needs another one starts after it.
    fn order(self) -> usize {
        match self {
            Self::Mongod => 0,
            Self::RedisWithItsData | Self::RedisWithNothing | Self::RedisWithAnOldCopy => 1,
            Self::ControlPlane => 2,
            Self::Gateway(number) => 3 + number,
        }
    }
}

/// One kill to come.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    victim: Victim,
    before_ms: u64,
    down_ms: u64,
    then: Then,
}

/// When the next kill falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Once all serves.
    Served,
    /// So long after this one's start again.
    TakenUp(u64),
    /// Before this one's start again.
    Down,
}

/// So many kills of this seed.
pub fn steps(seed: u64, kills: usize) -> Vec<Step> {
    let mut chance = Chance::of(seed);
    let mut deck = Vec::new();
    let mut steps = Vec::new();
    while steps.len() < kills {
        if deck.is_empty() {
            deck = DECK.to_vec();
        }
        let victim = deck.swap_remove(chance.between(0, deck.len() as u64) as usize);
        let [before_ms, down_ms, taken_up_ms] =
            [BEFORE_MS, DOWN_MS, TAKEN_UP_MS].map(|[least, below]| chance.between(least, below));
        let then = match chance.between(0, 100) {
            place if place < WHILE_DOWN => Then::Down,
            place if place < WHILE_DOWN + WHILE_TAKEN_UP => Then::TakenUp(taken_up_ms),
            _ => Then::Served,
        };
        steps.push(Step { victim, before_ms, down_ms, then });
    }
    for at in 0..steps.len() {
        let again = steps.get(at + 1).map(|next| next.victim.order()) == Some(steps[at].victim.order());
        let second = at > 0 && steps[at - 1].then != Then::Served;
        // Nobody is killed who is down, and no three fall together.
        if at + 1 == steps.len() || second || (again && steps[at].then == Then::Down) {
            steps[at].then = Then::Served;
        }
    }
    steps
}

/// A kill that was. Times are milliseconds since the load began.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    pub victim: Victim,
    pub kill_ms: u64,
    /// When the process said that it is back.
    pub back_ms: u64,
    /// When both gateways had been granted units by the counters and by the wallet again.
    pub serving_ms: u64,
}

/// Everything that can be killed.
#[derive(Debug)]
pub struct World {
    pub market: Marketplace,
    second: Apiclay,
    pub addresses: [SocketAddr; GATEWAYS],
    admins: [String; GATEWAYS],
    redis: Redis,
    /// What Redis had some kills ago.
    old: TempDir,
    pub mongod: Mongod,
}

impl World {
    pub async fn start() -> Result<Self> {
        let mongod = Mongod::start().await?;
        let redis = Redis::start(Persist::EverySecond).await?;
        let market = Marketplace::separate_with(&mongod, &redis, &SETTINGS).await?;
        let (second, address, admin) = market.observed_gateway("gw-2").await?;
        let addresses = [market.gateway_address, address];
        let admins = [market.gateway_admin.clone(), admin];
        let old = TempDir::with_prefix("apiclay-old-redis-")?;
        Ok(Self { market, second, addresses, admins, redis, old, mongod })
    }

    /// An old copy from the first kill on.
    pub async fn keep_a_copy(&mut self) -> Result<()> {
        self.redis.kill_and_copy_to(self.old.path())?;
        self.redis.restart().await
    }

    /// Kills and starts again, one after the other, while the load runs.
    pub async fn suffer(&mut self, steps: &[Step], load: &Load) -> Result<Vec<Outage>> {
        let turns = load.bought.iter().map(|one| one.turn).max().unwrap_or(1);
        let (mut outages, mut settling_ms) = (Vec::new(), 0);
        for together in steps.chunk_by(|one, _| one.then != Then::Served) {
            let number = outages.len();
            load.turn.store(1 + number * turns / steps.len(), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(settling_ms + together[0].before_ms)).await;
            let suffered = self.together(together, load).await;
            let suffered =
                suffered.with_context(|| format!("kill {number}, {together:?}\n{}", self.logs()))?;
            for (number, outage) in (number..).zip(&suffered) {
                println!(
                    "kill {number}: {:?} at {} ms, back after {} ms, all serves after {} ms",
                    outage.victim,
                    outage.kill_ms,
                    outage.back_ms - outage.kill_ms,
                    outage.serving_ms - outage.kill_ms
                );
            }
            settling_ms = together.iter().map(|step| step.victim.settling_ms()).max().unwrap_or(0);
            outages.extend(suffered);
        }
        Ok(outages)
    }

    /// Kills that fall one into the other; at the end all serves.
    async fn together(&mut self, steps: &[Step], load: &Load) -> Result<Vec<Outage>> {
        let mut outages: Vec<Outage> = Vec::new();
        for step in steps {
            let kill_ms = load.elapsed_ms();
            self.kill(step.victim)?;
            outages.push(Outage { victim: step.victim, kill_ms, back_ms: 0, serving_ms: 0 });
            tokio::time::sleep(Duration::from_millis(step.down_ms)).await;
            if step.then == Then::Down {
                continue;
            }
            let mut down: Vec<&mut Outage> =
                outages.iter_mut().filter(|outage| outage.back_ms == 0).collect();
            down.sort_by_key(|outage| outage.victim.order());
            for outage in down {
                self.start_again(outage.victim).await?;
                outage.back_ms = load.elapsed_ms();
            }
            if let Then::TakenUp(ms) = step.then {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
        }
        self.until_granted(load).await?;
        let serving_ms = load.elapsed_ms();
        Ok(outages.into_iter().map(|outage| Outage { serving_ms, ..outage }).collect())
    }

    async fn start_again(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Gateway(0) => self.market.gateway.restart().await,
            Victim::Gateway(_) => self.second.restart().await,
            Victim::ControlPlane => self.control()?.restart().await,
            Victim::Mongod => self.mongod.restart().await,
            _ => self.redis.restart().await,
        }
    }

    fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Gateway(0) => self.market.gateway.kill9(),
            Victim::Gateway(_) => self.second.kill9(),
            Victim::ControlPlane => self.control()?.kill9(),
            Victim::Mongod => self.mongod.kill9(),
            Victim::RedisWithNothing => self.redis.kill_and_set_back(None),
            Victim::RedisWithAnOldCopy => self.redis.kill_and_set_back(Some(self.old.path())),
            Victim::RedisWithItsData => {
                std::fs::remove_dir_all(self.old.path())?;
                std::fs::create_dir(self.old.path())?;
                self.redis.kill_and_copy_to(self.old.path())
            }
        }
    }

    fn control(&mut self) -> Result<&mut Apiclay> {
        self.market.control.as_mut().context("no control plane of its own")
    }

    /// Until both gateways have been granted units of a quota and of a wallet since now.
    async fn until_granted(&self, load: &Load) -> Result<()> {
        let http = http_client()?;
        let begun_ms = load.elapsed_ms();
        let mut before = Vec::new();
        let all = async || -> Result<Vec<f64>> {
            let mut counts = Vec::new();
            for admin in &self.admins {
                let text = http.get(format!("{admin}/metrics")).send().await?.text().await?;
                let value = |name: &str| {
                    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
                    line.unwrap_or(0.0)
                };
                ensure!(value(LOST) == 0.0, "{admin}: the counters are lost");
                counts.extend(GRANTED.map(value));
            }
            Ok(counts)
        };
        wait_until("all to serve again", SERVING_DEADLINE, async || {
            let now = all().await?;
            if before.is_empty() {
                before.clone_from(&now);
            }
            let granted = before.iter().zip(&now).all(|(before, now)| now > before);
            ensure!(granted, "granted {before:?} then, {now:?} after {} ms", load.elapsed_ms() - begun_ms);
            Ok(())
        })
        .await
    }

    /// How the logs end, for whoever looks for the fault.
    pub fn logs(&mut self) -> String {
        let second = self.second.process().log_tail();
        let first = self.market.gateway.process().log_tail();
        let control = self.control().map(|control| control.process().log_tail()).unwrap_or_default();
        format!("first gateway:\n{first}\nsecond gateway:\n{second}\ncontrol plane:\n{control}")
    }
}
