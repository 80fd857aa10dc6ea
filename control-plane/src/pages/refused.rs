//! What follows where a purchase is refused: its page is shown again as it is now, and says why.

use axum::http::StatusCode;

use super::words::sentence;
use crate::http::{Code, Problem};
use crate::refusal::Refusal;

/// Why something was not done.
pub(super) struct Refused {
    /// What the page is shown under.
    pub status: StatusCode,
    /// In a sentence or two.
    pub why: String,
    /// Whether money in the wallet, or its budget, is what it takes.
    pub lacks_money: bool,
}

impl Refused {
    /// From a refusal that a page can be shown again for; others go on as they are.
    pub(super) fn of(refusal: Refusal) -> Result<Self, Problem> {
        let (code, why) = match &refusal {
            Refusal::Because { code, detail } => {
                (*code, format!("{} {}", sentence(code.title()), sentence(detail)))
            }
            Refusal::NotFound(_) => (Code::NotFound, "This plan is not on sale any more.".to_owned()),
            Refusal::Changed => {
                (Code::ChangedMeanwhile, "It was changed at the same time; this is how it is now.".to_owned())
            }
            _ => return Err(refusal.into()),
        };
        let status = StatusCode::from_u16(code.status()).map_err(Problem::internal)?;
        Ok(Self { status, why, lacks_money: matches!(code, Code::BalanceInsufficient | Code::BudgetReached) })
    }
}
