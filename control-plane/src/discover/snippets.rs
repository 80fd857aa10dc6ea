//! Code to paste: one call of one route, in a language. Pure. Whatever a vendor wrote (paths, examples) stands in it as
//! data only: quoted for its language, so that no route can put a command into a buyer's shell.

use serde::Deserialize;
use utoipa::ToSchema;

use super::page::PageRoute;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lang {
    /// A shell with curl.
    Curl,
    /// Python with its own library.
    Python,
    /// JavaScript with fetch.
    Javascript,
}

/// Where a buyer's key goes.
const KEY: &str = "YOUR_KEY";

/// One call of this route; `server` is where the listing is called, `key_header` where its keys travel.
pub(crate) fn snippet(route: &PageRoute, server: &str, key_header: &str, lang: Lang) -> String {
    let key_header = &spelled(key_header);
    let url = format!("{server}{}", example_path(route));
    let body = route.operation.as_ref().and_then(|operation| operation.request_body.as_ref());
    let body = body.map(|body| {
        let text = body.example.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string);
        (body.media_type.as_str(), text)
    });
    let body = body.as_ref().map(|(media_type, text)| (*media_type, text.as_str()));
    match lang {
        Lang::Curl => curl(&route.method, &url, key_header, body),
        Lang::Python => python(&route.method, &url, key_header, body),
        Lang::Javascript => javascript(&route.method, &url, key_header, body),
    }
}

/// The path with an example in each parameter's place, percent-encoded.
fn example_path(route: &PageRoute) -> String {
    let example = |name: &str| {
        let parameters = route.operation.iter().flat_map(|operation| &operation.parameters);
        let known = parameters.filter(|parameter| parameter.name == name).find_map(|p| p.example.as_ref());
        match known {
            Some(serde_json::Value::String(text)) => encode(text),
            Some(value @ serde_json::Value::Number(_)) => encode(&value.to_string()),
            _ => name.to_owned(),
        }
    };
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
        Some(name) => example(name.strip_prefix('*').unwrap_or(name)),
        None => segment.to_owned(),
    };
    route.path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn curl(method: &str, url: &str, key_header: &str, body: Option<(&str, &str)>) -> String {
    let mut text =
        format!("curl -X {method} {} \\\n  -H {}", shell(url), shell(&format!("{key_header}: {KEY}")));
    if let Some((media_type, body)) = body {
        text.push_str(&format!(
            " \\\n  -H {} \\\n  --data {}",
            shell(&format!("Content-Type: {media_type}")),
            shell(body)
        ));
    }
    text
}

fn python(method: &str, url: &str, key_header: &str, body: Option<(&str, &str)>) -> String {
    let (data, content_type) = match body {
        Some((media_type, body)) => (
            format!(",\n    data={}.encode()", quoted(body)),
            format!(", \"Content-Type\": {}", quoted(media_type)),
        ),
        None => (String::new(), String::new()),
    };
    format!(
        "import urllib.request\n\nrequest = urllib.request.Request(\n    {},\n    method=\"{method}\",\n    \
         headers={{\"{key_header}\": \"{KEY}\"{content_type}}}{data},\n)\nwith urllib.request.urlopen(request) as \
         answer:\n    print(answer.status, answer.read().decode())",
        quoted(url)
    )
}

fn javascript(method: &str, url: &str, key_header: &str, body: Option<(&str, &str)>) -> String {
    let (data, content_type) = match body {
        Some((media_type, body)) => {
            (format!("\n  body: {},", quoted(body)), format!(", \"Content-Type\": {}", quoted(media_type)))
        }
        None => (String::new(), String::new()),
    };
    format!(
        "const answer = await fetch({}, {{\n  method: \"{method}\",\n  headers: {{ \"{key_header}\": \"{KEY}\"{content_type} \
         }},{data}\n}});\nconsole.log(answer.status, await answer.text());",
        quoted(url)
    )
}

/// A header's name as people write it: `X-Api-Key`. Names are tokens: nothing in them needs quoting.
fn spelled(name: &str) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// In single quotes, in which a shell reads nothing.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// As a JSON string in ASCII, which Python and JavaScript read alike.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for unit in text.encode_utf16() {
        match u8::try_from(unit).map(char::from) {
            Ok(c @ ('"' | '\\')) => quoted.extend(['\\', c]),
            Ok(c @ ' '..='~') => quoted.push(c),
            _ => quoted.push_str(&format!("\\u{unit:04x}")),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::definition::{Operation, Parameter, RequestBody};
    use apiclay_config::ids::RouteId;

    #[test]
    fn what_a_vendor_wrote_cannot_leave_its_quotes() {
        let parameter = Parameter {
            name: "city".into(),
            place: "path".into(),
            required: true,
            description: None,
            kind: None,
            example: Some(serde_json::json!("'; rm -rf ~ #")),
        };
        let body = RequestBody {
            media_type: "application/json\"); evil(".into(),
            required: true,
            example: Some(serde_json::json!({"a": "' \" \\ \u{2028} 😀"})),
        };
        let route = PageRoute {
            id: RouteId::from_u128(1),
            method: "POST".into(),
            path: "/now/{city}".into(),
            summary: None,
            operation: Some(Operation {
                parameters: vec![parameter],
                request_body: Some(body),
                ..Operation::default()
            }),
        };
        let curl = snippet(&route, "http://127.0.0.1:8000/a/b", "x-api-key", Lang::Curl);
        assert!(curl.contains("/now/%27%3B%20rm%20-rf%20~%20%23'"), "{curl}");
        assert!(curl.contains("'X-Api-Key: YOUR_KEY'"), "{curl}");
        assert!(curl.contains(r#"'{"a":"'\'' "#), "{curl}");
        for lang in [Lang::Python, Lang::Javascript] {
            let text = snippet(&route, "http://127.0.0.1:8000/a/b", "x-vendor-key", lang);
            assert!(text.is_ascii() && text.contains(r#"application/json\"); evil("#), "{text}");
            assert!(text.contains("\"X-Vendor-Key\": \"YOUR_KEY\""), "{text}");
        }
    }
}
