//! Plugins on every gateway, whatever is called. The web app's own origin may call from a page: without it the playground
//! could not. Kept as one published document, so that a changed `APP_URL` reaches gateways as any change does.

use apiclay_config::clock::Timestamp;
use apiclay_config::ids::BindingId;
use apiclay_config::snapshot::Binding;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::push::{Kind, Published, Push};
use crate::store::{Document, Index, Store, StoreError};

/// The bindings of every gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Everywhere {
    /// In the gateway's words.
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

/// Lets pages of the web app call every listing. Run at each start; says nothing new where nothing changed.
///
/// # Errors
/// Where the store does not answer.
pub async fn allow_app(store: &Store, push: &Push, app_url: &Url) -> Result<(), StoreError> {
    let config = json!({"allow_origins": [app_url.origin().ascii_serialization()]});
    let binding = |id| Binding { id, plugin: "cors".to_owned(), config: config.clone() };
    let written = match store.get::<Everywhere>(Everywhere::ID).await? {
        Some(found) if found.value.bindings.iter().any(|b| b.plugin == "cors" && b.config == config) => {
            return Ok(());
        }
        Some(mut found) => {
            found.value.bindings.retain(|b| b.plugin != "cors");
            found.value.bindings.push(binding(BindingId::generate()));
            push.replace(found.value, found.version).await
        }
        None => {
            let bindings = vec![binding(BindingId::generate())];
            push.insert(Everywhere { bindings, unpublished: None }).await
        }
    };
    match written {
        // Another control plane says the same at this moment.
        Ok(_) | Err(StoreError::Duplicate { .. } | StoreError::VersionMismatch) => Ok(()),
        Err(error) => Err(error),
    }
}
