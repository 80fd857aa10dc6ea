//! Which routes can stand beside each other: one spelling a shape, and no rest beside a parameter. This gateway's routing tree takes
//! both; one of an earlier release, which may still run, would leave the whole listing out. Pure; the routes and the definition import ask here first.

use std::collections::{BTreeMap, BTreeSet};

/// A path without the names of its parameters: two paths of one shape match the same calls.
#[must_use]
pub fn shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        shape.push('/');
        shape.push_str(match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            Some(rest) if rest.starts_with('*') => "{*}",
            Some(_) => "{}",
            None => segment,
        });
    }
    shape
}

/// Why a route cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathConflict {
    /// The same method and shape.
    #[error("another route has the same method and path")]
    Same,
    /// The same shape with other parameter names.
    #[error("`{0}` matches the same paths under other parameter names; use its spelling")]
    Spelling(String),
    /// `{*rest}` where another route has `{name}`, or the other way round.
    #[error("`{{*rest}}` and `{{name}}` cannot stand at the same place of two routes")]
    RestBesideParameter,
}

/// The paths of one listing, as far as they can be in each other's way.
#[derive(Debug, Default)]
pub struct PathSet {
    spelling_by_shape: BTreeMap<String, String>,
    taken: BTreeSet<(String, String)>,
    /// Shapes up to and with a `{}` or `{*}`.
    dynamic_prefixes: BTreeSet<String>,
}

impl PathSet {
    /// The set of these routes, which stand beside each other already.
    pub fn of<'a>(routes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut set = Self::default();
        for (method, path) in routes {
            set.put(method, path);
        }
        set
    }

    /// How this shape is spelled here, where it is.
    #[must_use]
    pub fn spelling(&self, path: &str) -> Option<&str> {
        self.spelling_by_shape.get(&shape(path)).map(String::as_str)
    }

    /// Adds a route.
    ///
    /// # Errors
    /// What it conflicts with; nothing is added then.
    pub fn add(&mut self, method: &str, path: &str) -> Result<(), PathConflict> {
        let own = shape(path);
        if self.taken.contains(&(method.to_owned(), own.clone())) {
            return Err(PathConflict::Same);
        }
        if let Some(spelling) = self.spelling_by_shape.get(&own).filter(|spelling| *spelling != path) {
            return Err(PathConflict::Spelling(spelling.clone()));
        }
        let twin = |prefix: &String| match prefix.strip_suffix("{*}") {
            Some(stem) => format!("{stem}{{}}"),
            None => format!("{}{{*}}", prefix.trim_end_matches("{}")),
        };
        if dynamic_prefixes(&own).iter().any(|prefix| self.dynamic_prefixes.contains(&twin(prefix))) {
            return Err(PathConflict::RestBesideParameter);
        }
        self.put(method, path);
        Ok(())
    }

    fn put(&mut self, method: &str, path: &str) {
        let own = shape(path);
        self.dynamic_prefixes.extend(dynamic_prefixes(&own));
        self.taken.insert((method.to_owned(), own.clone()));
        self.spelling_by_shape.entry(own).or_insert_with(|| path.to_owned());
    }
}

fn dynamic_prefixes(shape: &str) -> Vec<String> {
    let mut prefixes = Vec::new();
    let mut so_far = String::new();
    for segment in shape.split('/').skip(1) {
        so_far.push('/');
        so_far.push_str(segment);
        if segment.starts_with('{') {
            prefixes.push(so_far.clone());
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shape_has_one_spelling_and_methods_share_it() {
        let mut set = PathSet::of([("GET", "/a/{x}")]);
        assert_eq!(set.add("GET", "/a/{x}"), Err(PathConflict::Same));
        assert_eq!(set.add("GET", "/a/{y}"), Err(PathConflict::Same));
        assert_eq!(set.add("POST", "/a/{y}"), Err(PathConflict::Spelling("/a/{x}".into())));
        assert_eq!(set.add("POST", "/a/{x}"), Ok(()));
        assert_eq!(set.add("GET", "/a/{y}/b"), Ok(()));
        assert_eq!(set.add("GET", "/a/fixed"), Ok(()));
        assert_eq!(set.spelling("/a/{other}"), Some("/a/{x}"));
    }

    #[test]
    fn a_rest_beside_a_parameter_is_refused_both_ways() {
        let mut set = PathSet::of([("GET", "/a/{x}/b")]);
        assert_eq!(set.add("GET", "/a/{*rest}"), Err(PathConflict::RestBesideParameter));
        assert_eq!(set.add("GET", "/b/{*rest}"), Ok(()));
        assert_eq!(set.add("GET", "/b/{x}"), Err(PathConflict::RestBesideParameter));
        assert_eq!(set.add("GET", "/b/c"), Ok(()));
    }
}
