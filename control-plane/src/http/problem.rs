//! Failures as RFC 9457 problems: one table of codes, one type, one function that writes them.
//!
//! Domain errors turn into a [`Problem`] at the edge of their routes. The problem travels on the response as an
//! extension until `answer` writes its body, because only there the request's id is known. What caused it is logged
//! there too, and never shown.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

macro_rules! codes {
    ($($variant:ident $status:literal $name:literal $title:literal;)+) => {
        /// What went wrong, as a client's program reads it. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)+ }
            }

            /// Its name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }

            /// What it means, in a line.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)+ }
            }
        }
    };
}

// The documentation of the API is made from this table; a domain adds its codes in its own block.
codes! {
    // Any request
    RequestMalformed 400 "request_malformed" "The request cannot be read";
    ValidationFailed 400 "validation_failed" "A field does not have an accepted value";
    CursorInvalid 400 "cursor_invalid" "The cursor does not belong to this list";
    CredentialMissing 401 "credential_missing" "Sign in, or send a token";
    CredentialInvalid 401 "credential_invalid" "The token or session is not valid";
    CredentialExpired 401 "credential_expired" "The token or session has expired";
    CsrfTokenInvalid 403 "csrf_token_invalid" "X-CSRF-Token is missing or is not this session's";
    RoleMissing 403 "role_missing" "Your role does not allow this";
    ScopeMissing 403 "scope_missing" "The personal token's scopes do not allow this";
    NotFound 404 "not_found" "There is nothing here, or it is not yours";
    MethodNotAllowed 405 "method_not_allowed" "This method is not offered here";
    Conflict 409 "conflict" "It already exists";
    ChangedMeanwhile 409 "changed_meanwhile" "Somebody else changed it at the same time";
    IdempotencyKeyReused 409 "idempotency_key_reused" "This Idempotency-Key was used with another request";
    IdempotencyInProgress 409 "idempotency_in_progress" "The first request with this Idempotency-Key is not finished";
    PreconditionFailed 412 "precondition_failed" "It has changed since the version in If-Match";
    RequestTooLarge 413 "request_too_large" "The body is larger than accepted here";
    MediaTypeUnsupported 415 "media_type_unsupported" "This content type is not accepted here";
    RateLimited 429 "rate_limited" "Too many requests; wait before the next";
    Internal 500 "internal" "A fault of ours";
    StoreUnavailable 503 "store_unavailable" "The store does not answer";
    TimedOut 503 "timed_out" "The answer took too long";
    // Accounts
    CredentialsWrong 401 "credentials_wrong" "The login or the password is wrong";
    CodeInvalid 401 "code_invalid" "The code is wrong, used or expired";
    RefreshTokenInvalid 401 "refresh_token_invalid" "The refresh token is not valid any more";
    SetupTokenInvalid 401 "setup_token_invalid" "The set-up link is wrong, used or expired";
    EmailUnverified 403 "email_unverified" "The e-mail address has not been verified";
    AccountSuspended 403 "account_suspended" "The account is suspended";
    UsernameTaken 409 "username_taken" "The username is taken";
    PersonalTokensExhausted 409 "personal_tokens_exhausted" "The account has as many personal tokens as it may";
    AttemptsExhausted 429 "attempts_exhausted" "Too many wrong attempts; wait before the next";
    // Selling and buying
    SlugTaken 409 "slug_taken" "The slug is taken";
    RouteConflict 409 "route_conflict" "Another route matches the same paths";
    LastOwner 409 "last_owner" "A vendor keeps an owner";
    StateConflict 409 "state_conflict" "The present state does not allow this";
    LimitReached 409 "limit_reached" "There are as many as there may be";
    ListingIncomplete 422 "listing_incomplete" "The listing lacks something that calls need";
    TargetRefused 422 "target_refused" "The upstream's address may not be reached";
    UpstreamUnreachable 502 "upstream_unreachable" "The upstream cannot be reached";
    UpstreamTimeout 504 "upstream_timeout" "The upstream does not answer in time";
    PluginNotAnnounced 422 "plugin_not_announced" "Not every gateway has this plugin";
    DefinitionMissing 422 "definition_missing" "The body holds no definition";
    DefinitionUrlUnsupported 422 "definition_url_unsupported" "Definitions are not fetched from addresses yet";
    DefinitionNotJson 422 "definition_not_json" "The definition is not JSON";
    DefinitionTooDeep 422 "definition_too_deep" "The definition is nested too deep";
    DefinitionTooLarge 422 "definition_too_large" "The definition has too many parts";
    DefinitionVersionUnsupported 422 "definition_version_unsupported" "The definition is not OpenAPI 3";
    DefinitionWithoutPaths 422 "definition_without_paths" "The definition has no paths";
    DefinitionReferenceExternal 422 "definition_reference_external" "The definition refers outside itself";
    DefinitionReferenceCycle 422 "definition_reference_cycle" "The definition refers to itself in a circle";
    PaymentUnavailable 422 "payment_unavailable" "Payments are not available yet";
    PaymentRefused 422 "payment_refused" "The payment provider refuses it";
    PaymentProviderUnavailable 503 "payment_provider_unavailable" "The payment provider does not answer";
    RefundTooLarge 409 "refund_too_large" "More than is left to give back";
    WalletShort 409 "wallet_short" "The wallet does not have so much that is free";
    SignatureInvalid 401 "signature_invalid" "The signature is not the payment provider's";
    BalanceInsufficient 402 "balance_insufficient" "The wallet has too little for this";
    BudgetReached 402 "budget_reached" "The budget that you set does not allow this";
    PaymentDue 409 "payment_due" "A month is to be paid first";
    AmountChanged 409 "amount_changed" "What is to be paid is not what was shown";
    AlreadySubscribed 409 "already_subscribed" "There is a live subscription to this plan";
    SubscriptionInactive 409 "subscription_inactive" "The subscription has ended";
    // Gateways
    CountersAreEmbedded 409 "counters_are_embedded" "Another gateway has the embedded counters";
    CountersDiffer 409 "counters_differ" "The gateway counts elsewhere than this control plane says";
    BatchInvalid 422 "batch_invalid" "The batch is not what it says";
    BatchConflict 409 "batch_conflict" "Another batch has this id";
    LeaseInvalid 422 "lease_invalid" "This is not what a gateway says of leases";
    LeaseOver 409 "lease_over" "The lease on a wallet is over";
}

