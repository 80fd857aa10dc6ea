//! Where a listing is in its life, and what moves it. Pure; `rules` asks what a step needs beside.

use serde::{Deserialize, Serialize};

/// Where a listing is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The vendor works on it.
    Draft,
    /// It waits for the operator.
    Submitted,
    /// It may be published.
    Approved,
    /// It is sold and called.
    Published,
    /// It is called by those who have it, and sold no more.
    Deprecated,
    /// It is neither sold nor called.
    Retired,
}

/// What moves a listing from state to state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The vendor hands it in.
    Submit,
    /// The operator agrees.
    Approve,
    /// The operator does not.
    Reject,
    /// The vendor begins to sell.
    Publish,
    /// The vendor stops selling.
    Deprecate,
    /// The vendor ends it.
    Retire,
}

impl State {
    /// The state after `step`; none where that step leads nowhere from here.
    #[must_use]
    pub const fn after(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Draft, Step::Submit) => Some(Self::Submitted),
            (Self::Submitted, Step::Approve) => Some(Self::Approved),
            (Self::Submitted, Step::Reject) => Some(Self::Draft),
            (Self::Approved | Self::Deprecated, Step::Publish) => Some(Self::Published),
            (Self::Published, Step::Deprecate) => Some(Self::Deprecated),
            (Self::Published | Self::Deprecated, Step::Retire) => Some(Self::Retired),
            _ => None,
        }
    }
}

/// The state as written.
#[must_use]
pub const fn state_word(state: State) -> &'static str {
    match state {
        State::Draft => "draft",
        State::Submitted => "submitted",
        State::Approved => "approved",
        State::Published => "published",
        State::Deprecated => "deprecated",
        State::Retired => "retired",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_goes_its_way_and_no_other() {
        use State::{Approved, Deprecated, Draft, Published, Retired, Submitted};
        let steps = [Step::Submit, Step::Approve, Step::Reject, Step::Publish, Step::Deprecate, Step::Retire];
        let ways: Vec<(State, State)> = [Draft, Submitted, Approved, Published, Deprecated, Retired]
            .into_iter()
            .flat_map(|from| steps.into_iter().filter_map(move |step| Some((from, from.after(step)?))))
            .collect();
        assert_eq!(
            ways,
            [
                (Draft, Submitted),
                (Submitted, Approved),
                (Submitted, Draft),
                (Approved, Published),
                (Published, Deprecated),
                (Published, Retired),
                (Deprecated, Published),
                (Deprecated, Retired),
            ]
        );
    }
}
