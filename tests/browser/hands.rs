//! What hands and eyes do in a browser: go, fill, press, type, see, take a picture, and look into the mailbox.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::wait_until;
use fantoccini::Locator;

use crate::{Buyer, EMAIL, PAGE_DEADLINE_MS};

/// What of a page a person who cannot see it needs, as a list of what is missing.
const MISSING: &str = r#"
const missing = [];
if (!document.documentElement.lang) missing.push("a language");
if (!/^.+ · ApiCLay$/.test(document.title)) missing.push("a title");
if (document.querySelectorAll("h1").length !== 1) missing.push("one h1");
for (const field of document.querySelectorAll("input:not([type=hidden]):not([hidden]), textarea, select")) {
  if (!field.labels.length && !field.ariaLabel) missing.push("a label of " + (field.id || field.name));
}
for (const act of document.querySelectorAll("a, button, summary")) {
  if (!act.textContent.trim() && !act.ariaLabel) missing.push("a name of " + act.outerHTML);
}
return missing;
"#;

impl Buyer<'_> {
    pub async fn types(&self, selector: &str, keys: &str) -> Result<()> {
        self.until(&format!("typing into {selector}"), async || {
            Ok(self.browser.find(Locator::Css(selector)).await?.send_keys(keys).await?)
        })
        .await
    }

    pub async fn goes_to(&self, path: &str) -> Result<()> {
        let address = format!("{}{path}", self.market.control_url);
        self.browser.goto(&address).await.with_context(|| format!("going to {path}"))
    }

    /// Waits until `selector` has this text in it.
    pub async fn sees(&self, selector: &str, text: &str) -> Result<()> {
        let deadline = Duration::from_millis(PAGE_DEADLINE_MS);
        wait_until(&format!("{text:?} in {selector}"), deadline, async || {
            let told = self.browser.find(Locator::Css(selector)).await?.text().await?;
            ensure!(told.contains(text), "it says {told:?}");
            Ok(())
        })
        .await
    }

    pub async fn fills(&self, selector: &str, text: &str) -> Result<()> {
        self.until(&format!("filling {selector}"), async || {
            let field = self.browser.find(Locator::Css(selector)).await?;
            field.clear().await?;
            Ok(field.send_keys(text).await?)
        })
        .await
    }

    /// A click whose answer is lost because its page is left has been made: pressing again would look for a button that
    /// is gone, or press one of the next page's.
    pub async fn presses(&self, selector: &str) -> Result<()> {
        self.until(&format!("pressing {selector}"), async || {
            let page = self.browser.find(Locator::Css("html")).await?.element_id();
            let pressed = self.browser.find(Locator::Css(selector)).await?.click().await;
            if pressed.is_err() && self.browser.find(Locator::Css("html")).await?.element_id() != page {
                return Ok(());
            }
            Ok(pressed?)
        })
        .await
    }

    /// Tries again where the page was still on its way: what was found on the one before is gone by then.
    pub async fn until(&self, what: &str, attempt: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        wait_until(what, Duration::from_millis(PAGE_DEADLINE_MS), attempt).await
    }

    pub async fn picture(&mut self, name: &str) -> Result<()> {
        let missing = self.browser.execute(MISSING, Vec::new()).await?;
        ensure!(missing.as_array().is_some_and(Vec::is_empty), "{name} lacks {missing}");
        let scripts = if self.scripts { "" } else { "no-scripts-" };
        self.pictures.take(&self.browser, &format!("{scripts}{name}")).await
    }

    /// The code in the letter with this word.
    pub async fn code(&self, word: &str) -> Result<String> {
        let letter = self.letter(word).await?;
        let numbers = letter.split(|c: char| !c.is_ascii_digit());
        numbers.into_iter().find(|number| number.len() == 6).map(str::to_owned).context("no code in the mail")
    }

    /// The last letter that the demo's outbox holds for this buyer, once that is the one with this word: letters are written
    /// beside the requests that send them.
    pub async fn letter(&self, word: &str) -> Result<String> {
        let mut text = String::new();
        self.until(&format!("a letter with {word:?}"), async || {
            let outbox = self.market.api()?.get(&format!("/dev/outbox?to={EMAIL}")).await?;
            let last = outbox["items"].as_array().and_then(|letters| letters.last());
            text = last.and_then(|letter| letter["text"].as_str()).unwrap_or_default().to_owned();
            ensure!(text.contains(word), "the last letter is {text:?}");
            Ok(())
        })
        .await?;
        Ok(text)
    }
}
