//! One route of a listing as its page shows it: its words, its parameters, code to paste, and what the playground asks
//! for. Pure.

use apiclay_config::ids::RouteId;

use crate::catalog::definition::{Operation, Parameter};
use crate::discover::page::PageRoute;
use crate::discover::snippets::{Lang, snippet};

/// A route in the list.
#[derive(Debug)]
pub(super) struct RouteLink {
    pub id: RouteId,
    pub method: String,
    pub path: String,
    pub chosen: bool,
}

/// The chosen route.
#[derive(Debug)]
pub(super) struct RouteShown {
    pub method: String,
    pub path: String,
    pub summary: Option<String>,
    pub description: Option<String>,
    pub deprecated: bool,
    pub fields: Vec<Field>,
    pub body: Option<Body>,
    pub answers: Vec<(String, String)>,
    pub code: Vec<(&'static str, &'static str, String)>,
}

/// A parameter.
#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub place: String,
    pub required: bool,
    pub kind: String,
    pub description: String,
    pub example: String,
    /// Whether it is the rest of the path, slashes included.
    pub rest: bool,
}

/// A request's body.
#[derive(Debug)]
pub(super) struct Body {
    pub media_type: String,
    pub required: bool,
    pub example: String,
}

impl RouteLink {
    pub(super) fn new(route: &PageRoute, chosen: Option<RouteId>) -> Self {
        Self {
            id: route.id,
            method: route.method.clone(),
            path: route.path.clone(),
            chosen: chosen == Some(route.id),
        }
    }
}

impl RouteShown {
    /// `server` is where the listing is called.
    pub(super) fn new(route: &PageRoute, server: &str, key_header: &str) -> Self {
        let nothing = Operation::default();
        let known = route.operation.as_ref().unwrap_or(&nothing);
        let code = [
            ("curl", "curl", Lang::Curl),
            ("python", "Python", Lang::Python),
            ("javascript", "JavaScript", Lang::Javascript),
        ];
        let answers = known.responses.iter();
        Self {
            method: route.method.clone(),
            path: route.path.clone(),
            summary: route.summary.clone().or_else(|| known.summary.clone()),
            description: known.description.clone(),
            deprecated: known.deprecated,
            fields: fields(&route.path, &known.parameters),
            body: body(route, known),
            answers: answers
                .map(|answer| (answer.status.clone(), answer.description.clone().unwrap_or_default()))
                .collect(),
            code: code
                .into_iter()
                .map(|(id, name, lang)| (id, name, snippet(route, server, key_header, lang)))
                .collect(),
        }
    }
}

/// Every parameter of the path, whether the vendor described it or not, and then those that he described. Cookies are
/// left out: no page can set them for the gateway, and ours never go there.
fn fields(path: &str, known: &[Parameter]) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for segment in path.split('/') {
        let Some(inner) = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) else {
            continue;
        };
        let name = inner.strip_prefix('*').unwrap_or(inner);
        let described = known.iter().find(|parameter| parameter.place == "path" && parameter.name == name);
        let mut field = described.map_or_else(|| bare(name), field);
        field.rest = inner.starts_with('*');
        field.required = true;
        fields.push(field);
    }
    fields.extend(known.iter().filter(|p| matches!(p.place.as_str(), "query" | "header")).map(field));
    fields
}

fn bare(name: &str) -> Field {
    Field {
        name: name.to_owned(),
        place: "path".to_owned(),
        required: true,
        kind: String::new(),
        description: String::new(),
        example: String::new(),
        rest: false,
    }
}

fn field(parameter: &Parameter) -> Field {
    let example = match &parameter.example {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    Field {
        name: parameter.name.clone(),
        place: parameter.place.clone(),
        required: parameter.required,
        kind: parameter.kind.clone().unwrap_or_default(),
        description: parameter.description.clone().unwrap_or_default(),
        example,
        rest: false,
    }
}

/// The described body; where nothing is described, methods that usually have one may be given one.
fn body(route: &PageRoute, known: &Operation) -> Option<Body> {
    match &known.request_body {
        Some(body) => Some(Body {
            media_type: body.media_type.clone(),
            required: body.required,
            example: body
                .example
                .as_ref()
                .and_then(|example| serde_json::to_string_pretty(example).ok())
                .unwrap_or_default(),
        }),
        None if route.operation.is_none() && matches!(route.method.as_str(), "POST" | "PUT" | "PATCH") => {
            Some(Body { media_type: "application/json".to_owned(), required: false, example: String::new() })
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_parameters_are_asked_for_even_where_nobody_described_them() {
        let query = Parameter {
            name: "units".into(),
            place: "query".into(),
            required: false,
            description: None,
            kind: Some("string".into()),
            example: Some(serde_json::json!("metric")),
        };
        let fields = fields("/now/{city}/{*rest}", &[query]);
        let told: Vec<_> =
            fields.iter().map(|f| (f.name.as_str(), f.place.as_str(), f.required, f.rest)).collect();
        assert_eq!(
            told,
            [("city", "path", true, false), ("rest", "path", true, true), ("units", "query", false, false)]
        );
        assert_eq!(fields[2].example, "metric");
    }
}
