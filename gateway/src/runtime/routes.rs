//! A listing's routes as a tree of path segments, flat in three rows: large markets have many, and a look-up reads few places. A fixed
//! segment goes before a parameter, and that before the rest of a path; where one leads to nothing, the next is tried.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Route;

/// The routes of a listing.
#[derive(Default)]
pub struct Routes {
    /// The root first; the fixed children of one stand side by side, by their segments.
    nodes: Box<[Node]>,
    segments: Box<str>,
    routes: Box<[Route]>,
}

/// The end of a segment.
#[derive(Default)]
struct Node {
    segment: Span,
    /// Those that go on with a fixed segment.
    fixed: Span,
    /// That which goes on with any segment; 0 where none does, as the root follows nothing.
    any: u32,
    /// Routes that end here, and from here on those that take the rest of the path.
    routes: Span,
    rest: u32,
}

#[derive(Clone, Copy, Default)]
struct Span {
    begin: u32,
    end: u32,
}

impl Span {
    const fn range(self) -> Range<usize> {
        self.begin as usize..self.end as usize
    }
}

/// Two routes that no call can tell apart.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}`: another route of this method takes the same paths")]
pub struct SamePaths(String);

impl Routes {
    /// These routes by their paths, which are [valid](apiclay_config::snapshot::parse_path).
    ///
    /// # Errors
    /// When two are of one method and take the same paths.
    pub fn new<'p>(routes: impl IntoIterator<Item = (&'p str, Route)>) -> Result<Self, SamePaths> {
        let mut root = Branch::default();
        for (path, route) in routes {
            let ends = root.ends_of(path);
            if ends.iter().any(|other| other.method == route.method) {
                return Err(SamePaths(format!("{} {path}", route.method)));
            }
            ends.push(route);
        }
        Ok(root.flat())
    }

    /// Which routes take this path, of all methods; none where the range is empty.
    #[must_use]
    pub fn at(&self, path: &str) -> Range<usize> {
        let rest = path.strip_prefix('/').filter(|_| !self.nodes.is_empty());
        rest.and_then(|rest| self.below(0, rest)).unwrap_or_default()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Route> {
        self.routes.get(at)
    }

    /// The routes that take `rest` after a node and a slash. A node is met once at most: how deep it is says what is left.
    fn below(&self, node: usize, rest: &str) -> Option<Range<usize>> {
        let node = &self.nodes[node];
        let (segment, after) = match memchr::memchr(b'/', rest.as_bytes()) {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        let through = |next: usize| match after {
            Some(after) => self.below(next, after),
            None => {
                let next = &self.nodes[next];
                Some(next.routes.begin as usize..next.rest as usize).filter(|here| !here.is_empty())
            }
        };
        let children = &self.nodes[node.fixed.range()];
        let named = children.binary_search_by_key(&segment, |child| &self.segments[child.segment.range()]);
        let named = named.ok().and_then(|at| through(node.fixed.begin as usize + at));
        let any = || Some(node.any as usize).filter(|any| *any > 0 && !segment.is_empty());
        let all = || Some(node.rest as usize..node.routes.end as usize);
        named
            .or_else(|| any().and_then(through))
            .or_else(|| all().filter(|all| !rest.is_empty() && !all.is_empty()))
    }
}

/// The tree while it grows.
#[derive(Default)]
struct Branch<'p> {
    fixed: BTreeMap<&'p str, Branch<'p>>,
    any: Option<Box<Branch<'p>>>,
    here: Vec<Route>,
    rest: Vec<Route>,
}

