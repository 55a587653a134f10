//! Which proxy leads to the API server: that of the kubeconfig, or that of the environment, as kubectl chooses it.
//!
//! Pure: variables are asked for by a function. kube asks `NO_PROXY` about the proxy instead of the API server, so the choice is
//! made here. Nothing of here leads to an instance of Vault.

use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;

/// The port of a SOCKS proxy that names none: <https://datatracker.ietf.org/doc/html/rfc1928#section-3>.
const SOCKS_PORT: u16 = 1080;

/// A proxy, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The URL. It may hold a password, so it is never shown.
    pub(super) url: String,
    /// What names it, for messages.
    pub(super) place: String,
}

/// The proxy that the environment names for a server; none for loopback, and for what `NO_PROXY` lists.
/// <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>
pub(super) fn of_environment(server: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<Written> {
    let set = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            Some((name, value))
        })
    };
    let is_plain = server.scheme_str() == Some("http");
    let names = if is_plain { ["HTTP_PROXY", "http_proxy"] } else { ["HTTPS_PROXY", "https_proxy"] };
    let (name, url) = set(names)?;
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_lowercase();
    let port = server.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let excluded = set(["NO_PROXY", "no_proxy"]).is_some_and(|(_, list)| excludes(&list, &host, port));
    (!is_loopback && !excluded).then(|| Written { url, place: name.to_owned() })
}

/// Whether a `NO_PROXY` list names a host and port.
fn excludes(list: &str, host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    list.split(',').map(|entry| entry.trim().to_lowercase()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Ok(net), Some(address)) = (entry.parse::<IpNet>(), address) {
            return net.contains(&address);
        }
        let (name, wanted) = split_port(&entry);
        if name.is_empty() || wanted.is_some_and(|wanted| wanted != port) {
            return false;
        }
        if let Some(address) = address {
            return name.parse() == Ok(address);
        }
        // `example.com` is the host and all below it, `.example.com` and `*.example.com` only what is below it.
        let name = name.strip_prefix('*').unwrap_or(name);
        let below = if name.starts_with('.') { name.to_owned() } else { format!(".{name}") };
        host == name || host.ends_with(&below)
    })
}

/// An entry without its port, and the port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((inside, after)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (inside, after.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
        Some(_) | None => (entry, None),
    }
}

/// The URL as kube takes it, or what is wrong with it.
pub(super) fn parse(url: &str) -> Result<Uri, &'static str> {
    const FORM: &str = "write http://, https:// or socks5://, a host and a port";
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
    let is_socks = match scheme.to_lowercase().as_str() {
        "http" | "https" => false,
        // The proxy looks up the host name with both.
        "socks5" | "socks5h" => true,
        _ => return Err(FORM),
    };
    let scheme = if is_socks { "socks5".to_owned() } else { scheme.to_lowercase() };
    let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|_| FORM)?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(FORM)?;
    if !is_socks {
        return Ok(uri);
    }
    if authority.as_str().contains('@') {
        return Err("SOCKS proxies with a user name and password are not supported");
    }
    let port = authority.port_u16().unwrap_or(SOCKS_PORT);
    format!("socks5://{}:{port}", authority.host()).parse().map_err(|_| FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        of_environment(&server.parse().expect("a URL"), variable).map(|proxy| proxy.url)
    }

    #[test]
    fn the_environment_names_a_proxy_for_the_scheme_of_the_server() {
        let both = [("HTTPS_PROXY", "https-proxy"), ("http_proxy", "http-proxy")];
        assert_eq!(chosen("https://api.example.com:6443", &both).as_deref(), Some("https-proxy"));
        assert_eq!(chosen("http://api.example.com", &both).as_deref(), Some("http-proxy"));
        let lower = [("HTTPS_PROXY", ""), ("https_proxy", "lower")];
        assert_eq!(chosen("https://api.example.com", &lower).as_deref(), Some("lower"));
        assert_eq!(chosen("https://api.example.com", &[]), None);
        for loopback in ["https://127.0.0.1:6443", "https://[::1]:6443", "https://localhost:6443"] {
            assert_eq!(chosen(loopback, &both), None, "{loopback}");
        }
    }

    #[test]
    fn no_proxy_lists_servers_and_not_proxies() {
        let table = [
            ("proxy.example.com", "https://api.example.com:6443", true),
            ("example.com", "https://api.example.com:6443", false),
            ("api.example.com", "https://API.example.com:6443", false),
            (".example.com", "https://api.example.com:6443", false),
            ("*.example.com", "https://api.example.com:6443", false),
            (".example.com", "https://example.com", true),
            ("ample.com", "https://api.example.com", true),
            ("api.example.com:6443", "https://api.example.com:6443", false),
            ("api.example.com:443", "https://api.example.com:6443", true),
            ("api.example.com:443", "https://api.example.com", false),
            ("a, ,,10.0.0.0/8", "https://10.1.2.3", false),
            ("10.0.0.0/8", "https://11.1.2.3", true),
            ("10.1.2.3", "https://10.1.2.3:6443", false),
            ("10.1.2.3:443", "https://10.1.2.3:6443", true),
            ("fd00::/8", "https://[fd00::1]:6443", false),
            ("[fd00::1]:6443", "https://[fd00::1]:6443", false),
            ("fd00::2", "https://[fd00::1]:6443", true),
            ("*", "https://api.example.com", false),
            ("", "https://api.example.com", true),
            ("what is this?", "https://api.example.com", true),
        ];
        for (list, server, proxied) in table {
            let found = chosen(server, &[("HTTPS_PROXY", "p"), ("NO_PROXY", list)]);
            assert_eq!(found.is_some(), proxied, "{list:?} {server}");
        }
    }

    #[test]
    fn a_proxy_is_an_http_or_socks_url_and_its_password_is_in_no_message() {
        let table = [
            ("http://proxy:3128", Ok("http://proxy:3128/")),
            ("proxy:3128", Ok("http://proxy:3128/")),
            ("https://user:p%40ss@proxy:3128", Ok("https://user:p%40ss@proxy:3128/")),
            ("SOCKS5H://proxy", Ok("socks5://proxy:1080/")),
            ("socks5://[fd00::1]:1", Ok("socks5://[fd00::1]:1/")),
            ("socks5://user:canary@proxy", Err("not supported")),
            ("socks4://user:canary@proxy", Err("write http://")),
            ("http://user:canary@", Err("write http://")),
            ("http://user:canary@a b", Err("write http://")),
            ("", Err("write http://")),
        ];
        for (url, expected) in table {
            match (parse(url), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected, "{url}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
                (found, expected) => panic!("{url}: {found:?}, expected {expected:?}"),
            }
        }
    }
}
