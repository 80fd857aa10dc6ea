//! One call to a vendor's upstream, so that the vendor sees what it answers before anybody buys. Through the one door out:
//! vetted, to the address that was vetted, no redirect followed, little time and few bytes. What comes back is shown
//! without the vendor's secrets, which an upstream may echo.
//! Next: `routes_test`, which presents it.

use std::time::{Duration, Instant};

use apiclay_config::egress::{Egress, EgressError};
use http::{HeaderMap, Method};
use secrecy::{ExposeSecret as _, SecretString};

use super::rules::SECRET_MAX_BYTES;

/// How long the whole call may take.
pub const TEST_TIMEOUT_MS: u64 = 10_000;
/// Bytes of the answer's body that are shown.
pub const TEST_BODY_MAX_BYTES: usize = 16 * 1024;
/// Headers of the answer that are shown.
const HEADERS_MAX: usize = 64;
/// Bytes of one header's value that are shown.
const HEADER_VALUE_MAX_BYTES: usize = 1_024;
/// What stands in the place of a secret.
const REDACTED: &str = "[secret]";

/// What the upstream answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub duration_ms: u64,
    pub body_start: String,
    pub body_truncated: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TestError {
    /// The door does not open.
    #[error(transparent)]
    Door(#[from] EgressError),
    /// Nobody answers there.
    #[error(
        "the upstream cannot be reached, or does not speak HTTP: see that it runs, that its address and port are right \
         and, for https, that its certificate is valid"
    )]
    Unreachable(#[source] reqwest::Error),
    /// Too late.
    #[error(
        "the upstream did not answer within {TEST_TIMEOUT_MS} ms: see why it is slow, or test a faster path"
    )]
    Timeout(#[source] reqwest::Error),
}

impl From<reqwest::Error> for TestError {
    fn from(error: reqwest::Error) -> Self {
        // An error of the client names the address it was for, which may hold what a vendor keeps to himself.
        let error = error.without_url();
        if error.is_timeout() { Self::Timeout(error) } else { Self::Unreachable(error) }
    }
}

/// Calls `url` once. `headers` are the injected ones, `secrets` their values.
pub(super) async fn call(
    egress: &Egress,
    method: Method,
    url: &str,
    headers: HeaderMap,
    secrets: &[SecretString],
) -> Result<Answered, TestError> {
    let destination = egress.parse(url)?;
    let addresses = egress.resolve(&destination).await?;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_millis(TEST_TIMEOUT_MS))
        .resolve_to_addrs(&destination.host, &addresses)
        .build()?;
    let begun = Instant::now();
    let mut answer = client.request(method, url).headers(headers).send().await?;
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = answer.status().as_u16();
    let hidden = hidden(secrets);
    let headers = shown_headers(answer.headers(), &hidden);
    let (read, more) = start_of(&mut answer).await?;
    let (body_start, body_truncated) = shown_body(&read, more, &hidden);
    Ok(Answered { status, headers, duration_ms, body_start, body_truncated })
}

/// The body's beginning, and whether there is more of it. A body that does not end in time (a stream of events) is shown
/// as far as it came.
async fn start_of(answer: &mut reqwest::Response) -> Result<(Vec<u8>, bool), TestError> {
    // A secret's length more than is shown, so that none is shown cut in two.
    let read_max_bytes = TEST_BODY_MAX_BYTES + SECRET_MAX_BYTES;
    let mut read = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                let room = read_max_bytes - read.len();
                read.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return Ok((read, true));
                }
            }
            Ok(None) => return Ok((read, false)),
            Err(error) if error.is_timeout() => return Ok((read, true)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What must not be shown, the longest first: each secret, its part behind a scheme (`Bearer ..`), and both as JSON
/// writes them.
fn hidden(secrets: &[SecretString]) -> Vec<String> {
    let mut hidden = Vec::new();
    for secret in secrets {
        let whole = secret.expose_secret();
        for part in [Some(whole), whole.split_once(' ').map(|(_, part)| part.trim())].into_iter().flatten() {
            let escaped = part.replace('\\', "\\\\").replace('"', "\\\"");
            hidden.extend([part.to_owned(), escaped]);
        }
    }
    hidden.retain(|text| !text.is_empty());
    hidden.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    hidden.dedup();
    hidden
}

/// The headers without cookies, which are the upstream's own, and without secrets.
fn shown_headers(headers: &HeaderMap, hidden: &[String]) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| *name != http::header::SET_COOKIE)
        .take(HEADERS_MAX)
        .map(|(name, value)| {
            let mut text = without(&String::from_utf8_lossy(value.as_bytes()), hidden);
            cut(&mut text, HEADER_VALUE_MAX_BYTES);
            (name.as_str().to_owned(), text)
        })
        .collect()
}

