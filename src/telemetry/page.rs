//! The status page: all connections and gateways, for people with a browser.
//!
//! ```text
//!   engine ─▶ board: a row for each object ─▶ select: what a visitor asks for ─▶ html
//! ```
//!
//! It is served to whoever reaches the port of the probes, and only if a flag asks for it. So it holds what statuses hold and
//! nothing more, runs no script, fetches nothing, and is bounded in size.

pub mod board;
mod html;
mod select;
#[cfg(test)]
mod testing;

use std::net::IpAddr;

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    },
    uri::Authority,
};
use k8s_openapi::jiff::Timestamp;

use self::{board::Board, select::Query};
use crate::telemetry::serve::Stage;

/// Keeps others from reading the page as a part of theirs.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What is true of the operator as a whole.
#[derive(Debug)]
pub struct Around {
    /// How far it has come.
    pub stage: Stage,
    /// The objects that cannot be listed, by kind and namespace; empty means all namespaces.
    pub unlisted: Vec<(&'static str, String)>,
    /// Now.
    pub now: Timestamp,
}

/// Answers a request for the page, by its `Host` and its query.
pub fn respond(board: &Board, around: &Around, host: Option<&str>, query: Option<&str>) -> Response<String> {
    if !host.is_none_or(is_own_name) {
        let text =
            "this page answers to IP addresses, localhost and names of Services: use kubectl port-forward";
        return response(StatusCode::MISDIRECTED_REQUEST, "text/plain; charset=utf-8", text.to_owned());
    }
    let query = Query::parse(query.unwrap_or_default());
    let text = match around.stage {
        Stage::Standby => html::standby(around, &query),
        Stage::Starting | Stage::Working => html::page(around, &query, &select::select(board.rows(), &query)),
    };
    response(StatusCode::OK, "text/html; charset=utf-8", text)
}

/// Whether no stranger can have a name like this in the DNS. Else a page of theirs, in the browser of somebody who forwards
/// the port, could point its own name there and read this page (DNS rebinding).
fn is_own_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || [".localhost", ".svc", ".svc.cluster.local"].iter().any(|suffix| name.ends_with(suffix))
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let policy = HeaderValue::from_str(&html::POLICY).expect("the policy is plain ASCII");
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
        (VARY, HeaderValue::from_static("host")),
    ];
    response.headers_mut().extend(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_answers_to_names_that_no_stranger_can_have() {
        let table = [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("10.0.0.7", true),
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("operator.localhost:8080", true),
            ("vault-connection-operator", true),
            ("vault-connection-operator.system.svc:8080", true),
            ("vault-connection-operator.system.svc.cluster.local", true),
            ("evil.example.com", false),
            ("127.0.0.1.evil.example.com:8080", false),
            ("localhost.evil.example.com", false),
            ("evil.svc.example.com", false),
            ("", false),
            ("a b", false),
        ];
        for (host, expected) in table {
            assert_eq!(is_own_name(host), expected, "{host}");
        }
    }

    #[test]
    fn the_policy_allows_the_pages_own_style_and_nothing_else() {
        let around = Around { stage: Stage::Working, unlisted: Vec::new(), now: testing::at(testing::NOW) };
        let answer = respond(&Board::new(true), &around, None, None);
        let header = |name: HeaderName| answer.headers()[name].to_str().expect("it is ASCII").to_owned();
        let policy = header(CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
        assert_eq!(header(CACHE_CONTROL), "no-store");
        assert_eq!(answer.status(), StatusCode::OK);
        let foreign = respond(&Board::new(true), &around, Some("evil.example.com"), None);
        assert_eq!(foreign.status(), StatusCode::MISDIRECTED_REQUEST);
        assert!(!foreign.body().contains("<html"), "{}", foreign.body());
    }
}
