//! What the script of a top-up's page does once the provider's checkout says that it was paid, whatever our server answers. The
//! checkout's own script is on no machine of ours: a stand-in takes its place, and calls back as it does.

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Chromium, Marketplace};
use fantoccini::Locator;
use serde_json::json;

use crate::Buyer;
use crate::pictures::Pictures;

/// The page's part that the script works on, the stand-in, and a server that answers as it is told; pauses take no time.
const STAND_IN: &str = r#"
const [failures, status] = arguments;
document.getElementById("main").innerHTML = '<h1>Top-up</h1><p><button id="pay" hidden data-key="k" data-order="o" data-amount="100" '
  + 'data-currency="INR" data-name="ApiCLay" data-confirm="/confirm" data-csrf="c" data-page="/account">Pay</button></p>'
  + '<p id="pay-status" role="status"></p>';
const wait = window.setTimeout;
window.setTimeout = (then) => wait(then, 0);
window.asked = 0;
window.fetch = async () => {
  window.asked += 1;
  if (window.asked > failures) { return new Response("{}", { status: 200 }); }
  if (status === 0) { throw new TypeError("no network"); }
  return new Response("{}", { status });
};
window.Razorpay = class {
  constructor(options) { this.options = options; }
  open() { this.options.handler({ razorpay_payment_id: "pay_1", razorpay_signature: "s" }); }
};
"#;
/// Tries until it gives up.
const TRIES: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_paid_is_not_offered_to_pay_again_where_our_server_does_not_hear_of_it() -> Result<()> {
    let market = Marketplace::embedded(&[]).await?;
    let chromium = Chromium::start().await?;
    let browser = chromium.client().await?;
    let pictures = Pictures::new(market.folder())?;
    let buyer = Buyer { market: &market, browser, pictures, scripts: true };
    let script = buyer.script_of_payments().await?;
    // It is tried again, and then the page goes on.
    buyer.pays_at(&script, 2, 503).await?;
    buyer.sees("h1", "Sign in").await?;
    for status in [500, 401, 0] {
        buyer.pays_at(&script, TRIES * 2, status).await?;
        buyer.sees("#pay-status", "Paid; we are waiting to hear of it").await?;
        let asked = buyer.browser.execute("return window.asked", Vec::new()).await?;
        ensure!(asked == json!(TRIES), "it was tried {asked} times at {status}");
        let offered = buyer.browser.find(Locator::Css("#pay")).await?.is_displayed().await?;
        ensure!(!offered, "after {status} the button is there again");
    }
    buyer.browser.close().await?;
    Ok(())
}

impl Buyer<'_> {
    /// Where the script is served: its address bears its hash, which the program alone knows, and any will do.
    async fn script_of_payments(&self) -> Result<String> {
        self.goes_to("/").await?;
        let style = self.browser.find(Locator::Css("link[rel=stylesheet]")).await?;
        let address = style.attr("href").await?.context("the page has no styles")?;
        Ok(address.replace("app.css", "pay.js"))
    }

    /// Pays where the first so many words to the server fail like this: with a status, or with none for no network.
    async fn pays_at(&self, script: &str, failures: u64, status: u64) -> Result<()> {
        self.goes_to("/").await?;
        self.sees("h1", "").await?;
        self.browser.execute(STAND_IN, vec![json!(failures), json!(status)]).await?;
        let load = "const [src] = arguments; const script = document.createElement('script'); script.src = src; document.body.append(script);";
        self.browser.execute(load, vec![json!(script)]).await?;
        self.presses("#pay").await
    }
}
