//! A buyer's way through the web app, walked by a real browser against a real marketplace with its demo data: sign up,
//! find the listing, subscribe, make a key, call from the playground, see the call in the chart. Each page is asserted on
//! by what a person sees, and a picture of each is kept for people to look at (`pictures`). The same way is walked again
//! without JavaScript, where plain forms do all but the call from the page. `account` and `wallet` are stages of the way,
//! `hands` is how a stage is walked; `plans` is another way, of a buyer who pays by the month; `paying` is of the script that brings
//! the checkout's word.

mod account;
mod hands;
mod paying;
mod pictures;
mod plans;
mod wallet;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::api::PASSWORD;
use apiclay_tests::{Chromium, Marketplace, Mongod, Persist, Redis, wait_until};
use fantoccini::{Client, Locator};
use pictures::Pictures;
use rustix::process::Signal;

const PAGE_DEADLINE_MS: u64 = 15_000;
/// Usage is on record within 5 s of the answer; the rest is for a busy machine.
const USAGE_DEADLINE_MS: u64 = 30_000;
const EMAIL: &str = "asha@example.test";
const USERNAME: &str = "asha";
const CALLS: usize = 3;

/// A browser on the pages of one marketplace.
struct Buyer<'a> {
    market: &'a Marketplace,
    browser: Client,
    pictures: Pictures,
    scripts: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_walks_from_sign_up_to_the_usage_chart() -> Result<()> {
    walks(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_walks_the_same_way_without_javascript() -> Result<()> {
    walks(false).await
}

async fn walks(scripts: bool) -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    let chromium = Chromium::start().await?;
    let browser = chromium.client().await?;
    if !scripts {
        pictures::without_scripts(&browser).await?;
    }
    let mut buyer = Buyer { market: &market, browser, pictures: Pictures::new(market.folder())?, scripts };
    buyer.looks_around().await?;
    buyer.signs_up().await?;
    buyer.subscribes().await?;
    let key = buyer.makes_a_key().await?;
    if scripts {
        buyer.calls(&key).await?;
    } else {
        buyer.calls_by_hand(&key).await?;
    }
    buyer.sees_usage().await?;
    buyer.tops_up().await?;
    buyer.signs_out().await?;
    buyer.resets_the_password().await?;
    buyer.joins_a_vendor().await?;
    buyer.pictures.fits()?;
    buyer.browser.close().await?;
    Ok(())
}

/// What a page is when the database does not answer; and how the first admin is made, which needs none until it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_silent_is_a_page_too() -> Result<()> {
    let mut mongod = Mongod::start().await?;
    let redis = Redis::start(Persist::EverySecond).await?;
    let market = Marketplace::separate(&mongod, &redis).await?;
    let chromium = Chromium::start().await?;
    let browser = chromium.client().await?;
    let pictures = Pictures::new(market.folder())?;
    let mut buyer = Buyer { market: &market, browser, pictures, scripts: true };
    mongod.process().signal(Signal::STOP)?;
    buyer.goes_to("/setup?token=once").await?;
    buyer.sees("h1", "Your marketplace").await?;
    buyer.picture("setup").await?;
    buyer.goes_to("/").await?;
    buyer.sees("main", "Ask for help with this number").await?;
    buyer.picture("store-gone").await?;
    mongod.process().signal(Signal::CONT)?;
    buyer.pictures.fits()?;
    buyer.browser.close().await?;
    Ok(())
}

