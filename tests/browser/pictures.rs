//! A picture of a page at three widths, light and dark. They are kept below `APICLAY_TEST_PICTURES`, or go with the test's
//! folder. A page that is wider than its window is a failure, told at the end so that every picture is there to look at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::wait_until;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, error::CmdError};
use serde_json::{Value, json};

/// The narrowest is what is left of a wide window at 400 % (WCAG 1.4.10).
const WIDTHS_PX: [u32; 3] = [320, 390, 1440];
const HEIGHT_PX: u32 = 900;
const WIDTH: &str = "return window.innerWidth";
const RESIZED_DEADLINE_MS: u64 = 5_000;
const SCHEMES: [&str; 2] = ["light", "dark"];

/// Where pictures go, and which pages were too wide.
pub struct Pictures {
    folder: PathBuf,
    too_wide: Vec<String>,
}

impl Pictures {
    /// Pictures below `APICLAY_TEST_PICTURES`, or else below the test's own folder.
    pub fn new(own: &Path) -> Result<Self> {
        let folder =
            std::env::var_os("APICLAY_TEST_PICTURES").map_or_else(|| own.join("pictures"), PathBuf::from);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder, too_wide: Vec::new() })
    }

    /// Takes all pictures of the page as it is.
    pub async fn take(&mut self, browser: &Client, name: &str) -> Result<()> {
        let before = browser.execute(WIDTH, Vec::new()).await?;
        for width in WIDTHS_PX {
            for scheme in SCHEMES {
                let window =
                    json!({"width": width, "height": HEIGHT_PX, "deviceScaleFactor": 1, "mobile": false});
                devtools(browser, "Emulation.setDeviceMetricsOverride", window).await?;
                let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
                devtools(browser, "Emulation.setEmulatedMedia", media).await?;
                // A picture shows the page from its top: what sticks to the window stands where the page begins.
                browser.execute("window.scrollTo(0, 0)", Vec::new()).await?;
                let size = devtools(browser, "Page.getLayoutMetrics", json!({})).await?;
                let size = &size["cssContentSize"];
                if size["width"].as_f64().is_none_or(|wide| wide > f64::from(width)) {
                    self.too_wide.push(format!("{name} at {width}: {size}"));
                }
                let clip = json!({"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1});
                let asked = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
                let taken = devtools(browser, "Page.captureScreenshot", asked).await?;
                let png = BASE64.decode(taken["data"].as_str().context("no picture came")?)?;
                std::fs::write(self.folder.join(format!("{name}-{width}-{scheme}.png")), png)?;
            }
        }
        devtools(browser, "Emulation.clearDeviceMetricsOverride", json!({})).await?;
        // A click while the page still changes its width lands beside what it was meant for.
        wait_until("the window's own width", Duration::from_millis(RESIZED_DEADLINE_MS), async || {
            let now = browser.execute(WIDTH, Vec::new()).await?;
            ensure!(now == before, "it is {now}, and was {before}");
            Ok(())
        })
        .await
    }

    /// Fails where a page did not fit.
    pub fn fits(&self) -> Result<()> {
        ensure!(self.too_wide.is_empty(), "wider than the window: {}", self.too_wide.join("; "));
        Ok(())
    }
}

/// From here on no page's script runs in this browser; the driver's own still do.
pub async fn without_scripts(browser: &Client) -> Result<()> {
    devtools(browser, "Emulation.setScriptExecutionDisabled", json!({"value": true})).await.map(drop)
}

/// A command of Chromium's own protocol, through its driver.
#[derive(Debug)]
struct Devtools(Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}

async fn devtools(browser: &Client, command: &str, parameters: Value) -> Result<Value> {
    let asked: Result<Value, CmdError> =
        browser.issue_cmd(Devtools(json!({"cmd": command, "params": parameters}))).await;
    asked.with_context(|| format!("asking the browser for {command}"))
}
