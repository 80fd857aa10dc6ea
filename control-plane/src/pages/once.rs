//! A form that is sent twice makes one thing: it bears an id that its page drew, from which the id of what it makes follows.

use apiclay_config::ids::{AccountId, Id, Kind};

/// Separates these ids from every other use of the same words.
const CONTEXT: &str = "apiclay 2026 id of what a form makes";
/// Bits of an id that follow its time.
const RANDOM_BITS: u32 = 80;

/// The id of what this form makes: the form's time, and a hash of form, account and what else makes it another, so that
/// nobody can meet the id of another's.
pub(super) fn id_of<K: Kind>(account: AccountId, once: Id<K>, more: &str) -> Id<K> {
    let hash = blake3::derive_key(CONTEXT, format!("{account}:{once}:{more}").as_bytes());
    let random = hash.iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    let low = (1_u128 << RANDOM_BITS) - 1;
    Id::from_u128((once.as_u128() & !low) | (random & low))
}

#[cfg(test)]
mod tests {
    use apiclay_config::ids::CredentialId;

    use super::*;

    #[test]
    fn a_form_makes_one_id_an_account() {
        let (once, asha, ravi) = (CredentialId::generate(), AccountId::generate(), AccountId::generate());
        assert_eq!(id_of(asha, once, ""), id_of(asha, once, ""));
        assert_ne!(id_of(asha, once, ""), id_of(ravi, once, ""));
        assert_ne!(id_of(asha, once, ""), id_of(asha, once, "500"));
        assert_ne!(id_of(asha, once, ""), id_of(asha, CredentialId::generate(), ""));
        assert_eq!(id_of(asha, once, "").as_u128() >> RANDOM_BITS, once.as_u128() >> RANDOM_BITS);
    }
}
