//! The guard of an address is a state machine of `rules`; here it becomes a document.

use crate::accounts::rules::guard::Guard;
use crate::store::{Document, Index};

impl Document for Guard {
    const COLLECTION: &'static str = "guards";
    const INDEXES: &'static [Index] =
        &[Index { name: "forget_at", fields: &["forget_at"], unique: false, multi: false }];

    fn id(&self) -> String {
        Self::id(self).to_owned()
    }
}
