//! Calls Razorpay: basic auth, a deadline on everything, no redirect, a bound on what is read, and an answer that must fit
//! what was asked. It never tries again by itself: who asked knows what is open and asks again, under the same name.
//! Next: the neutral types of `provider`.

use std::time::Duration;

use apiclay_config::money::{Currency, Money};
use async_trait::async_trait;
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::answer::{self, malformed, unavailable, unfit, unreachable};
use super::checks::{check_id, check_notes, check_receipt, positive_minor};
use super::wire::{Capture, Collection, NewOrder as WireOrder, Order, Payment, Refund, Refunding};
use super::{signature, webhook};
use crate::payments::provider::{
    Happened, NewOrder, NewRefund, PaymentProvider, ProviderEvent, ProviderOrder, ProviderPayment,
    ProviderRefund,
};
use crate::payments::provider_error::{ProviderError, WebhookError};

/// Where Razorpay is.
pub const API_URL: &str = "https://api.razorpay.com";
/// How long a connection may take.
pub const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// How long a whole call may take.
pub const CALL_TIMEOUT_MS: u64 = 15_000;
/// Calls under way at once; one more is told to come later, and waits nowhere.
const CALLS_MAX: usize = 32;
/// Items of one page of a list, as many as Razorpay gives.
const PAGE_ITEMS: usize = 100;
/// Pages of a payment's refunds.
const PAGES_MAX: usize = 10;
/// Orders that are looked at under one receipt: one, but that Razorpay's documents disagree on whether it is unique.
const ORDERS_PER_RECEIPT_MAX: usize = 100;

/// What a client is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is called: [`API_URL`], or a simulator on this machine.
    pub base_url: Url,
    /// The key's name, which buyers' browsers are told.
    pub key_id: String,
    /// The key's secret.
    pub key_secret: SecretString,
    /// What events are signed with.
    pub webhook_secret: SecretString,
    /// What they were signed with until the secret was changed. Deliveries that are tried again bear it for 24 hours; take
    /// it out then.
    pub previous_webhook_secret: Option<SecretString>,
    /// How long a whole call may take: [`CALL_TIMEOUT_MS`].
    pub call_timeout_ms: u64,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Anybody could sign with nothing.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// The key would be read on its way.
    #[error("the payment provider is called over https, or on this machine")]
    InTheClear,
    /// No HTTP client.
    #[error("the client of the payment provider cannot be made")]
    Client(#[source] reqwest::Error),
}

/// Razorpay.
#[derive(Debug)]
pub struct Razorpay {
    http: reqwest::Client,
    settings: Settings,
    places: Semaphore,
}

impl Razorpay {
    /// A client; nothing is called yet.
    ///
    /// # Errors
    /// Where a secret is empty, or the address would show it.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let previous = settings.previous_webhook_secret.as_ref();
        let secrets = [
            ("the key's secret", Some(&settings.key_secret)),
            ("the webhook's secret", Some(&settings.webhook_secret)),
            ("the webhook's previous secret", previous),
        ];
        let empty = |secret: Option<&SecretString>| secret.is_some_and(|s| s.expose_secret().is_empty());
        if let Some((name, _)) = secrets.into_iter().find(|(_, secret)| empty(*secret)) {
            return Err(SettingsError::Empty(name));
        }
        if settings.key_id.is_empty() {
            return Err(SettingsError::Empty("the key's name"));
        }
        if settings.base_url.scheme() != "https" && !is_here(&settings.base_url) {
            return Err(SettingsError::InTheClear);
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
            .timeout(Duration::from_millis(settings.call_timeout_ms))
            .build()
            .map_err(SettingsError::Client)?;
        Ok(Self { http, settings, places: Semaphore::new(CALLS_MAX) })
    }

    fn url(&self, path_and_query: &str) -> String {
        format!("{}/v1/{path_and_query}", self.settings.base_url.as_str().trim_end_matches('/'))
    }

    async fn get<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, ProviderError> {
        self.call(self.http.get(self.url(path_and_query))).await
    }

    fn post(&self, path: &str, body: &(impl Serialize + Sync)) -> RequestBuilder {
        self.http.post(self.url(path)).json(body)
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ProviderError> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(unavailable("too many calls are under way", None));
        };
        let secret = self.settings.key_secret.expose_secret();
        let mut answer =
            request.basic_auth(&self.settings.key_id, Some(secret)).send().await.map_err(unreachable)?;
        answer::read(&mut answer).await
    }
}

