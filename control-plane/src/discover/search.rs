//! A simple search over listings on sale: every word asked for stands in name, summary, slug, category or tags. Pure; a
//! full-text index takes its place when there are more listings than a walk can look at.

use crate::catalog::documents::Listing;

/// Characters of a query.
pub(super) const QUERY_MAX_CHARS: usize = 200;

/// What is looked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    words: Vec<String>,
    tag: Option<String>,
    category: Option<String>,
}

impl Wanted {
    /// Case does not matter.
    pub(super) fn new(query: Option<&str>, tag: Option<&str>, category: Option<&str>) -> Self {
        Self {
            words: query.unwrap_or_default().split_whitespace().map(str::to_lowercase).collect(),
            tag: tag.map(str::to_lowercase),
            category: category.map(str::to_lowercase),
        }
    }

    /// Whether this listing is what is looked for.
    pub(super) fn matches(&self, listing: &Listing) -> bool {
        if !listing.is_on_sale() {
            return false;
        }
        let tags: Vec<String> = listing.tags.iter().map(|tag| tag.to_lowercase()).collect();
        let category = listing.category.as_deref().unwrap_or_default().to_lowercase();
        if self.tag.as_ref().is_some_and(|tag| !tags.contains(tag)) {
            return false;
        }
        if self.category.as_ref().is_some_and(|wanted| *wanted != category) {
            return false;
        }
        let text = format!(
            "{} {} {} {} {category} {}",
            listing.name.to_lowercase(),
            listing.summary.to_lowercase(),
            listing.vendor_slug,
            listing.slug,
            tags.join(" ")
        );
        self.words.iter().all(|word| text.contains(word))
    }
}
