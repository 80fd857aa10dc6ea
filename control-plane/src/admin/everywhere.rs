//! Plugins on every gateway, whatever is called. The web app's own origin may call from a page: without it the playground
//! could not. Kept as one published document, so that a changed `APP_URL` reaches gateways as any change does.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::BindingId;
use apiclay_config::snapshot::Binding;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::catalog::bindings::keeping_ids;
use crate::push::{Kind, Published, Push};
use crate::store::{Document, Index, Store, StoreError, Versioned};

/// The plugin type by which pages may call.
const CORS: &str = "cors";

/// The bindings of every gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Everywhere {
    /// What the operator attached.
    #[serde(default)]
    pub chosen: Vec<Binding>,
    /// What gateways have: those, and a `cors` of the web app's own origin.
    pub bindings: Vec<Binding>,
    /// Written and not yet in a revision.
    #[serde(default)]
    pub unpublished: Option<Timestamp>,
}

impl Everywhere {
    /// Its only id.
    pub const ID: &'static str = "everywhere";
}

impl Document for Everywhere {
    const COLLECTION: &'static str = "gateway_bindings";
    const INDEXES: &'static [Index] =
        &[Index { name: "unpublished", fields: &["unpublished"], unique: false, multi: false }];

    fn id(&self) -> String {
        Self::ID.to_owned()
    }
}

impl Published for Everywhere {
    const KIND: Kind = Kind::Everywhere;

    fn mark(&mut self) -> &mut Option<Timestamp> {
        &mut self.unpublished
    }
}

/// Tries where others change them.
const TRIES_MAX: usize = 10;

/// Lets pages of the web app call every listing. Run at each start; says nothing new where nothing changed.
///
/// # Errors
/// Where the store does not answer.
pub async fn allow_app(store: &Store, push: &Push, app_url: &Url) -> Result<(), StoreError> {
    let keep = |known: &Everywhere, _: i64| Ok::<_, StoreError>(known.chosen.clone());
    change(store, push, app_url, keep).await.map(drop)
}

/// Attaches what `choose` gives, of what is there and its version (0 where there is nothing yet).
///
/// # Errors
/// What `choose` says; where the store does not answer.
pub(crate) async fn change<E: From<StoreError>>(
    store: &Store,
    push: &Push,
    app_url: &Url,
    choose: impl Fn(&Everywhere, i64) -> Result<Vec<Binding>, E> + Send + Sync,
) -> Result<Versioned<Everywhere>, E> {
    for _ in 0..TRIES_MAX {
        let found = store.get::<Everywhere>(Everywhere::ID).await?;
        let (mut value, version) = found.map_or_else(
            || (Everywhere { chosen: Vec::new(), bindings: Vec::new(), unpublished: None }, 0),
            |found| (found.value, found.version),
        );
        let chosen = choose(&value, version)?;
        let bindings = keeping_ids(with_app(&chosen, app_url), &value.bindings);
        if chosen == value.chosen && bindings == value.bindings && version > 0 {
            return Ok(Versioned { value, version });
        }
        (value.chosen, value.bindings) = (chosen, bindings);
        let written = if version > 0 { push.replace(value, version).await } else { push.insert(value).await };
        match written {
            // Another control plane writes at this moment: look again.
            Err(StoreError::Duplicate { .. } | StoreError::VersionMismatch) => {}
            written => return Ok(written?),
        }
    }
    Err(StoreError::VersionMismatch.into())
}

/// The same, and the web app's origin, whatever a vendor says of his own listing: its playground is a page of ours.
fn with_app(chosen: &[Binding], app_url: &Url) -> Vec<Binding> {
    let config = json!({"allow_origins": [app_url.origin().ascii_serialization()]});
    let app = Binding { id: BindingId::generate(), plugin: CORS.to_owned(), config, stays: true };
    chosen.iter().cloned().chain([app]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_may_call_whatever_the_operator_attaches() {
        let url: Url = "https://market.example/".parse().unwrap();
        let operators = Binding {
            id: BindingId::from_u128(1),
            plugin: CORS.to_owned(),
            config: json!({"allow_origins": ["https://a.example"]}),
            stays: false,
        };
        let [other, app] = &with_app(std::slice::from_ref(&operators), &url)[..] else { panic!("two") };
        assert_eq!((app.stays, &app.config), (true, &json!({"allow_origins": ["https://market.example"]})));
        assert_eq!(other, &operators);
    }
}
