//! What can go back of a top-up, whatever is asked for and however it ends.

use apiclay_config::ids::{AccountId, OrderId, RefundId};
use apiclay_config::money::Currency;
use proptest::prelude::*;

use super::*;
use crate::payments::documents::{Credited, TopUpStatus};

fn order(credited: &[i64]) -> Order {
    let credited = credited.iter().enumerate().map(|(n, micro)| Credited {
        payment: format!("pay_{n}"),
        amount: Money::new(*micro, Currency::INR),
        entry: JournalId::from_u128(n as u128),
    });
    Order {
        id: OrderId::from_u128(1),
        account: AccountId::from_u128(1),
        amount: Money::new(100, Currency::INR),
        provider_order: None,
        status: TopUpStatus::Paid,
        credited: credited.collect(),
        reserved: Vec::new(),
        created_at: Timestamp(0),
        ask_at: None,
    }
}

fn refund(n: usize, payment: usize, micro: i64) -> Refund {
    Refund {
        id: RefundId::from_u128(n as u128),
        order: OrderId::from_u128(1),
        payment: format!("pay_{payment}"),
        account: AccountId::from_u128(1),
        amount: Money::new(micro, Currency::INR),
        reason: "a test".to_owned(),
        by: AccountId::from_u128(2),
        state: RefundState::Asked,
        failure: None,
        provider_refund: None,
        created_at: Timestamp(0),
        due_at: Some(Timestamp(0)),
    }
}

proptest! {
    #[test]
    fn no_more_is_reserved_than_was_credited(
        asked in prop::collection::vec((0usize..2, prop_oneof![1i64..=120, Just(i64::MAX)]), 1..30),
        ends in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..60),
    ) {
        let mut order = order(&[100, 100]);
        let mut given_back = std::collections::BTreeSet::new();
        let mut ends = ends.into_iter();
        for (n, (payment, micro)) in asked.iter().enumerate() {
            order.reserve(&refund(n, *payment, *micro));
            if let Some((at, processed)) = ends.next() {
                let one = order.reserved[at.index(order.reserved.len())].clone();
                // The provider gives back only what was reserved; somebody slow may say anything of what is over.
                if !processed || one.status != ReservationStatus::Free {
                    order.ended(&one.refund, processed);
                    given_back.extend(processed.then_some(one.refund));
                }
            }
            for payment in ["pay_0", "pay_1"] {
                let standing = order.reserved.iter().filter(|one| {
                    one.payment == payment && one.status != ReservationStatus::Free
                });
                let standing: i64 = standing.map(|one| one.amount.micro).sum();
                prop_assert!(standing <= 100);
                prop_assert_eq!(order.left_of(payment), 100 - standing);
            }
        }
        for name in given_back {
            prop_assert_eq!(order.reservation(&name).map(|one| one.status), Some(ReservationStatus::GivenBack));
        }
    }

    #[test]
    fn what_the_desk_gives_back_is_borne_by_the_wallet_as_far_as_it_is_free(
        micro in 1..=i64::MAX, free in any::<i64>(),
    ) {
        let wallet = LedgerAccount::wallet(AccountId::from_u128(1), Currency::INR);
        let facts = ["refund:rfnd_1".to_owned()];
        let Step::Move(lines) = given_back(&facts, wallet, micro, free).step else { panic!("it moves") };
        prop_assert_eq!(lines.iter().map(|line| i128::from(line.micro)).sum::<i128>(), 0);
        let leaves = lines.iter().find(|line| line.account == wallet).map_or(0, |line| -line.micro);
        prop_assert_eq!(leaves, micro.min(free.max(0)));
    }
}

#[test]
fn a_refund_is_reserved_once_and_not_again_when_it_is_over() {
    let mut order = order(&[100]);
    let first = refund(1, 0, 100);
    order.reserve(&first);
    order.reserve(&first);
    assert_eq!((order.reserved.len(), order.left_of("pay_0")), (1, 0));
    order.reserve(&refund(2, 0, 1));
    order.ended(&first.id.to_string(), false);
    assert_eq!(order.left_of("pay_0"), 100);
    // Somebody slow comes with both once more.
    order.reserve(&first);
    order.reserve(&refund(2, 0, 1));
    assert_eq!((order.reserved.len(), order.left_of("pay_0")), (2, 100));
    assert_eq!(order.most_left(), Some(("pay_0", 100)));
}
