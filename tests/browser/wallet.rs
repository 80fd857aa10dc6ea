//! A buyer puts money into the wallet, by the demo's pretend payment page, and sees it there.

use anyhow::Result;

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
        self.presses("a[href^='/demo/pay/']").await?;
        self.presses("[value=pay]").await?;
        self.until("the credit", async || {
            self.goes_to("/wallet").await?;
            self.sees(".figure", "₹1000.50").await
        })
        .await?;
        self.sees(".rows", "Top-up").await?;
        self.picture("wallet").await?;
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
}
