//! What Razorpay's standard checkout loads and calls in a buyer's browser, for the one page that it opens on. The hosts are
//! those that Razorpay's own plugins allow for it. Next: the page of a top-up.

/// The script that opens it. It must come from there, and is never kept here.
pub const SCRIPT: &str = "https://checkout.razorpay.com/v1/checkout.js";

/// The Content-Security-Policy of the page that it opens on: as on any page of ours, but for these hosts. Its script
/// writes styles into the page, which cannot be named beforehand.
pub const PAGE_POLICY: &str = "default-src 'none'; \
     script-src 'self' https://checkout.razorpay.com https://cdn.razorpay.com; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data: https://cdn.razorpay.com; font-src 'self'; \
     connect-src 'self' https://lumberjack.razorpay.com https://lumberjack-metrics.razorpay.com; \
     frame-src https://api.razorpay.com; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The Cross-Origin-Opener-Policy of that page: banks ask for their codes in windows that the checkout opens and hears from.
pub const PAGE_OPENER_POLICY: &str = "same-origin-allow-popups";
