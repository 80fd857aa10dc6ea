//! Leases on wallets on the wire: a gateway asks for calls that a subscription's wallet pays for, and says of leases it has done
//! with how many of them were made. A lease is a hold in the ledger, at the price of the plan's revision that the gateway
//! enforces; the charge is made of the events that name the lease. Next: `POST /internal/v1/leases` of the control plane.
//!
//! A lease's name is (gateway, epoch, serial): asked for again with it, the same lease is granted, and a close said again changes
//! nothing. One that is asked for after its close was said (a late echo) is refused with 409, also where it had never been
//! granted: a gateway closes what an earlier life asked for and did not hear of.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::ids::{PlanId, SubscriptionId};

/// Leases closed by one request at most; the rest is said with the next.
pub const CLOSES_MAX: usize = 256;
/// The code of the problem that a lease is over; other conflicts pass.
pub const OVER_CODE: &str = "lease_over";
/// Units that one lease is for at most: calls, or what a plan counts in their place.
pub const LEASE_MAX_UNITS: u32 = 10_000_000;

/// What a gateway says of one subscription's wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasesRequest {
    /// Its present life's epoch; the lease that is asked for is of this.
    pub epoch: String,
    /// Whose wallet: that of the subscription's account.
    pub subscription: SubscriptionId,
    /// The lease it asks for.
    #[serde(default)]
    pub grant: Option<LeaseAsked>,
    /// Leases it has done with, at most [`CLOSES_MAX`]; closed before the grant is decided.
    pub closes: Vec<LeaseClosed>,
}

/// A lease that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAsked {
    /// The gateway's number for it, never 0, and what the calls' events name it by.
    pub serial: u32,
    /// Units wanted, at most [`LEASE_MAX_UNITS`]; fewer come where little money is free.
    pub want: u32,
    /// The plan that these calls are made under; a gateway of an earlier version names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanId>,
    /// Its revision: their price.
    pub plan_revision: u32,
}

/// A lease that no call is paid from any more, and whose every call has its record in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseClosed {
    /// The epoch it was asked for in.
    pub epoch: String,
    /// Its number there.
    pub serial: u32,
    /// Units that calls kept: as many are in the events that name the lease and say so. Not all of them are billable.
    pub spent: u32,
    /// The last batch that such an event stands in; none where there is none.
    pub last_batch: Option<LastBatch>,
}

/// A batch of the gateway that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastBatch {
    /// The life it was made in.
    pub epoch: String,
    /// Its number there.
    pub seq: u64,
}

/// The answer: all closes are noted for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasesAnswer {
    /// What was granted, where a lease was asked for.
    pub granted: Option<LeaseGranted>,
    /// Where the wallet is topped up.
    #[serde(default)]
    pub top_up_url: Option<Url>,
}

/// A lease as granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseGranted {
    /// Units it is for; 0 where too little money is free for one call, and then no lease was made.
    pub units: u32,
    /// Units that what is free would pay for after this.
    pub remaining: u64,
}

/// Nothing more comes of any earlier life of a gateway: each lease that it knows of is closed, and each batch that may name one
/// acknowledged. Leases that it knows nothing of any more, after a power cut or with a new disk, can end on what is on record.
/// Said at `POST /internal/v1/leases/earlier-over`, as often as it takes; the answer is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierOver {
    /// Its present life's epoch: leases of this one stay.
    pub epoch: String,
}

/// A request that no gateway makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLeases {
    /// Too many.
    #[error("at most {CLOSES_MAX} leases are closed at once")]
    Closes,
    /// Not the form of one.
    #[error("an epoch is 16 hexadecimal digits")]
    Epoch,
    /// 0 is no lease.
    #[error("a lease's serial is not 0")]
    Serial,
    /// None, or too many.
    #[error("a lease is for 1 to {LEASE_MAX_UNITS} units")]
    Units,
    /// A spent unit has a record, and a record stands in a batch.
    #[error("a close names a batch where units were spent, and only there")]
    LastBatch,
}

impl LeasesRequest {
    /// Whether it is one that a gateway makes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), InvalidLeases> {
        if self.closes.len() > CLOSES_MAX {
            return Err(InvalidLeases::Closes);
        }
        check_epoch(&self.epoch)?;
        if let Some(asked) = &self.grant {
            check_serial(asked.serial)?;
            if !(1..=LEASE_MAX_UNITS).contains(&asked.want) {
                return Err(InvalidLeases::Units);
            }
        }
        self.closes.iter().try_for_each(LeaseClosed::check)
    }
}

impl EarlierOver {
    /// Whether it is one that a gateway says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), InvalidLeases> {
        check_epoch(&self.epoch)
    }
}

