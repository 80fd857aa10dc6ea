//! A buyer pays by the month: tops up, subscribes, changes the plan at the price that the page showed, decides on another and
//! takes it back, ends it and goes on, and is stopped by a budget. Invoices are for months that are over, so here is none;
//! what one says is shown where the clock can be set.

use anyhow::{Context as _, Result, bail, ensure};
use apiclay_tests::{Chromium, Marketplace, wait_until};
use fantoccini::Locator;

use crate::pictures::Pictures;
use crate::{Buyer, USAGE_DEADLINE_MS};

/// The demo's own buyer, and the password of its accounts.
const DEMO_BUYER: &str = "demo-buyer";
const DEMO_PASSWORD: &str = "demo-password-for-all";
/// Called of the listing, the most called first.
const PATHS: [&str; 6] = ["/hello", "/hello", "/hello", "/hello/asha", "/hello/asha", "/now/pune"];
const ROUTES: [(&str, &str); 3] = [("GET /hello", "3"), ("GET /hello/{name}", "2"), ("GET /now/{city}", "1")];

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_pays_by_the_month_changes_the_plan_and_is_stopped_by_a_budget() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    let chromium = Chromium::start().await?;
    let browser = chromium.client().await?;
    let pictures = Pictures::new(market.folder())?;
    let mut buyer = Buyer { market: &market, browser, pictures, scripts: true };
    buyer.signs_in_with_money().await?;
    buyer.begins_a_month().await?;
    buyer.changes_for_what_was_shown().await?;
    buyer.decides_on_another_and_keeps_the_first().await?;
    buyer.ends_it_and_goes_on().await?;
    buyer.sees_usage_by_route().await?;
    buyer.is_told_by_a_budget_and_stopped().await?;
    buyer.pictures.fits()?;
    buyer.browser.close().await?;
    Ok(())
}

