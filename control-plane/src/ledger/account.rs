//! The accounts of the books: whose money it is. What stands on an account is what the operator owes its holder, so that
//! a wallet is positive and what a payment provider still has to pay out is negative. Next: `entry`, which moves it.

use std::fmt;
use std::str::FromStr;

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::{AccountId, SubscriptionId, VendorId};
use apiclay_config::money::{Currency, Money};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whose money it is. People and companies stand here by their ids, which say nothing once the person is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A buyer's prepaid money. Has a floor: never below zero, holds included.
    Wallet(AccountId),
    /// Calls of a subscription's month that cost nothing and were not used yet; in [`Currency::CALLS`]. Has a floor too.
    Included {
        /// Whose.
        subscription: SubscriptionId,
        /// The first moment of the month.
        begins_at: Timestamp,
    },
    /// Where such calls come from.
    IncludedGranted,
    /// Where they go when they were made.
    IncludedUsed,
    /// What a vendor has earned and was not paid yet.
    Vendor(VendorId),
    /// What the payment provider has taken in for us.
    Provider,
    /// What the operator keeps of a vendor's sales.
    Commission(VendorId),
    /// What the operator bears himself.
    WriteOff,
}

/// One account: a holder's money in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerAccount {
    /// Whose.
    pub holder: Holder,
    /// In what.
    pub currency: Currency,
}

impl LedgerAccount {
    /// A buyer's wallet.
    #[must_use]
    pub const fn wallet(account: AccountId, currency: Currency) -> Self {
        Self { holder: Holder::Wallet(account), currency }
    }

    /// Calls that a subscription's month includes.
    #[must_use]
    pub const fn included(subscription: SubscriptionId, begins_at: Timestamp) -> Self {
        Self { holder: Holder::Included { subscription, begins_at }, currency: Currency::CALLS }
    }

    /// An amount on it in decimals: of its currency, or so many calls.
    #[must_use]
    pub fn told(&self, micro: i64) -> String {
        if self.currency == Currency::CALLS {
            format!("{micro} {}", self.currency.as_str())
        } else {
            Money::new(micro, self.currency).to_string()
        }
    }

    /// Whether it may never fall below zero. Entries on such an account stand in one row, a number each.
    #[must_use]
    pub const fn has_floor(&self) -> bool {
        matches!(self.holder, Holder::Wallet(_) | Holder::Included { .. })
    }
}

impl fmt::Display for LedgerAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let currency = self.currency.as_str();
        match self.holder {
            Holder::Wallet(account) => write!(f, "wallet:{account}:{currency}"),
            Holder::Vendor(vendor) => write!(f, "vendor:{vendor}:{currency}"),
            Holder::Included { subscription, begins_at } => {
                write!(f, "included:{subscription}:{}:{currency}", begins_at.0)
            }
            Holder::IncludedGranted => write!(f, "included_granted:{currency}"),
            Holder::IncludedUsed => write!(f, "included_used:{currency}"),
            Holder::Provider => write!(f, "provider:{currency}"),
            Holder::Commission(vendor) => write!(f, "commission:{vendor}:{currency}"),
            Holder::WriteOff => write!(f, "write_off:{currency}"),
        }
    }
}

/// A text that names no account.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no account of the books")]
pub struct UnknownAccount(String);

impl FromStr for LedgerAccount {
    type Err = UnknownAccount;

    fn from_str(text: &str) -> Result<Self, UnknownAccount> {
        let unknown = || UnknownAccount(text.to_owned());
        let (holder, currency) = text.rsplit_once(':').ok_or_else(unknown)?;
        let currency = currency.parse().map_err(|_| unknown())?;
        let holder = match holder.split_once(':') {
            Some(("wallet", id)) => Holder::Wallet(id.parse().map_err(|_| unknown())?),
            Some(("vendor", id)) => Holder::Vendor(id.parse().map_err(|_| unknown())?),
            Some(("commission", id)) => Holder::Commission(id.parse().map_err(|_| unknown())?),
            Some(("included", month)) => {
                let (subscription, begins_ms) = month.split_once(':').ok_or_else(unknown)?;
                Holder::Included {
                    subscription: subscription.parse().map_err(|_| unknown())?,
                    begins_at: Timestamp(begins_ms.parse().map_err(|_| unknown())?),
                }
            }
            None if holder == "included_granted" => Holder::IncludedGranted,
            None if holder == "included_used" => Holder::IncludedUsed,
            None if holder == "provider" => Holder::Provider,
            None if holder == "write_off" => Holder::WriteOff,
            _ => return Err(unknown()),
        };
        Ok(Self { holder, currency })
    }
}

impl Serialize for LedgerAccount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LedgerAccount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_back_as_written() {
        let holders = [
            Holder::Wallet(AccountId::from_u128(7)),
            Holder::Vendor(VendorId::from_u128(9)),
            Holder::Included { subscription: SubscriptionId::from_u128(8), begins_at: Timestamp(-5) },
            Holder::IncludedGranted,
            Holder::IncludedUsed,
            Holder::Provider,
            Holder::Commission(VendorId::from_u128(9)),
            Holder::WriteOff,
        ];
        for holder in holders {
            let account = LedgerAccount { holder, currency: Currency::INR };
            assert_eq!(account.to_string().parse(), Ok(account));
            let floor = matches!(holder, Holder::Wallet(_) | Holder::Included { .. });
            assert_eq!(account.has_floor(), floor);
        }
        let vendor = LedgerAccount { holder: holders[1], currency: Currency::INR }.to_string();
        for text in [
            "",
            "included:1:XXX",
            "wallet:INR",
            "provider:inr",
            "wallet::INR",
            "tax:INR",
            &vendor.replace("ven", "acc"),
        ] {
            assert!(text.parse::<LedgerAccount>().is_err(), "{text}");
        }
    }
}
