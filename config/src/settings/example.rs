//! The table of settings written out for people: `config.example.toml`, which a test holds equal to the file in the
//! repository, and the list that `--help` ends with.

use std::fmt::Write as _;

use super::table::{Kind, SETTINGS, Setting, Unset};

const HEADER: &str = "\
# Every setting of ApiCLay. Each line that begins with # and a key shows the default, or a sample where there is none:
# take away the # to set it. Names in the environment win over this file. Unknown keys are refused.
# Made from the code (config/src/settings/table.rs); change it there.
";

/// The text of `config.example.toml`.
#[must_use]
pub fn example() -> String {
    let mut text = HEADER.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        if setting.section() != section {
            section = setting.section();
            // Writing into a String cannot fail, here and below.
            let _ = write!(text, "\n[{section}]\n");
        }
        let _ = write!(text, "\n# {}\n# {}. Environment: {}", setting.doc, without(setting), setting.env);
        let _ = match may_be(setting.kind) {
            Some(kind) => writeln!(text, " ({kind})."),
            None => writeln!(text, "."),
        };
        let _ = writeln!(text, "#{} = {}", setting.name(), value(setting));
    }
    text
}

/// What `--help` says about settings: the name in the environment, what it is for, what holds without it.
#[must_use]
pub fn help() -> String {
    let mut text =
        "Settings, by their names in the environment (config.example.toml has their places in the file):\n"
            .to_owned();
    for setting in SETTINGS {
        let kind = may_be(setting.kind).map(|kind| format!(" ({kind})")).unwrap_or_default();
        let _ =
            write!(text, "\n  {}{kind}\n      {}\n      {}.\n", setting.env, setting.doc, without(setting));
    }
    text
}

fn without(setting: &Setting) -> String {
    match setting.unset {
        Unset::Value("") => "Default: none".to_owned(),
        Unset::Value(value) => format!("Default: {value}"),
        Unset::Derived { from, .. } => format!("Default: from {from}"),
        Unset::Absent { means, .. } => format!("Not set: {means}"),
    }
}

/// What may be written, where the value shown does not say so itself.
fn may_be(kind: Kind) -> Option<String> {
    match kind {
        Kind::Number { unit, min, max } => Some(format!("{min} to {max} {unit}")),
        Kind::Switch => Some("on or off".to_owned()),
        Kind::Choice(words) => Some(words.join(" or ")),
        Kind::Networks => Some("ranges like 10.0.0.0/8, separated by commas".to_owned()),
        Kind::Url | Kind::Address | Kind::Path | Kind::Secret(_) | Kind::Domain | Kind::Name | Kind::Text => {
            None
        }
    }
}

fn value(setting: &Setting) -> String {
    let text = match setting.unset {
        Unset::Value(text) => text,
        Unset::Derived { sample, .. } | Unset::Absent { sample, .. } => sample,
    };
    match setting.kind {
        Kind::Number { .. } => text.to_owned(),
        Kind::Networks if text.is_empty() => "[]".to_owned(),
        // TOML's basic strings escape as this does for the characters that the table has.
        _ => format!("{text:?}"),
    }
}