impl Buyer<'_> {
    async fn signs_in_with_money(&mut self) -> Result<()> {
        self.waits_for_the_demo().await?;
        self.goes_to("/signin").await?;
        self.fills("#login", DEMO_BUYER).await?;
        self.fills("#password", DEMO_PASSWORD).await?;
        self.presses("main .panel button").await?;
        self.sees(".who", "Demo Buyer").await?;
        self.goes_to("/invoices").await?;
        self.sees("main", "No invoices yet").await?;
        self.picture("invoices-none").await?;
        self.goes_to("/wallet").await?;
        self.fills("#amount", "1000").await?;
        self.presses("main .panel button").await?;
        self.sees("h1", "Top-up of ₹1000").await?;
        self.pays("₹1000").await
    }

    async fn begins_a_month(&mut self) -> Result<()> {
        self.goes_to("/l/demo/echo").await?;
        self.presses("[aria-label='Subscribe for ₹99 to Starter']").await?;
        self.sees("[role=status]", "You are subscribed").await?;
        self.sees("h1", "Starter").await?;
        self.sees(".badge", "Active").await?;
        self.sees("main", "the next month is charged then").await?;
        self.sees(".facts", "₹99 a month").await?;
        self.sees(".facts", "₹901").await?;
        self.picture("month").await
    }

    /// To the micro-unit: on the page, among the movements, and in the balance.
    async fn changes_for_what_was_shown(&mut self) -> Result<()> {
        self.presses("a[href$='/plans']").await?;
        self.sees("h1", "Change the plan").await?;
        self.sees(".plans", "₹499").await?;
        self.picture("plan-change").await?;
        let due = self.text(Locator::XPath("//li[h2='Pro']//p[contains(@class, 'due')]")).await?;
        let (due, _) = due.split_once(" for the rest of this month").context("no amount is shown")?;
        let due = due.to_owned();
        let most = micro("₹400")?;
        ensure!((most - 1_000_000..=most).contains(&micro(&due)?), "{due} for what is left of a month");
        self.presses("[aria-label='Change now to Pro']").await?;
        self.sees("[role=status]", "The plan is changed").await?;
        self.sees("h1", "Pro").await?;
        self.sees(".facts", "₹499 a month").await?;
        self.picture("plan-changed").await?;
        let here = self.browser.current_url().await?;
        self.goes_to("/wallet").await?;
        let moved = self.text(Locator::Css(".rows > li .sum strong")).await?;
        ensure!(moved == format!("−{due}"), "shown was {due}, moved is {moved}");
        let left = self.text(Locator::Css(".figure")).await?;
        ensure!(micro(&left)? == micro("₹901")? - micro(&due)?, "{left} is left");
        self.goes_to(here.path()).await
    }

    async fn decides_on_another_and_keeps_the_first(&mut self) -> Result<()> {
        self.presses("a[href$='/plans']").await?;
        self.presses("[aria-label^='Change on'][aria-label$='to Starter']").await?;
        self.sees("[role=status]", "The plan changes with the next month").await?;
        self.sees("h1", "Pro").await?;
        self.sees("main", "it changes to Starter then").await?;
        self.presses("a[href$='/plans']").await?;
        self.sees(".plans", "Yours from").await?;
        self.picture("plan-change-decided").await?;
        self.presses("[aria-label='Keep this plan, Pro']").await?;
        self.sees("[role=status]", "You keep the plan you have").await?;
        self.sees("main", "the next month is charged then").await
    }

    async fn ends_it_and_goes_on(&mut self) -> Result<()> {
        self.presses(".danger [name=sure]").await?;
        self.presses(".danger button").await?;
        self.sees("[role=status]", "It ends with its month").await?;
        self.sees(".badge", "Ends with its month").await?;
        self.picture("month-ends").await?;
        self.presses("form[action$='/resume'] button").await?;
        self.sees("[role=status]", "It goes on").await?;
        self.sees(".badge", "Active").await
    }

    async fn sees_usage_by_route(&mut self) -> Result<()> {
        let here = self.browser.current_url().await?;
        let key = self.makes_a_key().await?;
        self.calls_from_elsewhere(&key, &PATHS).await?;
        self.goes_to(here.path()).await?;
        let deadline = std::time::Duration::from_millis(USAGE_DEADLINE_MS);
        wait_until("usage by route", deadline, async || {
            self.browser.refresh().await?;
            let rows = self.browser.find_all(Locator::Css("[aria-labelledby=routes-used] tbody tr")).await?;
            ensure!(rows.len() == ROUTES.len(), "{} rows", rows.len());
            for (row, (route, calls)) in rows.iter().zip(ROUTES) {
                let mut cells = Vec::new();
                for cell in row.find_all(Locator::Css("th, td")).await? {
                    cells.push(cell.text().await?);
                }
                ensure!(cells.iter().map(String::as_str).take(3).eq([route, calls, calls]), "{cells:?}");
                ensure!(cells.last().is_some_and(|p95| p95.ends_with(" ms")), "{cells:?}");
            }
            Ok(())
        })
        .await?;
        self.picture("usage-by-route").await
    }

    /// About ₹499 of the month's budget is spent.
    async fn is_told_by_a_budget_and_stopped(&mut self) -> Result<()> {
        self.goes_to("/wallet").await?;
        for (budget, told, name) in [
            ("₹2,500", None, "budget-below"),
            ("₹900", Some("50 % of your budget is reached"), "budget-50"),
            ("₹600", Some("80 % of your budget is reached"), "budget-80"),
            ("₹400", Some("Your budget of ₹400 is spent. Nothing is stopped"), "budget-100"),
        ] {
            self.sets(budget).await?;
            if let Some(told) = told {
                self.sees("main .alert", told).await?;
            } else {
                let alerts = self.browser.find_all(Locator::Css("main .alert")).await?;
                ensure!(alerts.is_empty(), "{name} has an alert");
            }
            self.picture(name).await?;
        }
        self.presses("[name=hard_stop]").await?;
        self.sets("₹400").await?;
        self.sees("main .alert[role=alert]", "Your budget stops your calls").await?;
        self.picture("budget-stops").await?;
        self.goes_to("/l/demo/echo").await?;
        self.presses("[aria-label='Subscribe for ₹99 to Starter']").await?;
        self.sees("[role=status]", "is left of the budget that you set for this month").await?;
        self.picture("budget-refuses").await
    }

    async fn sets(&self, budget: &str) -> Result<()> {
        self.fills("#budget", budget).await?;
        self.presses("form[action='/wallet/budget'] button").await?;
        self.sees("[role=status]", "Your budget is set").await?;
        self.sees(".budget", &format!("of {} spent", budget.replace(',', ""))).await
    }

    async fn text(&self, what: Locator<'_>) -> Result<String> {
        Ok(self.browser.find(what).await?.text().await?)
    }
}

/// Micro-units of an amount as pages write it.
fn micro(shown: &str) -> Result<i64> {
    let number = shown.strip_prefix('₹').with_context(|| format!("{shown} is no amount in rupees"))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 6 {
        bail!("{shown} is finer than a micro-unit");
    }
    Ok(whole.parse::<i64>()? * 1_000_000 + format!("{part:0<6}").parse::<i64>()?)
}
