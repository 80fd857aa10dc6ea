//! A buyer puts money into the wallet, by the demo's pretend payment page, and sees it there.

use anyhow::{Result, ensure};
use fantoccini::Locator;

use crate::Buyer;

impl Buyer<'_> {
    pub async fn tops_up(&mut self) -> Result<()> {
        self.goes_to("/wallet").await?;
        self.sees("main", "Nothing has moved yet").await?;
        self.picture("wallet-empty").await?;
        self.fills("#amount", "a lot").await?;
        self.presses("main .panel button").await?;
        self.sees("#amount-fault", "such as 500").await?;
        self.picture("wallet-wrong").await?;
        self.fills("#amount", "1,000.50").await?;
        self.presses("main .panel button").await?;
        self.sees("h1", "Top-up of ₹1000.50").await?;
        self.picture("top-up").await?;
        self.presses("a[href^='/demo/pay/']").await?;
        self.sees("h1", "Pretend payment").await?;
        self.picture("pretend-payment").await?;
        // The bank refuses once; the order can still be paid.
        self.presses("[value=fail]").await?;
        self.sees("h1", "Top-up of").await?;
        self.pays("₹1000.50").await?;
        self.sees(".rows", "Top-up").await?;
        self.picture("wallet").await?;
        self.sets_a_budget().await?;
        self.goes_to("/l/demo/echo").await?;
        self.sees(".plans", "₹0.10").await?;
        self.picture("listing-subscribed").await?;
        self.presses("[aria-label='Subscribe to By the call']").await?;
        self.sees("[role=status]", "You are subscribed").await?;
        self.sees("main", "₹0.10 a call").await?;
        self.sees("main", "₹1000.50").await?;
        self.picture("subscription-by-the-call").await?;
        self.presses("nav a[href='/subscriptions']").await?;
        self.sees("h1", "Subscriptions").await
    }

    /// On the pretend page of a top-up, until so much stands in the wallet.
    pub async fn pays(&self, balance: &str) -> Result<()> {
        self.presses("a[href^='/demo/pay/']").await?;
        self.presses("[value=pay]").await?;
        self.until("the credit", async || {
            self.goes_to("/wallet").await?;
            let told = self.browser.find(Locator::Css(".figure")).await?.text().await?;
            ensure!(told == balance, "it says {told:?}");
            // The money is there a moment before its order says so.
            let page = self.browser.find(Locator::Css("main")).await?.text().await?;
            ensure!(!page.contains("Not paid yet"), "the order waits still");
            Ok(())
        })
        .await
    }

    /// A wrong amount stands beside its field; a budget that is set has a meter, and can be taken away.
    async fn sets_a_budget(&mut self) -> Result<()> {
        self.fills("#budget", "0").await?;
        self.presses("[name=hard_stop]").await?;
        self.presses("form[action='/wallet/budget'] button").await?;
        self.sees("#budget-fault", "More than ₹0").await?;
        self.picture("budget-wrong").await?;
        self.fills("#budget", "₹2,500").await?;
        // The box is as it was sent.
        self.sees("label.check:has(:checked)", "Stop there").await?;
        self.presses("form[action='/wallet/budget'] button").await?;
        self.sees("[role=status]", "Your budget is set").await?;
        self.sees(".budget", "₹0 of ₹2500 spent this month").await?;
        self.sees("label.check:has(:checked)", "Stop there").await?;
        self.picture("budget").await?;
        self.presses("form[action='/wallet/budget/remove'] button").await?;
        self.sees("[role=status]", "Your budget is removed").await?;
        self.sees("main", "None is set").await
    }
}
