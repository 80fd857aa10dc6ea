//! Who takes payments here: Razorpay, as the settings say; in a demo, the simulator of it; or nobody.

use std::path::Path;

use anyhow::Context as _;
use apiclay_config::clock::Clock;
use apiclay_config::settings::{RazorpayFiles, Settings};
use rand::SeedableRng as _;
use rand::distr::{Alphanumeric, SampleString as _};
use rand::rngs::StdRng;
use secrecy::SecretString;
use url::Url;

use super::provider::PaymentProvider;
use super::razorpay::client::{API_URL, CALL_TIMEOUT_MS};
use super::razorpay::{self, Razorpay};
use super::simulator::faults::Faults;
use super::simulator::{self, DELIVERY_TIMEOUT_MS, RETRY_AFTER_MS, Simulator};

/// Where events of the provider come in, below `APP_URL`.
const WEBHOOK_PATH: &str = "/backend/v1/webhooks/razorpay";
/// Characters of a secret that the demo makes for itself.
const SECRET_CHARS: usize = 40;

/// Who takes payments.
pub struct Taking {
    /// Who is asked.
    pub provider: Box<dyn PaymentProvider>,
    /// Who plays it, in a demo.
    pub simulator: Option<Simulator>,
}

impl Taking {
    /// As the settings say.
    ///
    /// # Errors
    /// Where a secret cannot be read, or the simulator does not start.
    pub async fn from(settings: &Settings) -> anyhow::Result<Option<Self>> {
        if settings.demo {
            return Self::pretend(&settings.app_url).await.map(Some);
        }
        settings.razorpay.as_ref().map(Self::razorpay).transpose()
    }

    fn razorpay(files: &RazorpayFiles) -> anyhow::Result<Self> {
        let previous = files.previous_webhook_secret.as_deref();
        let provider = Razorpay::new(razorpay::Settings {
            base_url: Url::parse(API_URL)?,
            key_id: files.key_id.clone(),
            key_secret: secret_in(&files.key_secret)?,
            webhook_secret: secret_in(&files.webhook_secret)?,
            previous_webhook_secret: previous.map(secret_in).transpose()?,
            call_timeout_ms: CALL_TIMEOUT_MS,
        })?;
        Ok(Self { provider: Box::new(provider), simulator: None })
    }

    /// A provider on this machine, whose secrets nobody else ever sees.
    async fn pretend(app_url: &Url) -> anyhow::Result<Self> {
        let drawn = || SecretString::from(Alphanumeric.sample_string(&mut rand::rng(), SECRET_CHARS));
        let (key_id, key_secret, webhook_secret) = ("rzp_test_demo".to_owned(), drawn(), drawn());
        let simulator = Simulator::start(simulator::Settings {
            key_id: key_id.clone(),
            key_secret: key_secret.clone(),
            webhook_url: Some(app_url.join(WEBHOOK_PATH)?),
            webhook_secret: webhook_secret.clone(),
            clock: Clock::System,
            rng: StdRng::from_rng(&mut rand::rng()),
            delivery_timeout_ms: DELIVERY_TIMEOUT_MS,
            retry_after_ms: RETRY_AFTER_MS.to_vec(),
            receipts_unique: true,
            refunds_at_once: true,
            faults: Faults::default(),
        })
        .await?;
        let provider = Razorpay::new(razorpay::Settings {
            base_url: Url::parse(&simulator.base_url())?,
            key_id,
            key_secret,
            webhook_secret,
            previous_webhook_secret: None,
            call_timeout_ms: CALL_TIMEOUT_MS,
        })?;
        Ok(Self { provider: Box::new(provider), simulator: Some(simulator) })
    }
}

fn secret_in(file: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("the secret in {} cannot be read; see its path and permissions", file.display())
    })?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
}