/// The body as text without secrets, and whether there was more of it.
fn shown_body(read: &[u8], more: bool, hidden: &[String]) -> (String, bool) {
    let mut text = without(&String::from_utf8_lossy(read), hidden);
    // Where reading stopped, a secret may have been cut, which is not found any more: that tail is not shown.
    let whole = if more { text.len().saturating_sub(SECRET_MAX_BYTES) } else { text.len() };
    let truncated = more || text.len() > TEST_BODY_MAX_BYTES;
    cut(&mut text, whole.min(TEST_BODY_MAX_BYTES));
    (text, truncated)
}

/// In one pass over the text as it came: what is put in a secret's place is never looked at, or short secrets would make it
/// grow without end.
fn without(text: &str, hidden: &[String]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (put, over) = match hidden.iter().find(|secret| rest.starts_with(secret.as_str())) {
            Some(secret) => (REDACTED, secret.len()),
            None => (&rest[..next.len_utf8()], next.len_utf8()),
        };
        shown.push_str(put);
        rest = &rest[over..];
    }
    shown
}

fn cut(text: &mut String, bytes_max: usize) {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_whole_or_cut() {
        let secret = "s".repeat(1_000);
        let secrets = hidden(&[SecretString::from(secret.clone())]);
        let (body, truncated) = shown_body(format!("a{secret}b").as_bytes(), false, &secrets);
        assert_eq!((body.as_str(), truncated), ("a[secret]b", false));
        // Many that shrink, and one that reading cut in two.
        let long = format!("{}{}", format!("{secret}.").repeat(20), &secret[..999]);
        let (body, truncated) = shown_body(long.as_bytes(), true, &secrets);
        assert!(truncated && !body.contains("sss"), "{body}");
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", secret.parse().unwrap());
        headers.insert("set-cookie", "a=b".parse().unwrap());
        assert_eq!(shown_headers(&headers, &secrets), [("x-echo".to_owned(), REDACTED.to_owned())]);
    }

    #[test]
    fn secrets_of_one_character_make_no_answer_grow_without_end() {
        let secrets: Vec<_> =
            ["e", "s", "c", "r", "t", "["].repeat(16).into_iter().map(SecretString::from).collect();
        let hidden = hidden(&secrets);
        assert_eq!(hidden.len(), 6);
        let shown = without(&"e".repeat(24 * 1024), &hidden);
        assert_eq!(shown.len(), 24 * 1024 * REDACTED.len());
    }

    #[test]
    fn a_token_is_hidden_without_its_scheme_and_as_json_writes_it() {
        let secrets = hidden(&[SecretString::from("Bearer a\"b")]);
        let (body, _) =
            shown_body(br#"{"header": "Bearer a\"b", "token": "a\"b", "raw": a"b}"#, false, &secrets);
        assert_eq!(body, r#"{"header": "[secret]", "token": "[secret]", "raw": [secret]}"#);
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let (body, truncated) = shown_body("é".repeat(TEST_BODY_MAX_BYTES).as_bytes(), false, &[]);
        assert_eq!((body.len(), truncated), (TEST_BODY_MAX_BYTES, true));
        let odd = format!("a{}", "é".repeat(TEST_BODY_MAX_BYTES));
        assert_eq!(shown_body(odd.as_bytes(), false, &[]).0.len(), TEST_BODY_MAX_BYTES - 1);
    }
}
