//! Bars with their spread, as SVG: a group a row, a bar a proxy, a line through it from the least to the most.

use std::fmt::Write as _;

use crate::table::Spread;

const BAR_HEIGHT: f64 = 14.0;
const LINE_HEIGHT: f64 = 18.0;
const NAMES_WIDTH: f64 = 190.0;
const BARS_WIDTH: f64 = 480.0;
const NUMBERS_WIDTH: f64 = 190.0;
const MARGIN: f64 = 12.0;

/// One bar.
pub struct Bar {
    /// Those that stand together have the same.
    pub group: &'static str,
    /// Beside it.
    pub name: &'static str,
    /// How long it is.
    pub value: Spread,
}

/// A chart. `reference` is a line through all bars.
pub fn svg(title: &str, unit: &str, reference: Option<f64>, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value.most).chain(reference).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| NAMES_WIDTH + value / most * BARS_WIDTH;
    let mut inner = String::new();
    let mut y = MARGIN + LINE_HEIGHT;
    // Writing to a String cannot fail.
    let _ = writeln!(inner, "<text x=\"{MARGIN}\" y=\"{y}\" font-weight=\"bold\">{}</text>", escaped(title));
    let top = y;
    let mut group = "";
    for bar in bars {
        y += LINE_HEIGHT;
        if bar.group != group {
            group = bar.group;
            y += LINE_HEIGHT / 2.0;
            let _ = writeln!(
                inner,
                "<text x=\"{MARGIN}\" y=\"{y}\" font-weight=\"bold\">{}</text>",
                escaped(group)
            );
            y += LINE_HEIGHT;
        }
        let colour = if bar.name.starts_with("gateway") { "#2563eb" } else { "#9ca3af" };
        let (Spread { median, least, most }, middle) = (bar.value, y - 4.0);
        let _ = writeln!(
            inner,
            "<text x=\"{:.1}\" y=\"{y}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{NAMES_WIDTH}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/>\n\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#111827\" stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{y}\">{median:.2} ({least:.2} to {most:.2}) {unit}</text>",
            NAMES_WIDTH - 8.0,
            escaped(bar.name),
            y - BAR_HEIGHT + 3.0,
            x(median) - NAMES_WIDTH,
            x(least),
            x(most),
            x(most) + 8.0,
        );
    }
    let (width, height) = (NAMES_WIDTH + BARS_WIDTH + NUMBERS_WIDTH, y + MARGIN);
    let line = reference.map(|value| {
        let x = x(value);
        format!("<path d=\"M{x:.1} {top}V{y}\" stroke=\"#dc2626\" stroke-dasharray=\"4 3\"/>\n")
    });
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{inner}{}</svg>\n",
        line.unwrap_or_default()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_spread_fits_and_names_are_escaped() {
        let bar = |name, median| Bar {
            group: "a & b",
            name,
            value: Spread { median, least: 0.5, most: 2.0 * median },
        };
        let text = svg("t", "x", Some(1.0), &[bar("nginx", 1.0), bar("gateway", 2.0)]);
        assert!(text.contains("a &amp; b") && text.contains("2.00 (0.50 to 4.00) x"));
        // The most of all, 4, ends where the bars do; the reference, 1, stands at a quarter.
        assert!(text.contains("H670.0") && text.contains("M310.0 30V"));
    }
}
