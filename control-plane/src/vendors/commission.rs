//! What the operator keeps of a sale: a share in basis points, one for all vendors or one for this vendor. It is reckoned when
//! the sale is charged and stands in the same entry, so that a later change moves nothing that was sold.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, VendorId};
use apiclay_config::money::Money;
use serde::{Deserialize, Serialize};

use crate::ledger::{Amount, Holder, LedgerAccount};
use crate::refusal::Refusal;
use crate::store::{Document, Index, Store, StoreError};

/// Basis points in a whole.
pub const WHOLE_BASIS_POINTS: u32 = 10_000;
/// The id of the rate of vendors who have none of their own.
const FOR_ALL: &str = "all";

/// A rate as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionRate {
    /// Whose; everybody's who has none of his own where it is none.
    pub vendor: Option<VendorId>,
    /// Hundredths of a percent.
    pub basis_points: u32,
    /// Who decided so.
    pub by: AccountId,
    /// When.
    pub at: Timestamp,
}

impl CommissionRate {
    /// The id of a vendor's rate, or of everybody's.
    #[must_use]
    pub fn id_of(vendor: Option<VendorId>) -> String {
        vendor.map_or_else(|| FOR_ALL.to_owned(), |vendor| vendor.to_string())
    }
}

impl Document for CommissionRate {
    const COLLECTION: &'static str = "commission_rates";
    const INDEXES: &'static [Index] = &[];

    fn id(&self) -> String {
        Self::id_of(self.vendor)
    }
}

/// What the operator keeps of what a vendor sells, in basis points.
///
/// # Errors
/// Where the store does not answer.
pub async fn rate_of(store: &Store, vendor: VendorId) -> Result<u32, StoreError> {
    for of in [Some(vendor), None] {
        if let Some(rate) = store.get::<CommissionRate>(&CommissionRate::id_of(of)).await? {
            return Ok(rate.value.basis_points);
        }
    }
    Ok(0)
}

/// Whether a rate can be had.
///
/// # Errors
/// Where it is more than the whole.
pub fn check_rate(basis_points: u32) -> Result<(), Refusal> {
    if basis_points <= WHOLE_BASIS_POINTS {
        return Ok(());
    }
    Err(Refusal::field("/basis_points", "out_of_range", format!("0 to {WHOLE_BASIS_POINTS}; 1500 is 15 %")))
}

/// An amount that a buyer pays a vendor, and the part of it that the operator keeps. Both are negative where money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sale {
    /// All of it.
    pub amount: Money,
    /// The operator's part, in micro-units.
    pub commission_micro: i64,
}

impl Sale {
    /// At this rate; a part of a micro-unit is the vendor's.
    #[must_use]
    pub fn new(amount: Money, basis_points: u32) -> Self {
        let rate = i128::from(basis_points.min(WHOLE_BASIS_POINTS));
        // No more than the amount, which fits.
        let part = i128::from(amount.micro) * rate / i128::from(WHOLE_BASIS_POINTS);
        Self { amount, commission_micro: i64::try_from(part).unwrap_or(0) }
    }

    /// The movements from whoever pays; none where nothing is paid.
    #[must_use]
    pub fn lines(&self, from: LedgerAccount, vendor: VendorId) -> Vec<Amount> {
        let Money { micro, currency } = self.amount;
        let on = |holder| LedgerAccount { holder, currency };
        let lines = [
            Amount { account: from, micro: micro.saturating_neg() },
            Amount {
                account: on(Holder::Vendor(vendor)),
                micro: micro.saturating_sub(self.commission_micro),
            },
            Amount { account: on(Holder::Commission(vendor)), micro: self.commission_micro },
        ];
        lines.into_iter().filter(|line| line.micro != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use apiclay_config::money::Currency;

    use super::*;

    #[test]
    fn what_is_paid_is_all_shared_out_and_what_goes_back_comes_from_where_it_went() {
        let from = LedgerAccount::wallet(AccountId::from_u128(1), Currency::INR);
        for micro in [1, 3, 7, 499_000_000, i64::MAX] {
            for rate in [0, 1, 1_500, 3_333, WHOLE_BASIS_POINTS, u32::MAX] {
                let of = |micro| Sale::new(Money::new(micro, Currency::INR), rate);
                let lines = of(micro).lines(from, VendorId::from_u128(2));
                assert_eq!(lines.iter().map(|line| i128::from(line.micro)).sum::<i128>(), 0);
                assert!((0..=micro).contains(&of(micro).commission_micro));
                assert_eq!(of(-micro).commission_micro, -of(micro).commission_micro);
            }
        }
        assert_eq!(Sale::new(Money::new(1_999, Currency::INR), 1_500).commission_micro, 299);
        assert!(
            Sale::new(Money::new(0, Currency::INR), 1_500).lines(from, VendorId::from_u128(2)).is_empty()
        );
    }
}
