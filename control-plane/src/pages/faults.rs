//! What is wrong with a form, in words that stand beside its fields. Made from the problem that the API would answer.

use std::collections::BTreeMap;

use super::words::sentence;
use crate::http::{Code, Problem};

/// Faults by field, and one for the whole form.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// About no field in particular.
    pub whole: Option<String>,
    fields: BTreeMap<String, String>,
}

impl Faults {
    /// From a problem that a form can be shown again for; others go on as they are.
    ///
    /// `owned` says which field a code is about, where the problem does not name one.
    pub(super) fn of(problem: Problem, owned: &[(Code, &str)]) -> Result<Self, Problem> {
        let code = problem.code();
        // A provider that does not answer is nobody's fault here, and whoever typed the form sends it again.
        let ours = matches!(code.status(), 500..) && code != Code::PaymentProviderUnavailable;
        if ours || matches!(code.status(), 404 | 413 | 415) || code == Code::CsrfTokenInvalid {
            return Err(problem);
        }
        let mut faults = Self::default();
        for fault in problem.errors() {
            let field = fault.pointer.trim_start_matches('/').to_owned();
            faults.fields.entry(field).or_insert_with(|| sentence(&fault.message));
        }
        if faults.fields.is_empty() {
            let text = format!("{} {}", sentence(code.title()), sentence(problem.detail()));
            match owned.iter().find(|(one, _)| *one == code) {
                Some((_, field)) => drop(faults.fields.insert((*field).to_owned(), text)),
                None => faults.whole = Some(text),
            }
        }
        Ok(faults)
    }

    /// The same, where a form calls a field otherwise than the API does.
    pub(super) fn renamed(mut self, api: &str, field: &str) -> Self {
        if let Some(text) = self.fields.remove(api) {
            self.fields.insert(field.to_owned(), text);
        }
        self
    }

    /// What is wrong with this field.
    pub(super) fn at(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stands_at_its_field_and_a_fault_of_ours_goes_on() {
        let named = Faults::of(Problem::field("/email", "invalid", "not an e-mail address"), &[]).unwrap();
        assert_eq!(named.at("email"), Some("Not an e-mail address."));
        let taken = Problem::new(Code::UsernameTaken, "choose another username");
        let owned = Faults::of(taken, &[(Code::UsernameTaken, "username")]).unwrap();
        assert_eq!(owned.at("username"), Some("The username is taken. Choose another username."));
        assert!(Faults::of(Problem::not_found(), &[]).is_err());
        assert!(Faults::of(Problem::internal("x"), &[]).is_err());
    }
}
