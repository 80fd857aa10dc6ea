//! The scanner, held to serde_json over texts made at random and cut anywhere, and case by case where they may differ.
#![allow(clippy::unwrap_used, reason = "a test that fails says where by panicking")]

use proptest::prelude::*;
use serde_json::Value;

use super::*;

pub(crate) fn tokens(pointer: &str) -> Arc<[Box<str>]> {
    let tokens = apiclay_config::snapshot::parse_pointer(pointer).unwrap();
    tokens.into_iter().map(String::into_boxed_str).collect()
}

fn scan(pointer: &str, text: &[u8]) -> Option<u64> {
    let mut whole = JsonScanner::new(tokens(pointer));
    whole.feed(text);
    for cut in 0..=text.len() {
        let mut parts = JsonScanner::new(tokens(pointer));
        parts.feed(&text[..cut]);
        parts.feed(&text[cut..]);
        assert_eq!(parts.seen(), whole.seen(), "cut at {cut} of {}", String::from_utf8_lossy(text));
    }
    let mut single = JsonScanner::new(tokens(pointer));
    text.iter().for_each(|byte| single.feed(&[*byte]));
    assert_eq!(single.seen(), whole.seen(), "byte by byte: {}", String::from_utf8_lossy(text));
    whole.seen()
}

#[test]
fn one_number_is_found_where_its_pointer_leads_and_nowhere_else() {
    let total = "/usage/total_tokens";
    for (text, found) in [
        (r#"{"usage":{"total_tokens":17}}"#, Some(17)),
        (r#" { "id" : "x" , "usage" : { "a" : [ 1 , {} ] , "total_tokens" : 17 } } "#, Some(17)),
        (r#"{"a":{"usage":{"total_tokens":1}},"usage":{"b":{"total_tokens":2},"total_tokens":3}}"#, Some(3)),
        (r#"{"total_tokens":1,"usage":{"other":2}}"#, None),
        (r#"{"usage":{"total_tokens_":1,"total_token":2,"total_tokensx":3,"":4}}"#, None),
        (r#"[{"usage":{"total_tokens":1}}]"#, None),
        (r#"{"usage":[{"total_tokens":1}]}"#, None),
        (r#"{"text":"\"usage\":{\"total_tokens\":99}","usage":{"total_tokens":5}}"#, Some(5)),
        // Keys may be written with escapes, in any of their forms.
        (r#"{"\u0075sage":{"total\u005ftokens":8}}"#, Some(8)),
        // Nothing but a whole number that is not below zero is a count.
        (r#"{"usage":{"total_tokens":0}}"#, Some(0)),
        (r#"{"usage":{"total_tokens":-0}}"#, Some(0)),
        (r#"{"usage":{"total_tokens":-3}}"#, None),
        (r#"{"usage":{"total_tokens":2.5}}"#, None),
        (r#"{"usage":{"total_tokens":12.0}}"#, Some(12)),
        (r#"{"usage":{"total_tokens":1.2e1}}"#, Some(12)),
        (r#"{"usage":{"total_tokens":18446744073709551616}}"#, Some(u64::MAX)),
        (r#"{"usage":{"total_tokens":1e400}}"#, Some(u64::MAX)),
        (r#"{"usage":{"total_tokens":00000000000000000000000000000000000000001}}"#, None),
        (r#"{"usage":{"total_tokens":"17"}}"#, None),
        (r#"{"usage":{"total_tokens":null}}"#, None),
        (r#"{"usage":{"total_tokens":{"total_tokens":4}}}"#, None),
        (r#"{"usage":null}"#, None),
        // Of several the last, as most who read JSON do.
        (r#"{"usage":{"total_tokens":1,"total_tokens":2}}"#, Some(2)),
        (r#"{"usage":{"total_tokens":1},"usage":{"total_tokens":2}}"#, Some(2)),
        (r#"{"usage":{"total_tokens":1},"usage":{}}"#, None),
        // Cut off, or no JSON: what was seen before stays.
        (r#"{"usage":{"total_tokens":17"#, None),
        (r#"{"usage":{"total_tokens":17,"#, Some(17)),
        (r#"{"usage":{"total_tokens":17},,"usage":{"total_tokens":9}}"#, Some(17)),
        (r#"{"x":nul!,"usage":{"total_tokens":9}}"#, None),
        (r#"{"usage":{"total_tokens":17]}"#, Some(17)),
        (r#"{"usage" {"total_tokens":17}}"#, None),
        ("{\"a\":\"line\nbreak\",\"usage\":{\"total_tokens\":9}}", None),
        ("", None),
    ] {
        assert_eq!(scan(total, text.as_bytes()), found, "{text}");
    }
}

#[test]
fn tokens_name_items_and_any_key() {
    for (pointer, text, found) in [
        ("/0", "[7,8]", Some(7)),
        ("/1", "[7,8]", Some(8)),
        ("/1/n", r#"[{"n":1},{"n":2},{"n":3}]"#, Some(2)),
        ("/1/0/n", r#"[[{"n":1}],[{"n":2},{"n":4}],[{"n":3}]]"#, Some(2)),
        ("/01", "[7,8]", None),
        ("/-", "[7,8]", None),
        ("/+1", "[7,8]", None),
        ("/2", "[7,8]", None),
        ("/0", r#"{"0":5}"#, Some(5)),
        ("/a~1b/c~0d", r#"{"a/b":{"c~d":6}}"#, Some(6)),
        ("/", r#"{"":3}"#, Some(3)),
        ("/é", r#"{"\u00e9":3}"#, Some(3)),
        ("/é", r#"{"é":3}"#, Some(3)),
        ("/😀", r#"{"\ud83d\ude00":3}"#, Some(3)),
        ("/😀", r#"{"\ud83d":3,"\ude00":4,"\ud83dx":5,"\ud83d\ud83d\ude00":6}"#, None),
        ("/a\"b", r#"{"a\"b":3}"#, Some(3)),
    ] {
        assert_eq!(scan(pointer, text.as_bytes()), found, "{pointer} in {text}");
    }
}

#[test]
fn what_is_too_deep_is_given_up() {
    for (depth, found) in [(DEPTH_MAX - 2, Some(3)), (DEPTH_MAX, None)] {
        let text = format!("{{\"deep\":{}{},\"n\":3}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(scan("/n", text.as_bytes()), found, "{depth}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = || prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("é\"\\".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        key().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_found_is_what_serde_json_finds(
        value in any_json(),
        way in prop::collection::vec(prop_oneof![Just("/a"), Just("/b"), Just("/é\"\\"), Just("/0"), Just("/1")], 1..5),
        pretty in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let pointer = way.concat();
        let expected = value.pointer(&pointer).and_then(Value::as_u64);
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        // A number is over when something follows it.
        let text = text.unwrap() + " ";
        let (first, second) = text.as_bytes().split_at(cut.index(text.len()));
        let mut scanner = JsonScanner::new(tokens(&pointer));
        scanner.feed(first);
        scanner.feed(second);
        prop_assert_eq!(scanner.seen(), expected, "{} in {}", pointer, text);
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut scanner = JsonScanner::new(tokens("/a/0"));
        scanner.feed(&bytes);
        let jsonish: Vec<u8> =
            bytes.iter().map(|b| b"{}[]\":,a0\\u1ed8"[usize::from(*b) % 15]).collect();
        let mut scanner = JsonScanner::new(tokens("/a/0"));
        scanner.feed(&jsonish);
        prop_assert!(scanner.depth <= DEPTH_MAX);
    }
}