/// One field that is wrong, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// JSON pointer (RFC 6901) into the request's body.
    pub pointer: String,
    /// What is wrong, for programs: `missing`, `unknown`, `wrong_type`, `invalid`, `too_long`, `too_short`, ..
    pub code: Cow<'static, str>,
    /// What is wrong, for people.
    pub message: Cow<'static, str>,
}

impl Fault {
    /// A fault at this pointer.
    pub fn new(
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { pointer: pointer.into(), code: code.into(), message: message.into() }
    }
}

/// A failure on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<Fault>,
    retry_after_s: Option<u64>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What a problem looks like to the client: RFC 9457 with our code, the request's id, and the fields that are wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A page that explains the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The stable name.
    pub code: &'static str,
    /// Name it when asking for help.
    pub request_id: String,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

impl Problem {
    /// A problem with what happened, told to the client.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_s: None, cause: None }
    }

    /// A problem about one field.
    pub fn field(
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::fields(vec![Fault::new(pointer, code, message)])
    }

    /// A problem about fields.
    #[must_use]
    pub fn fields(errors: Vec<Fault>) -> Self {
        Self { errors, ..Self::new(Code::ValidationFailed, "see errors for the fields that are wrong") }
    }

    /// Nothing there, or not the caller's: the two are told the same.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "nothing of yours has this address")
    }

    /// A fault of ours; the client learns that, the log learns why.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "the fault is logged under this request id").caused_by(cause)
    }

    /// The same with fields that are wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    /// The same with the time to wait.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same with what the log shall say.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What happened, for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The fields that are wrong.
    #[must_use]
    pub fn errors(&self) -> &[Fault] {
        &self.errors
    }

    /// Its fields' faults in a sentence, for a command line.
    #[must_use]
    pub fn faults_in_words(&self) -> String {
        let told = self
            .errors
            .iter()
            .map(|fault| format!("{}: {}", fault.pointer.trim_start_matches('/'), fault.message));
        told.collect::<Vec<_>>().join("; ")
    }

    /// What caused it, with every source, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        let mut next: Option<&dyn Error> = Some(self.cause.as_deref()?);
        let mut text = String::new();
        while let Some(error) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            next = error.source();
        }
        Some(text)
    }

    /// Writes the answer: the one place where a problem gets its body.
    pub(crate) fn write(self, request_id: &str) -> Response {
        let status = self.status();
        let body = ProblemBody {
            kind: format!("/backend/docs#{}", self.code.name()),
            title: self.code.title(),
            status: self.code.status(),
            detail: self.detail.into_owned(),
            code: self.code.name(),
            request_id: request_id.to_owned(),
            errors: self.errors,
        };
        // Strings and numbers always have a JSON form.
        let mut response = (status, serde_json::to_vec(&body).unwrap_or_default()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code.status() == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"apiclay\""));
        }
        response
    }

    fn status(&self) -> StatusCode {
        // The table holds statuses only; a test reads it whole.
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = match &error {
            StoreError::Duplicate { index, .. } => {
                return Self::new(Code::Conflict, format!("another one already has this {index}"));
            }
            StoreError::VersionMismatch => {
                return Self::new(Code::ChangedMeanwhile, "read it again and repeat the change");
            }
            StoreError::BadCursor => {
                return Self::new(Code::CursorInvalid, "start again from the first page");
            }
            StoreError::Unavailable { .. } => {
                Self::new(Code::StoreUnavailable, "try again in a moment").retry_after_s(1)
            }
            _ => Self::new(Code::Internal, "the fault is logged under this request id"),
        };
        problem.caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status_and_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(names.insert(code.name()), "{code:?} shares its name");
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code:?}");
            assert!(!code.title().ends_with('.'), "{code:?}");
        }
    }
}
