//! Who may do what: the scope that each route needs, checked before anything else is done.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};

use crate::config::{Access, Scope};
use crate::protocol::{Problem, ProblemCode};

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing: probes and documentation.
    Nothing,
    /// Any valid token: looking.
    AnyToken,
    /// A token with this scope.
    Scope(Scope),
}

/// Refuses a caller without the scope that this route needs.
pub(super) fn check(access: &Access, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    if access.is_open() {
        return Ok(());
    }
    let sent = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let need = need(method, path);
    let allowed = match need {
        Need::Nothing => true,
        Need::AnyToken => [Scope::Submit, Scope::Worker, Scope::Admin].into_iter().any(|s| access.allows(sent, s)),
        Need::Scope(scope) => access.allows(sent, scope),
    };
    if allowed {
        return Ok(());
    }
    let wanted = match need {
        Need::Scope(Scope::Submit) => "a token with the scope submit",
        Need::Scope(Scope::Worker) => "a token with the scope worker",
        Need::Scope(Scope::Admin) => "a token with the scope admin",
        Need::AnyToken | Need::Nothing => "a token",
    };
    let sent = if sent.is_some() { "the token that was sent does not allow it" } else { "none was sent" };
    Err(Problem::new(
        ProblemCode::Unauthorized,
        format!("{method} {path} needs {wanted} (Authorization: Bearer TOKEN); {sent}"),
    ))
}

fn need(method: &Method, path: &str) -> Need {
    let mut segments = path.split('/').skip(1);
    let parts = (segments.next().unwrap_or_default(), segments.next(), segments.next());
    match parts {
        ("livez" | "readyz" | "docs" | "openapi.json", None, _) | ("v2", Some("health"), _) => Need::Nothing,
        ("infer" | "priority" | "result", ..) => Need::Scope(Scope::Submit),
        ("v2", ..) if method == Method::POST => Need::Scope(Scope::Submit),
        ("workers", Some(_), Some("control" | "heartbeat")) => Need::Scope(Scope::Worker),
        ("workers", Some(_), Some(_)) => Need::Scope(Scope::Admin),
        ("workers", ..) if method == Method::POST || method == Method::DELETE => Need::Scope(Scope::Worker),
        _ => Need::AnyToken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_scope() {
        let need = |method: Method, path: &str| need(&method, path);
        assert_eq!(need(Method::GET, "/livez"), Need::Nothing);
        assert_eq!(need(Method::GET, "/v2/health/live"), Need::Nothing);
        for path in ["/infer", "/infer/async", "/priority/infer", "/v2/models/m/infer"] {
            assert_eq!(need(Method::POST, path), Need::Scope(Scope::Submit), "{path}");
        }
        assert_eq!(need(Method::DELETE, "/result/x"), Need::Scope(Scope::Submit));
        assert_eq!(need(Method::POST, "/workers"), Need::Scope(Scope::Worker));
        assert_eq!(need(Method::GET, "/workers/w/control"), Need::Scope(Scope::Worker));
        assert_eq!(need(Method::DELETE, "/workers/w"), Need::Scope(Scope::Worker));
        for action in ["kill", "revive", "drain", "resume", "faults"] {
            let path = format!("/workers/w/{action}");
            assert_eq!(need(Method::POST, &path), Need::Scope(Scope::Admin), "{path}");
        }
        for path in ["/status", "/workers", "/workers/performance", "/events", "/metrics", "/nowhere"] {
            assert_eq!(need(Method::GET, path), Need::AnyToken, "{path}");
        }
    }
}
