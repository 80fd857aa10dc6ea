//! What the selling domains say no with: plane-neutral, exhaustive, with a stable code. Rules and documents return it;
//! it turns into a problem once, at the end of this file, when a handler gives it back.

use crate::http::{Code, Fault, Problem};
use crate::store::StoreError;

/// One thing in an input that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where in the input (RFC 6901).
    pub pointer: String,
    /// A stable word for the rule.
    pub code: &'static str,
    /// The rule, for a person.
    pub message: String,
}

impl Invalid {
    /// A broken rule at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, message: message.into() }
    }
}

/// Why a domain does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not there, or it is somebody else's: the two look alike from outside.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The caller is known here, and his role does not allow it.
    #[error("your role does not allow this; it takes {0}")]
    Role(&'static str),
    /// It contradicts what is there, or cannot be done as it stands.
    #[error("{detail}")]
    Because {
        /// The stable word for it.
        code: Code,
        /// What to do about it.
        detail: String,
    },
    /// Fields that break rules.
    #[error("the input breaks a rule; see errors")]
    Invalid(Vec<Invalid>),
    /// Somebody else wrote in between.
    #[error("it has changed meanwhile; read it again and decide anew")]
    Changed,
    /// The store failed.
    #[error("the store did not do its part")]
    Store(#[source] StoreError),
    /// Something of ours failed.
    #[error("{0} failed")]
    Internal(&'static str),
}

impl Refusal {
    /// A contradiction, or something that cannot be done as it stands.
    pub fn because(code: Code, detail: impl Into<String>) -> Self {
        Self::Because { code, detail: detail.into() }
    }

    /// One field that breaks a rule.
    pub fn field(pointer: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Invalid::new(pointer, code, message)])
    }

    /// All of `faults`, where there is one.
    pub fn unless_empty(faults: Vec<Invalid>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::Invalid(faults)) }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::VersionMismatch => Self::Changed,
            other => Self::Store(other),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound(_) => Self::not_found(),
            Refusal::Role(_) => Self::new(Code::RoleMissing, detail),
            Refusal::Because { code, detail } => Self::new(code, detail),
            Refusal::Invalid(faults) => Self::fields(
                faults
                    .into_iter()
                    .map(|fault| Fault::new(fault.pointer, fault.code, fault.message))
                    .collect(),
            ),
            Refusal::Changed => Self::new(Code::ChangedMeanwhile, detail),
            Refusal::Store(error) => error.into(),
            Refusal::Internal(_) => Self::internal(detail),
        }
    }
}

/// Characters of a name.
pub const NAME_MAX_CHARS: usize = 100;

/// Checks a line of text that people read: 1 to `max` characters, no control characters, no blank ends.
pub fn check_line(faults: &mut Vec<Invalid>, pointer: &str, text: &str, max_chars: usize) {
    let chars = text.chars().count();
    if chars == 0 || chars > max_chars {
        faults.push(Invalid::new(pointer, "length", format!("1 to {max_chars} characters")));
    } else if text.chars().any(char::is_control) || text.trim() != text {
        faults.push(Invalid::new(pointer, "characters", "no control characters, no blanks at the ends"));
    }
}

/// Checks a slug.
pub fn check_slug(faults: &mut Vec<Invalid>, pointer: &str, slug: &str) {
    if !apiclay_config::snapshot::slug_is_valid(slug) {
        faults.push(Invalid::new(
            pointer,
            "slug_invalid",
            "1 to 63 lower-case letters, digits and inner hyphens",
        ));
    }
}
