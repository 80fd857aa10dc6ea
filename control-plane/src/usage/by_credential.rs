//! From rollups to what each key was used for. Pure. In whole UTC hours, as the rollups count credentials.

use std::collections::BTreeMap;

use apiclay_config::ids::CredentialId;
use apiclay_config::usage::Counts;
use serde::Serialize;
use utoipa::ToSchema;

use super::rollup::Rollup;
use super::series::{ITEMS_MAX, Total};
use crate::refusal::Refusal;

/// What was called, by key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CredentialsView {
    /// With all of them.
    pub total: Total,
    /// By credential; those without a call are left out.
    pub items: Vec<CredentialItem>,
}

/// Calls with one credential.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CredentialItem {
    /// Which; also one that has been revoked since. Absent for the calls of more keys than an hour tells apart.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<CredentialId>,
    /// Calls that the gateway answered from the upstream.
    pub calls: u64,
    /// Those of them that are billed.
    pub billable_calls: u64,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Answer body bytes.
    pub bytes_out: u64,
}

/// Sums that are being made: rollups come in one by one.
#[derive(Debug, Default)]
pub(super) struct Credentials(BTreeMap<CredentialId, Counts>);

impl Credentials {
    /// Counts an hour.
    pub(super) fn add(&mut self, rollup: &Rollup) -> Result<(), Refusal> {
        for of in &rollup.credentials {
            self.0.entry(of.credential).or_default().add(&of.counts);
        }
        if self.0.len() > ITEMS_MAX {
            let why = format!("more than {ITEMS_MAX} credentials; choose a shorter time");
            return Err(Refusal::field("", "range_too_long", why));
        }
        Ok(())
    }

    /// What there is.
    pub(super) fn finish(self) -> CredentialsView {
        let mut sum = Counts::default();
        let mut items = Vec::with_capacity(self.0.len());
        // Without a call: units of before a kill that have no record, whose credential nobody knows.
        for (credential, counts) in self.0.into_iter().filter(|(_, counts)| counts.calls > 0) {
            sum.add(&counts);
            items.push(CredentialItem {
                credential_id: (credential != CredentialId::from_u128(0)).then_some(credential),
                calls: counts.calls,
                billable_calls: counts.billable_calls,
                bytes_in: counts.bytes_in,
                bytes_out: counts.bytes_out,
            });
        }
        let total = Total {
            calls: sum.calls,
            billable_calls: sum.billable_calls,
            bytes_in: sum.bytes_in,
            bytes_out: sum.bytes_out,
            units: sum.units,
            assumed_calls: sum.assumed_calls,
            capped_calls: sum.capped_calls,
        };
        CredentialsView { total, items }
    }
}