impl Buyer<'_> {
    /// A demo fills itself through its own API after it is ready.
    async fn waits_for_the_demo(&self) -> Result<()> {
        self.until("the demo's listing", async || {
            self.goes_to("/").await?;
            let told = self.browser.find(Locator::Css("main")).await?.text().await?;
            ensure!(told.contains("Echo"), "it says {told:?}");
            Ok(())
        })
        .await
    }

    /// Nobody in particular finds the demo's listing, and what is not there.
    async fn looks_around(&mut self) -> Result<()> {
        self.waits_for_the_demo().await?;
        self.sees(".banner", "Demo").await?;
        self.picture("discover").await?;
        self.goes_to("/?q=nothing-is-called-this").await?;
        self.sees("main", "Nothing matches").await?;
        self.picture("discover-nothing").await?;
        self.goes_to("/no/such/page").await?;
        self.sees("h1", "Nothing here").await?;
        self.picture("not-found").await?;
        self.goes_to("/subscriptions").await?;
        self.sees("h1", "Sign in").await?;
        self.picture("sign-in").await?;
        self.fills("#login", USERNAME).await?;
        self.fills("#password", "not the password").await?;
        self.presses("main .panel button").await?;
        self.sees("[role=alert]", "login or the password is wrong").await?;
        self.picture("sign-in-wrong").await?;
        self.goes_to("/signin/code").await?;
        self.picture("sign-in-code").await
    }

    /// Errors stand beside their fields; the code comes by mail; the way leads back to the listing.
    async fn signs_up(&mut self) -> Result<()> {
        self.goes_to("/").await?;
        self.fills("#q", "echo").await?;
        self.presses(".search button").await?;
        self.sees("#found", "Results for").await?;
        self.presses(".card .cover").await?;
        self.sees("h1", "Echo").await?;
        self.picture("listing-guest").await?;
        self.presses(".plan .button").await?;
        self.presses("a[href^='/signup?next']").await?;
        self.sees("h1", "Create your account").await?;
        self.picture("sign-up").await?;
        for (field, text) in
            [("#name", "Asha Kumari"), ("#username", "a b"), ("#email", EMAIL), ("#password", "short")]
        {
            self.fills(field, text).await?;
        }
        self.presses("main .panel button").await?;
        self.sees("#username-fault", "letters, digits").await?;
        self.sees("#password-fault", "at least 10 characters").await?;
        self.picture("sign-up-wrong").await?;
        self.fills("#username", USERNAME).await?;
        self.fills("#password", PASSWORD).await?;
        self.presses("main .panel button").await?;
        self.sees("h1", "Check your mail").await?;
        self.picture("verify").await?;
        let code = self.code("Welcome").await?;
        // Another six digits than the right ones, whatever those are.
        let wrong = if code == "000000" { "111111" } else { "000000" };
        self.fills("#code", wrong).await?;
        self.presses("main .panel button").await?;
        self.sees("main .alert, main .fault", "code").await?;
        self.picture("verify-wrong").await?;
        self.fills("#code", &code).await?;
        self.presses("main .panel button").await?;
        self.sees("[role=status]", "verified").await?;
        self.picture("verified").await?;
        self.fills("#password", PASSWORD).await?;
        self.presses("main .panel button").await?;
        self.sees("h1", "Echo").await?;
        self.sees(".who", "Asha Kumari").await
    }

    async fn subscribes(&mut self) -> Result<()> {
        self.goes_to("/subscriptions").await?;
        self.sees("main", "No subscriptions yet").await?;
        self.picture("subscriptions-none").await?;
        self.browser.back().await?;
        self.sees("h1", "Echo").await?;
        self.picture("listing").await?;
        self.presses(".plan form button").await?;
        self.sees("[role=status]", "You are subscribed").await?;
        self.sees("main", "No keys").await?;
        self.picture("subscription-new").await
    }

    /// The key is shown, this once, and taken along to the playground.
    async fn makes_a_key(&mut self) -> Result<String> {
        self.fills("#name", "production").await?;
        self.presses(".make-key button").await?;
        self.sees("h2#new-key", "production").await?;
        let key = self.browser.find(Locator::Css("#key")).await?.text().await?;
        ensure!(key.starts_with("apiclay_"), "the page shows {key:?}");
        self.picture("key").await?;
        if self.scripts {
            self.presses("[data-key] a").await?;
            self.sees("h1", "Echo").await?;
        }
        Ok(key)
    }

    /// Without scripts the page says so, offers no playground, and the address that it shows is called from elsewhere.
    async fn calls_by_hand(&mut self, key: &str) -> Result<()> {
        self.presses("a[href$='#routes']").await?;
        self.sees("noscript", "needs JavaScript").await?;
        let playground = self.browser.find(Locator::Css("#playground")).await?;
        ensure!(!playground.is_displayed().await?, "a playground that cannot work is shown");
        self.picture("listing").await?;
        self.calls_from_elsewhere(key, &["/hello"; CALLS]).await
    }

    /// At the address, and with the header, that the listing's page names.
    async fn calls_from_elsewhere(&self, key: &str, paths: &[&str]) -> Result<()> {
        let playground = self.browser.find(Locator::Css("#playground")).await?;
        let server = playground.attr("data-server").await?.context("the page names no server")?;
        let header = playground.attr("data-key-header").await?.context("the page names no header")?;
        for path in paths {
            let called = reqwest::Client::new().get(format!("{server}{path}")).header(&header, key);
            let status = called.send().await?.status();
            ensure!(status.is_success(), "the gateway says {status}");
        }
        Ok(())
    }

    /// The key came along in the tab's memory, and the call goes from the page straight to the gateway.
    async fn calls(&mut self, key: &str) -> Result<()> {
        let field = self.browser.find(Locator::Css("#try-key")).await?;
        let filled = field.prop("value").await?.unwrap_or_default();
        ensure!(filled == key, "the playground has the key {filled:?}");
        for _ in 0..CALLS {
            self.presses(".try-act button").await?;
            self.sees("#try-status", "200").await?;
            self.sees(".try-act button", "Send the call").await?;
        }
        for shown in ["x-request-id", "ratelimit", "req_"] {
            self.sees("#try-answer-headers", shown).await?;
        }
        self.sees("#try-answer-body", "\"path\": \"/hello\"").await?;
        self.picture("playground").await?;
        self.fills("#try-key", "apiclay_wrong").await?;
        self.presses(".try-act button").await?;
        self.sees("#try-answer-body", "credential_invalid").await?;
        self.picture("playground-refused").await
    }

    async fn sees_usage(&mut self) -> Result<()> {
        self.goes_to("/subscriptions").await?;
        self.sees(".rows", "Echo").await?;
        self.picture("subscriptions").await?;
        self.presses(".rows .cover").await?;
        let counted = format!("{CALLS} calls in the last 24 hours");
        wait_until("usage on the page", Duration::from_millis(USAGE_DEADLINE_MS), async || {
            self.browser.refresh().await?;
            let told = self.browser.find(Locator::Css(".chart figcaption")).await?.text().await?;
            ensure!(told == counted, "the chart says {told:?}");
            Ok(())
        })
        .await?;
        let bars = self.browser.find_all(Locator::Css(".chart rect.good")).await?.len();
        ensure!((1..=2).contains(&bars), "{bars} bars for calls within a minute");
        self.sees(".usage-table tbody", &CALLS.to_string()).await?;
        self.picture("usage").await?;
        self.presses(".switch a[href*='by=day']").await?;
        self.sees(".chart figcaption", "in the last 30 days").await?;
        self.picture("usage-days").await?;
        self.presses("details.menu summary").await?;
        self.picture("rotate").await?;
        self.presses("details.menu .panel button").await?;
        self.sees("h2#new-key", "production").await?;
        self.presses(".revoke summary").await?;
        self.picture("revoke").await?;
        self.presses("[aria-label='Revoke now: production']").await?;
        self.sees("[role=status]", "The key is revoked").await?;
        self.picture("key-revoked").await?;
        self.goes_to("/account").await?;
        self.sees("main", EMAIL).await?;
        self.picture("account").await?;
        self.goes_to("/demo").await?;
        self.sees("main", EMAIL).await?;
        self.picture("demo").await
    }
}
