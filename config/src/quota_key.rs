//! The name of a quota's counter: whose it is, in which window, and by which zone's clocks. The zone is in the name, so that
//! whoever has a counter knows its windows, and one that is counted by other clocks is another counter. Next: the counter
//! stores, usage batches and the rebuild, which all know a counter by its name.

use std::fmt;

use crate::usage::LeasedWindow;

const PREFIX: &str = "quota:";
/// Between window and zone; in neither.
const IN_ZONE: char = '@';

/// `quota:<subscription>:<window>`, and `@<zone>` where it is not UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaKey<'a> {
    /// Whose calls are counted.
    pub subscription: &'a str,
    /// An hour, a day or a month.
    pub window: LeasedWindow,
    /// The zone's name; none for UTC.
    pub zone: Option<&'a str>,
}

impl<'a> QuotaKey<'a> {
    /// Reads a counter's name; none for a counter of another kind.
    #[must_use]
    pub fn of(counter: &'a str) -> Option<Self> {
        let (subscription, window) = counter.strip_prefix(PREFIX)?.split_once(':')?;
        let (window, zone) =
            window.split_once(IN_ZONE).map_or((window, None), |(window, zone)| (window, Some(zone)));
        let window = match window {
            "hour" => LeasedWindow::Hour,
            "day" => LeasedWindow::Day,
            "month" => LeasedWindow::Month,
            _ => return None,
        };
        Some(Self { subscription, window, zone })
    }
}

impl fmt::Display for QuotaKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = match self.window {
            LeasedWindow::Hour => "hour",
            LeasedWindow::Day => "day",
            LeasedWindow::Month => "month",
            // No quota has these.
            LeasedWindow::Trial => "trial",
            LeasedWindow::Wallet => "wallet",
        };
        write!(f, "{PREFIX}{}:{window}", self.subscription)?;
        self.zone.map_or(Ok(()), |zone| write!(f, "{IN_ZONE}{zone}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_window_it_is_and_by_which_clocks() {
        for (name, zone) in
            [("quota:sub_1:day", None), ("quota:sub_1:day@Asia/Kolkata", Some("Asia/Kolkata"))]
        {
            let key = QuotaKey::of(name).unwrap();
            assert_eq!(key, QuotaKey { subscription: "sub_1", window: LeasedWindow::Day, zone });
            assert_eq!(key.to_string(), name);
        }
        for other in ["trial:a:day", "quota:sub_1", "quota:sub_1:week", "quota:sub_1:trial", "wallet:sub_1:2"]
        {
            assert_eq!(QuotaKey::of(other), None, "{other}");
        }
    }
}
