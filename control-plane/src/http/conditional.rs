//! Changes with care: an answer bears the document's version as ETag, and a change may name it in If-Match; another
//! version is 412. The version goes on to `Store::replace`, which holds it against the stored one in the same write.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::problem::{Code, Problem};

/// The versions that the client would change, if it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// It did not say.
    Absent,
    /// Whatever is there.
    Any,
    /// One of these.
    Versions(Vec<i64>),
}

impl IfMatch {
    /// Holds the stored version against it.
    ///
    /// # Errors
    /// 412 where it is another.
    pub fn check(&self, version: i64) -> Result<(), Problem> {
        match self {
            Self::Versions(wanted) if !wanted.contains(&version) => {
                Err(Problem::new(Code::PreconditionFailed, "read it again and repeat the change"))
            }
            _ => Ok(()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let malformed =
            || Problem::new(Code::RequestMalformed, "If-Match is `*` or the ETag of an answer of ours");
        let mut versions = Vec::new();
        for value in parts.headers.get_all(header::IF_MATCH) {
            for tag in value.to_str().map_err(|_| malformed())?.split(',').map(str::trim) {
                if tag == "*" {
                    return Ok(Self::Any);
                }
                let version =
                    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(malformed)?;
                // A tag that is not a number is no version of ours: it matches nothing.
                versions.push(version.parse().unwrap_or(-1));
            }
        }
        Ok(if versions.is_empty() { Self::Absent } else { Self::Versions(versions) })
    }
}

/// An answer with the version it shows.
#[derive(Debug)]
pub struct Tagged<T>(pub i64, pub T);

impl<T: IntoResponse> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.0)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(value: &str) -> Result<IfMatch, Problem> {
        let request = axum::http::Request::builder().header(header::IF_MATCH, value).body(()).unwrap();
        IfMatch::from_request_parts(&mut request.into_parts().0, &()).await
    }

    #[tokio::test]
    async fn another_version_is_refused() {
        let tags = of("\"3\", \"5\"").await.unwrap();
        assert!(tags.check(3).is_ok() && tags.check(5).is_ok());
        assert_eq!(tags.check(4).unwrap_err().code(), Code::PreconditionFailed);
        assert!(of("*").await.unwrap().check(9).is_ok());
        assert!(of("\"other\"").await.unwrap().check(1).is_err());
        assert!(of("3").await.is_err());
        assert!(IfMatch::Absent.check(1).is_ok());
    }
}