#[async_trait]
impl PaymentProvider for Razorpay {
    fn name(&self) -> &'static str {
        "razorpay"
    }

    fn checkout_key(&self) -> &str {
        &self.settings.key_id
    }

    async fn create_order(&self, order: &NewOrder) -> Result<ProviderOrder, ProviderError> {
        check_notes(&order.notes)?;
        let body = WireOrder {
            amount: positive_minor(order.amount)?,
            currency: order.amount.currency.as_str(),
            receipt: check_receipt(&order.receipt)?,
            notes: &order.notes,
        };
        let made: Order = match self.call(self.post("orders", &body)).await {
            Ok(made) => made,
            // The documents disagree on a receipt that was used before: what it was used for is looked at.
            Err(refused @ ProviderError::Refused { .. }) => {
                let there = self.order_by_receipt(&order.receipt).await?;
                return there.filter(|there| there.amount == order.amount).ok_or(refused);
            }
            Err(error) => return Err(error),
        };
        let made = ProviderOrder::try_from(made).map_err(unfit)?;
        if made.amount != order.amount || made.receipt.as_deref() != Some(order.receipt.as_str()) {
            return Err(malformed("an order other than the one that was asked for", None));
        }
        Ok(made)
    }

    async fn order_by_receipt(&self, receipt: &str) -> Result<Option<ProviderOrder>, ProviderError> {
        let receipt_in_query: String =
            url::form_urlencoded::byte_serialize(check_receipt(receipt)?.as_bytes()).collect();
        let path = format!("orders?receipt={receipt_in_query}&count={ORDERS_PER_RECEIPT_MAX}");
        let found: Collection<Order> = self.get(&path).await?;
        // The oldest, so that whoever asks gets the same; never one of another receipt, were the filter not applied.
        let oldest = found
            .items
            .into_iter()
            .filter(|order| order.receipt.as_deref() == Some(receipt))
            .min_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        oldest.map(ProviderOrder::try_from).transpose().map_err(unfit)
    }

    async fn payments_of(&self, order_id: &str) -> Result<Vec<ProviderPayment>, ProviderError> {
        let path = format!("orders/{}/payments", check_id("an order", order_id)?);
        let found: Collection<Payment> = self.get(&path).await?;
        let payments: Result<Vec<_>, _> = found.items.into_iter().map(ProviderPayment::try_from).collect();
        let payments = payments.map_err(unfit)?;
        if payments.iter().any(|payment| payment.order_id.as_deref() != Some(order_id)) {
            return Err(malformed("a payment of another order", None));
        }
        Ok(payments)
    }

    async fn capture(&self, payment_id: &str, amount: Money) -> Result<ProviderPayment, ProviderError> {
        let path = format!("payments/{}/capture", check_id("a payment", payment_id)?);
        let body = Capture { amount: positive_minor(amount)?, currency: amount.currency.as_str() };
        let captured: Payment = match self.call(self.post(&path, &body)).await {
            Ok(captured) => captured,
            // Another of ours may have been first: then it is done.
            Err(refused @ ProviderError::Refused { .. }) => {
                let there: Payment = self.get(&format!("payments/{payment_id}")).await?;
                if there.captured != Some(true) {
                    return Err(refused);
                }
                there
            }
            Err(error) => return Err(error),
        };
        let captured = ProviderPayment::try_from(captured).map_err(unfit)?;
        let fits = captured.id == payment_id && captured.amount == amount && captured.captured;
        if fits {
            Ok(captured)
        } else {
            Err(malformed("a capture other than the one that was asked for", None))
        }
    }

    async fn refund(&self, refund: &NewRefund) -> Result<ProviderRefund, ProviderError> {
        let path = format!("payments/{}/refund", check_id("a payment", &refund.payment_id)?);
        let request =
            self.post(&path, &Refunding::of(refund)?).header("X-Refund-Idempotency", &refund.our_id);
        let made = match self.call::<Refund>(request).await {
            Ok(made) => made.neutral(Some(refund.amount.currency)).map_err(unfit)?,
            // How long a key is remembered is not documented: a refund that was made under it long ago is refused as one
            // more. Were it believed, money that went back would stay in the wallet too.
            Err(refused @ ProviderError::Refused { .. }) => {
                let there = self.refunds_of(&refund.payment_id, refund.amount.currency).await?;
                let ours = there.into_iter().find(|there| there.our_id.as_ref() == Some(&refund.our_id));
                ours.ok_or(refused)?
            }
            Err(error) => return Err(error),
        };
        let fits = made.our_id.as_ref() == Some(&refund.our_id)
            && made.payment_id == refund.payment_id
            && made.amount == refund.amount;
        if fits { Ok(made) } else { Err(malformed("a refund other than the one that was asked for", None)) }
    }

    async fn refunds_of(
        &self,
        payment_id: &str,
        currency: Currency,
    ) -> Result<Vec<ProviderRefund>, ProviderError> {
        let payment_id = check_id("a payment", payment_id)?;
        let mut refunds = Vec::new();
        for page in 0..PAGES_MAX {
            let skip = page * PAGE_ITEMS;
            let path = format!("payments/{payment_id}/refunds?count={PAGE_ITEMS}&skip={skip}");
            let found: Collection<Refund> = self.get(&path).await?;
            let last = found.items.len() < PAGE_ITEMS;
            for refund in found.items {
                refunds.push(refund.neutral(Some(currency)).map_err(unfit)?);
            }
            if refunds.iter().any(|refund| refund.payment_id != payment_id) {
                return Err(malformed("a refund of another payment", None));
            }
            if last {
                return Ok(refunds);
            }
        }
        // A part would look like the whole, and a refund that is there would be made again.
        Err(malformed("more refunds of one payment than are read", None))
    }

    fn checkout_signature_holds(&self, order_id: &str, payment_id: &str, signature: &str) -> bool {
        let named = check_id("an order", order_id).is_ok() && check_id("a payment", payment_id).is_ok();
        let message = signature::checkout_message(order_id, payment_id);
        named && signature::holds([&self.settings.key_secret], message.as_bytes(), signature)
    }

    fn read_webhook(
        &self,
        raw: &[u8],
        signature: &str,
        event_id: Option<&str>,
    ) -> Result<ProviderEvent, WebhookError> {
        let secrets = [Some(&self.settings.webhook_secret), self.settings.previous_webhook_secret.as_ref()];
        webhook::read(secrets.into_iter().flatten(), raw, signature, event_id)
    }

    fn read_stored(&self, record: &Value) -> Happened {
        webhook::happened(record)
    }
}

/// Whether it is this machine's own loopback, by its address: a name could be anybody's.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(v4)) => v4.is_loopback(),
        Some(Host::Ipv6(v6)) => v6.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}
