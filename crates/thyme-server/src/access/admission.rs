//! Who is let in: decided from the head of a request, before anything of its body is read.

use std::net::IpAddr;

use super::caller::{Caller, Who};
use super::keyring::{Found, Keyring};
use crate::request::Reply;

/// What the head of a request says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub path: &'a str,
    pub authorization: Option<&'a str>,
    /// Whom it is for, wherever that is said.
    pub hosts: [Option<&'a str>; 2],
    /// Whose page sent it, if a page did.
    pub origin: Option<&'a str>,
}

/// How a server is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Openness<'a> {
    /// `None` while it starts.
    pub keys: Option<&'a Keyring>,
    /// Whether it answers this machine only.
    pub is_loopback: bool,
}

/// Lets a caller in, or says why not. `now` is a clock that only goes forward, in nanoseconds.
pub(crate) fn admit(open: Openness<'_>, head: Head<'_>, now: impl FnOnce() -> u64) -> Result<Caller, Reply> {
    let needs_no_key = matches!(head.path, "/health" | "/metrics");
    let is_keyed = !open.is_loopback || open.keys.is_some_and(Keyring::is_keyed);
    if !is_keyed {
        // A name that resolves here (DNS rebinding) is somebody else's.
        if let Some(host) = head.hosts.into_iter().flatten().find(|host| !is_local(host)) {
            let detail =
                format!("the Host header is \"{host}\"; without API keys only localhost is answered");
            return Err(Reply::failure(403, "forbidden", &detail, &[]));
        }
        // A page of somebody else may send this machine what needs no reading of the answer: events, or an end of a job.
        if let Some(origin) = head.origin.filter(|origin| !is_local_origin(origin)) {
            let detail = format!(
                "the Origin header is \"{}\"; without API keys only pages of this machine are answered",
                origin.chars().take(100).collect::<String>()
            );
            return Err(Reply::failure(403, "forbidden", &detail, &[]));
        }
        // What keys there are is not known before the data directory is open.
        let who = if open.keys.is_some() { Who::Local } else { Who::Stranger };
        return Ok(Caller(who));
    }
    if needs_no_key {
        return Ok(Caller(Who::Stranger));
    }
    // Nothing is answered yet but that.
    let Some(keys) = open.keys else { return Ok(Caller(Who::Stranger)) };
    let scheme = head.authorization.and_then(|text| text.split_once(' '));
    let given =
        scheme.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, text)| text.trim());
    match given.map_or(Found::Unknown, |text| keys.find(text)) {
        Found::Live(live) => match live.take(now) {
            Ok(()) => Ok(Caller(Who::Key(live))),
            Err((seconds, rate)) => {
                let detail = format!(
                    "the API key {} may ask {rate}, and asks more often; nothing was done: ask again in {seconds} s",
                    live.key.id
                );
                Err(Reply::failure(429, "rate_limited", &detail, &[])
                    .with_header("retry-after", seconds.to_string()))
            }
        },
        Found::Revoked(live, at) => Err(unauthorized(&format!(
            "the API key {} was revoked at {}; ask for another",
            live.key.id,
            thyme_core::time::format_rfc3339(at)
        ))),
        Found::Expired(live, at) => Err(unauthorized(&format!(
            "the API key {} expired at {}; ask for another",
            live.key.id,
            thyme_core::time::format_rfc3339(at)
        ))),
        Found::Unknown if given.is_some() => Err(unauthorized(
            "the API key is not known here; `thyme keys list` on the server's side has those that are",
        )),
        Found::Unknown => Err(unauthorized(
            "this server needs an API key: send Authorization: Bearer KEY (thyme login stores one, THYME_API_KEY gives one)",
        )),
    }
}

fn unauthorized(detail: &str) -> Reply {
    Reply::failure(401, "unauthorized", detail, &[]).with_header("www-authenticate", "Bearer".into())
}

fn is_local_origin(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| is_local(host))
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:80", "[::1]:8080", "LOCALHOST:1"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "10.0.0.1", "127.0.0.1.evil.example", ""] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn only_pages_of_this_machine_are_local() {
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:80"] {
            assert!(is_local_origin(origin), "{origin}");
        }
        for origin in ["null", "", "localhost", "https://evil.example", "http://localhost.evil.example"] {
            assert!(!is_local_origin(origin), "{origin}");
        }
    }

    #[test]
    fn until_the_keys_are_known_nobody_is_anybody() {
        for is_loopback in [true, false] {
            let open = Openness { keys: None, is_loopback };
            let head = Head {
                path: "/features",
                authorization: Some("Bearer thyme_00000000_00"),
                hosts: [None; 2],
                origin: None,
            };
            let caller = admit(open, head, || 0).unwrap();
            assert!(matches!(caller.0, Who::Stranger), "{caller:?}");
        }
    }
}