impl LeaseClosed {
    fn check(&self) -> Result<(), InvalidLeases> {
        check_epoch(&self.epoch)?;
        check_serial(self.serial)?;
        if self.spent > LEASE_MAX_UNITS {
            return Err(InvalidLeases::Units);
        }
        match &self.last_batch {
            Some(batch) if self.spent > 0 && batch.seq > 0 => check_epoch(&batch.epoch),
            None if self.spent == 0 => Ok(()),
            _ => Err(InvalidLeases::LastBatch),
        }
    }
}

fn check_epoch(epoch: &str) -> Result<(), InvalidLeases> {
    let digits = epoch.len() == 16 && epoch.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digits { Ok(()) } else { Err(InvalidLeases::Epoch) }
}

fn check_serial(serial: u32) -> Result<(), InvalidLeases> {
    if serial == 0 { Err(InvalidLeases::Serial) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &str = "00000000000000aa";

    fn closed(spent: u32, seq: Option<u64>) -> LeaseClosed {
        let last_batch = seq.map(|seq| LastBatch { epoch: EPOCH.into(), seq });
        LeaseClosed { epoch: EPOCH.into(), serial: 7, spent, last_batch }
    }

    fn request() -> LeasesRequest {
        LeasesRequest {
            epoch: EPOCH.into(),
            subscription: SubscriptionId::from_u128(1),
            grant: Some(LeaseAsked {
                serial: 8,
                want: 100,
                plan: Some(PlanId::from_u128(2)),
                plan_revision: 3,
            }),
            closes: vec![closed(5, Some(9)), closed(0, None)],
        }
    }

    #[test]
    fn a_request_is_read_back_and_one_with_more_in_it_is_refused() {
        let text = serde_json::to_string(&request()).unwrap();
        assert_eq!(serde_json::from_str::<LeasesRequest>(&text).unwrap(), request());
        assert_eq!(request().check(), Ok(()));
        let old: LeaseAsked = serde_json::from_str(r#"{"serial":8,"want":100,"plan_revision":3}"#).unwrap();
        assert_eq!(old, LeaseAsked { plan: None, ..request().grant.unwrap() });
        let more = text.replacen('{', "{\"more\":1,", 1);
        assert!(serde_json::from_str::<LeasesRequest>(&more).is_err());
        let more = text.replace("\"spent\"", "\"more\":1,\"spent\"");
        assert!(serde_json::from_str::<LeasesRequest>(&more).is_err());
    }

    #[test]
    fn an_answer_may_say_where_to_top_up_and_need_not() {
        let answer: LeasesAnswer = serde_json::from_str(
            r#"{"granted":{"units":0,"remaining":0},"top_up_url":"https://a.example/wallet"}"#,
        )
        .unwrap();
        assert_eq!(answer.granted, Some(LeaseGranted { units: 0, remaining: 0 }));
        assert_eq!(answer.top_up_url.unwrap().path(), "/wallet");
        assert!(serde_json::from_str::<LeasesAnswer>(r#"{"granted":null}"#).unwrap().top_up_url.is_none());
    }

    #[test]
    fn that_earlier_lives_are_over_is_said_of_an_epoch_and_of_nothing_else() {
        let over = EarlierOver { epoch: EPOCH.into() };
        assert_eq!(over.check(), Ok(()));
        let text = serde_json::to_string(&over).unwrap();
        assert_eq!(text, r#"{"epoch":"00000000000000aa"}"#);
        assert_eq!(serde_json::from_str::<EarlierOver>(&text).unwrap(), over);
        assert!(
            serde_json::from_str::<EarlierOver>(r#"{"epoch":"00000000000000aa","gateway":"other"}"#).is_err()
        );
        assert_eq!(EarlierOver { epoch: "AA".into() }.check(), Err(InvalidLeases::Epoch));
    }

    #[test]
    fn what_no_gateway_says_is_refused() {
        let wrong = |change: fn(&mut LeasesRequest)| {
            let mut request = request();
            change(&mut request);
            request.check().unwrap_err()
        };
        assert_eq!(wrong(|r| r.epoch = "00000000000000AA".into()), InvalidLeases::Epoch);
        assert_eq!(wrong(|r| r.closes[0].epoch = "aa".into()), InvalidLeases::Epoch);
        assert_eq!(wrong(|r| r.closes[1].serial = 0), InvalidLeases::Serial);
        assert_eq!(wrong(|r| r.grant.as_mut().unwrap().want = 0), InvalidLeases::Units);
        assert_eq!(wrong(|r| r.grant.as_mut().unwrap().want = LEASE_MAX_UNITS + 1), InvalidLeases::Units);
        assert_eq!(wrong(|r| r.closes[0] = closed(5, None)), InvalidLeases::LastBatch);
        assert_eq!(wrong(|r| r.closes[0] = closed(0, Some(1))), InvalidLeases::LastBatch);
        assert_eq!(wrong(|r| r.closes[0] = closed(1, Some(0))), InvalidLeases::LastBatch);
        assert_eq!(wrong(|r| r.closes = vec![closed(0, None); CLOSES_MAX + 1]), InvalidLeases::Closes);
    }
}