impl<'p> Branch<'p> {
    /// Where routes of this path end.
    fn ends_of(&mut self, path: &'p str) -> &mut Vec<Route> {
        let mut branch = self;
        for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
            if segment.starts_with("{*") {
                return &mut branch.rest;
            }
            branch = if segment.starts_with('{') {
                branch.any.get_or_insert_default()
            } else {
                branch.fixed.entry(segment).or_default()
            };
        }
        &mut branch.here
    }

    /// Breadth first, so that children stand side by side.
    fn flat(self) -> Routes {
        let (mut nodes, mut segments, mut routes) = (vec![Node::default()], String::new(), Vec::new());
        let mut branches = std::collections::VecDeque::from([self]);
        let mut at = 0;
        while let Some(branch) = branches.pop_front() {
            let begin = nodes.len();
            for (segment, child) in branch.fixed {
                let span = Span { begin: place(segments.len()), end: place(segments.len() + segment.len()) };
                segments.push_str(segment);
                nodes.push(Node { segment: span, ..Node::default() });
                branches.push_back(child);
            }
            let fixed = Span { begin: place(begin), end: place(nodes.len()) };
            let any = if let Some(child) = branch.any {
                nodes.push(Node::default());
                branches.push_back(*child);
                fixed.end
            } else {
                0
            };
            let begin = place(routes.len());
            routes.extend(branch.here);
            let rest = place(routes.len());
            routes.extend(branch.rest);
            let segment = nodes[at].segment;
            nodes[at] = Node { segment, fixed, any, routes: Span { begin, end: place(routes.len()) }, rest };
            at += 1;
        }
        Routes { nodes: nodes.into(), segments: segments.into(), routes: routes.into() }
    }
}

/// A frame of configuration has 1 GiB at most: nothing in it is counted beyond this.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use apiclay_config::ids::RouteId;
    use apiclay_config::snapshot::parse_path;
    use http::Method;
    use proptest::prelude::*;

    use super::*;

    fn route(method: Method, number: u128) -> Route {
        Route { id: RouteId::from_u128(number), method, plugins: Box::default() }
    }

    fn routes(paths: &[&str]) -> Routes {
        Routes::new(paths.iter().enumerate().map(|(n, path)| (*path, route(Method::GET, n as u128)))).unwrap()
    }

    fn found(routes: &Routes, path: &str) -> Vec<u128> {
        routes.at(path).map(|at| routes.get(at).unwrap().id.as_u128()).collect()
    }

    #[test]
    fn the_narrower_of_two_goes_first_and_what_leads_to_nothing_is_left_again() {
        let routes =
            routes(&["/", "/a", "/a/", "/a/{x}", "/{y}/b", "/a/c/d", "/{*rest}", "/a/{x}/e/{*rest}"]);
        for (path, number) in [
            ("/", Some(0)),
            ("/a", Some(1)),
            ("/a/", Some(2)),
            ("/a/c", Some(3)),
            ("/a/b", Some(3)),
            ("/z/b", Some(4)),
            ("/a/c/d", Some(5)),
            ("/a/c/e", Some(6)),
            ("/a/c/e/f/g", Some(7)),
            ("/a/c/e/", Some(6)),
            ("//", Some(6)),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(found(&routes, path), number.into_iter().collect::<Vec<_>>(), "{path}");
        }
        assert!(Routes::default().at("/a").is_empty());
    }

    #[test]
    fn names_of_parameters_tell_no_routes_apart_and_methods_do() {
        let both = [("/a/{x}", route(Method::GET, 1)), ("/a/{y}", route(Method::POST, 2))];
        assert_eq!(found(&Routes::new(both).unwrap(), "/a/z"), [1, 2]);
        let same = [("/a/{x}", route(Method::GET, 1)), ("/a/{y}", route(Method::GET, 2))];
        let wrong = Routes::new(same).err().unwrap();
        assert_eq!(wrong.to_string(), "`GET /a/{y}`: another route of this method takes the same paths");
    }

    proptest! {
        /// As a router does that others use.
        #[test]
        fn a_path_finds_what_it_finds_elsewhere(
            told in proptest::collection::vec("(/(a|b|ab|\\{x\\}|\\{y\\})){0,4}(/|/\\{\\*r\\})?", 1..12),
            asked in proptest::collection::vec("(/(a|b|ab|c|)){0,6}", 1..24),
        ) {
            let mut theirs = matchit::Router::new();
            let mut ours = Vec::new();
            for (number, path) in told.iter().enumerate() {
                if parse_path(path).is_ok() && theirs.insert(path.as_str(), number as u128).is_ok() {
                    ours.push((path.as_str(), route(Method::GET, number as u128)));
                }
            }
            let ours = Routes::new(ours).unwrap();
            for path in &asked {
                let theirs: Vec<u128> = theirs.at(path).into_iter().map(|found| *found.value).collect();
                prop_assert_eq!(found(&ours, path), theirs, "{} among {:?}", path, told);
            }
        }
    }
}
