//! Compiles listings and the plugins that are bound to a place. What is wrong is noted as faults of the part; whoever compiles the
//! whole leaves it out. Next: `compile.rs`.

use std::sync::{Arc, Weak};

use apiclay_config::snapshot::{self, Binding, Faults, Part};
use apiclay_plugins::by_name;
use http::{HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret as _;

use super::compile::Compiler;
use super::{Bound, Listing, Route, Routes};
use crate::phases::authenticate::KEY_HEADER;
use crate::upstreams::Upstream;

/// Where a listing's public paths are.
pub(super) fn name_of(listing: &snapshot::Listing) -> Box<str> {
    format!("{}/{}", listing.vendor_slug, listing.slug).into_boxed_str()
}

impl Compiler {
    /// The listing, and what is wrong with it.
    pub(super) fn listing(
        &mut self,
        listing: &snapshot::Listing,
        everywhere: &[Bound],
        faults: &mut Faults,
    ) -> Listing {
        let part = Part::Listing(listing.id);
        let mut fault = |rule: String| faults.add(part, rule);
        let name = name_of(listing);
        let mut injected = Vec::with_capacity(listing.secrets.len());
        for secret in &listing.secrets {
            let place = format!("{}/{}", listing.id, secret.header);
            let opened =
                self.master_key.as_ref().ok_or(()).and_then(|k| k.open(&secret.value, &place).map_err(drop));
            let header = HeaderName::try_from(secret.header.as_str());
            let value = opened.ok().and_then(|value| HeaderValue::from_str(value.expose_secret()).ok());
            match (header, value) {
                (Ok(header), Some(mut value)) => {
                    value.set_sensitive(true);
                    injected.push((header, value));
                }
                _ => {
                    fault(format!(
                        "its secret for `{}` cannot be opened with this master key",
                        secret.header
                    ));
                }
            }
        }
        let key_header = listing.key_header.as_deref().unwrap_or(snapshot::KEY_HEADER);
        let key_header = HeaderName::try_from(key_header).unwrap_or_else(|_| {
            fault(format!("`{key_header}` is no header's name"));
            KEY_HEADER
        });
        let upstream = self.upstream(listing);
        if let Err(wrong) = &upstream {
            fault(wrong.clone());
        }
        let plugins = bind(part, &listing.id, &listing.bindings, everywhere, faults);
        let mut compiled = Vec::with_capacity(listing.routes.len());
        for route in &listing.routes {
            let plugins = bind(part, &route.id, &route.bindings, &plugins, faults).into();
            match Method::from_bytes(route.method.as_bytes()) {
                Ok(method) => compiled.push((route.path.as_str(), Route { id: route.id, method, plugins })),
                Err(_) => faults.add_at(part, &route.id, "it has no method"),
            }
        }
        let routes = Routes::new(compiled);
        if let Err(wrong) = &routes {
            faults.add(part, wrong.to_string());
        }
        Listing {
            id: listing.id,
            calls: self.metrics.listing(&name),
            name,
            suspended: listing.suspended,
            routes: routes.unwrap_or_default(),
            upstream: upstream.unwrap_or_default(),
            key_header,
            injected,
            plugins,
        }
    }

    fn upstream(&mut self, listing: &snapshot::Listing) -> Result<Arc<Upstream>, String> {
        let upstream = Upstream::compile(&listing.upstream, &self.egress)?;
        let known = self.upstreams.get(&listing.id).and_then(Weak::upgrade);
        if let Some(kept) = known.filter(|known| known.says_the_same(&upstream)) {
            return Ok(kept);
        }
        let upstream = Arc::new(upstream);
        self.upstreams.insert(listing.id, Arc::downgrade(&upstream));
        Ok(upstream)
    }
}

/// Builds the plugins bound here, with those of the wider place, in the registry's order and the narrower after the wider; it
/// replaces what has its type and does not stay.
pub(super) fn bind(
    part: Part,
    place: &dyn std::fmt::Display,
    bindings: &[Binding],
    wider: &[Bound],
    faults: &mut Faults,
) -> Vec<Bound> {
    let mut bound: Vec<Bound> =
        wider.iter().filter(|w| w.stays || !bindings.iter().any(|b| b.plugin == w.name)).cloned().collect();
    for binding in bindings {
        let built = by_name(&binding.plugin).and_then(|r| Ok((r, (r.build)(&binding.config)?)));
        match built {
            Ok((registered, plugin)) => bound.push(Bound {
                binding: binding.id,
                name: registered.name,
                order: apiclay_plugins::registry()
                    .iter()
                    .position(|r| r.name == registered.name)
                    .unwrap_or(0),
                stays: binding.stays,
                plugin: Arc::from(plugin),
            }),
            Err(wrong) => faults.add_at(part, place, wrong.to_string()),
        }
    }
    bound.sort_by_key(|b| b.order);
    bound
}
