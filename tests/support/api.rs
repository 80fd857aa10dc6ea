//! The control plane's public API as a client sees it: one place that knows the addresses of the main flow, for every
//! test that needs a vendor, a listing or a buyer. Each call says which status it expects and shows the answer otherwise.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http_client;

/// Good enough for every rule on passwords, and no one's.
pub const PASSWORD: &str = "Tests-open-42-doors-quietly";
const CODE_DIGITS: usize = 6;

/// A control plane, and who is asking.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Api {
    /// Nobody in particular, at `http://HOST:PORT`.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn at(control_url: &str) -> Result<Self> {
        Ok(Self { http: http_client()?, base: format!("{control_url}/backend/v1"), token: None })
    }

    /// Makes an account, confirms its address with the code that was mailed, and signs in.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn sign_up(&self, name: &str) -> Result<Self> {
        let email = format!("{name}@example.test");
        let body = json!({ "email": email, "username": name, "name": name, "password": PASSWORD });
        self.post("/auth/signup", &body, 201).await?;
        let outbox = self.get(&format!("/dev/outbox?to={email}")).await?;
        let mails = outbox["items"].as_array().context("the outbox has no items")?;
        let text = mails.last().and_then(|mail| mail["text"].as_str()).context("no mail was sent")?;
        let code = code_in(text).with_context(|| format!("no code in {text:?}"))?;
        let body = json!({ "email": email, "code": code });
        let (status, answer) = self.send(Method::POST, "/auth/verify-email", &body).await?;
        ensure!(status == 204 || status == 200, "verify-email: {status} {answer}");
        self.sign_in(&email).await
    }

    /// Signs in with [`PASSWORD`].
    ///
    /// # Errors
    /// When it is refused.
    pub async fn sign_in(&self, login: &str) -> Result<Self> {
        let body = json!({ "grant_type": "password", "login": login, "password": PASSWORD });
        let nobody = Self { token: None, ..self.clone() };
        let granted = nobody.post("/auth/token", &body, 200).await?;
        let token = granted["access_token"].as_str().context("no access token")?;
        Ok(Self { token: Some(token.to_owned()), ..self.clone() })
    }

    /// GET, expecting 200.
    ///
    /// # Errors
    /// When anything else is answered.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.expect(Method::GET, path, &Value::Null, 200).await
    }

    /// POST, expecting `status`.
    ///
    /// # Errors
    /// When anything else is answered.
    pub async fn post(&self, path: &str, body: &Value, status: u16) -> Result<Value> {
        self.expect(Method::POST, path, body, status).await
    }

    /// PUT, expecting 200.
    ///
    /// # Errors
    /// When anything else is answered.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect(Method::PUT, path, body, 200).await
    }

    /// PATCH, expecting 200.
    ///
    /// # Errors
    /// When anything else is answered.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect(Method::PATCH, path, body, 200).await
    }

    /// PUT of what is never shown again, expecting 204.
    ///
    /// # Errors
    /// When anything else is answered.
    pub async fn put_without_answer(&self, path: &str, body: &Value) -> Result<()> {
        self.expect(Method::PUT, path, body, 204).await.map(drop)
    }

    /// POST of something new, expecting 201: its id.
    ///
    /// # Errors
    /// When it is not made, or has no id.
    pub async fn create(&self, path: &str, body: &Value) -> Result<String> {
        let made = self.post(path, body, 201).await?;
        Ok(made["id"].as_str().with_context(|| format!("POST {path} gave no id: {made}"))?.to_owned())
    }

    /// A request, its status and its answer (`null` where that is no JSON).
    ///
    /// # Errors
    /// When nothing is answered.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("asking {path}"))?;
        let status = answer.status();
        let bytes = answer.bytes().await.with_context(|| format!("reading the answer of {path}"))?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn expect(&self, method: Method, path: &str, body: &Value, status: u16) -> Result<Value> {
        let (answered, answer) = self.send(method.clone(), path, body).await?;
        ensure!(answered == status, "{method} {path} was answered {answered}, not {status}: {answer}");
        Ok(answer)
    }
}

/// The only number of six digits in a mail.
fn code_in(text: &str) -> Option<&str> {
    text.split(|letter: char| !letter.is_ascii_digit()).find(|digits| digits.len() == CODE_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_six_digits_and_nothing_else() {
        assert_eq!(code_in("Your code is 012345. It holds 15 minutes, till 2026-11-24."), Some("012345"));
        assert_eq!(code_in("call 1234567 or 12345"), None);
    }
}
