//! The tunnel through one proxy: a connection to it, TLS with it if it speaks that, and its consent to go on.
//!
//! The protocols of the proxies are hyper's and tokio-socks'; the connection below them is ours, so that the address
//! policy holds for the proxy as for every other server.

use std::{io, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, zeroize::Zeroizing};
use tokio_rustls::TlsConnector;
use tokio_socks::{TargetAddr, tcp::Socks5Stream};
use tokio_util::io::InspectReader;
use url::Host;

use super::{
    connect::{Connector, Tenant},
    stream::Stream,
};
use crate::{
    names::Scheme,
    network::{
        faults::{EndpointProblem, TransportFault},
        tls, wire,
    },
    references::{
        anchors::Anchors,
        gateway::{Endpoint, ProxyLogin},
    },
};

/// Longest head of a proxy's answer. Nothing in it is of use to us but the status.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Longest name of a host (RFC 1035, section 2.3.4), with a final dot.
const MAX_NAME_BYTES: usize = 254;

/// What a tunnel stands on.
pub(super) struct Floor<'a> {
    pub(super) tenant: Tenant<'a>,
    pub(super) connector: &'a Connector,
    pub(super) system: &'a Arc<Anchors>,
}

/// The target as a proxy is to be asked for it: names are resolved by the proxy, but for `socks5`.
pub(super) async fn target_for(
    endpoint: &Endpoint,
    target: &(Host<String>, u16),
    floor: &Floor<'_>,
) -> Result<(Host<String>, u16), TransportFault> {
    let (host, port) = target;
    if let Host::Domain(name) = host
        && !can_be_asked_for(name)
    {
        return Err(TransportFault::NameNotResolved);
    }
    match endpoint.url.scheme {
        Scheme::Http | Scheme::Https | Scheme::Socks5h => {
            let permitted = floor.tenant.rules.permit_elsewhere(&borrowed(host), *port);
            permitted.map(|()| target.clone()).map_err(TransportFault::NotAllowed)
        }
        Scheme::Socks5 => {
            let found = floor.connector.addresses(floor.tenant, host, *port).await?;
            let first = found.first().ok_or(TransportFault::NameNotResolved)?;
            let host = match first.ip() {
                IpAddr::V4(ip) => Host::Ipv4(ip),
                IpAddr::V6(ip) => Host::Ipv6(ip),
            };
            Ok((host, *port))
        }
    }
}

/// Whether a proxy can be asked for a name: the rules for the host of a URL allow characters that no request to a proxy
/// can hold, and no name of a server has.
fn can_be_asked_for(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(sound)
}

/// Connects to a proxy, and lets it connect to the target.
pub(super) async fn ask(
    endpoint: &Endpoint,
    target: &(Host<String>, u16),
    floor: &Floor<'_>,
) -> Result<Box<dyn Stream>, EndpointProblem> {
    let stream = reach(endpoint, floor).await.map_err(unreachable)?;
    match endpoint.url.scheme {
        Scheme::Http | Scheme::Https => connect(stream, endpoint.login.as_ref(), target).await,
        Scheme::Socks5 | Scheme::Socks5h => socks(stream, endpoint.login.as_ref(), target).await,
    }
}

/// The connection to the proxy itself.
async fn reach(endpoint: &Endpoint, floor: &Floor<'_>) -> Result<Box<dyn Stream>, TransportFault> {
    let (url, material) = (&endpoint.url, &endpoint.tls);
    let Floor { tenant, connector, system } = floor;
    tenant.rules.permit_host(&borrowed(&url.host), url.port).map_err(TransportFault::NotAllowed)?;
    let stream = connector.connect(*tenant, &url.host, url.port).await?;
    if !url.is_tls() {
        return Ok(Box::new(stream));
    }
    let client = tls::Client::new(material, system);
    let name = material.server_name.as_ref().map_or_else(|| bare(&url.host), |name| name.as_str().to_owned());
    let name = ServerName::try_from(name).map_err(|_| TransportFault::NameNotResolved)?;
    let stream = TlsConnector::from(client.config().0).connect(name, stream).await;
    let fault = |error: io::Error| client.refine(wire::fault_of(&error).unwrap_or(TransportFault::Failed));
    Ok(Box::new(stream.map_err(fault)?))
}

/// HTTP CONNECT.
async fn connect(
    stream: Box<dyn Stream>,
    login: Option<&ProxyLogin>,
    (host, port): &(Host<String>, u16),
) -> Result<Box<dyn Stream>, EndpointProblem> {
    let broken = |error: hyper::Error| {
        let not_http = error.is_parse() || error.is_parse_too_large();
        if not_http { EndpointProblem::NotProxy } else { unreachable(cause(&error)) }
    };
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    // It ends with the stream, or with `sender` if there is to be none.
    let connection = tokio::spawn(connection.with_upgrades());
    let authority = format!("{host}:{port}");
    let mut request = Request::connect(&authority).header(header::HOST, &authority);
    if let Some(login) = login {
        request = request.header(header::PROXY_AUTHORIZATION, basic(login));
    }
    // The name was looked at before; whatever else cannot be asked for is no target that a proxy gives.
    let request = request.body(String::new()).map_err(|_| EndpointProblem::TargetRefused)?;
    let answer = match sender.send_request(request).await {
        Ok(answer) => answer,
        Err(error) if error.is_canceled() || error.is_closed() => {
            // It broke before the request was sent, such as by an alert that tells what a proxy thinks of our
            // certificate; only the connection knows why.
            let ended = connection.await;
            return Err(broken(ended.ok().and_then(Result::err).unwrap_or(error)));
        }
        Err(error) => return Err(broken(error)),
    };
    match answer.status() {
        status if status.is_success() => {
            let tunnel = hyper::upgrade::on(answer).await.map_err(broken)?;
            Ok(Box::new(TokioIo::new(tunnel)))
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(login_refused(answer.headers())),
        // Proxies answer a CONNECT by an error of this kind when the target is denied or cannot be reached; a server
        // that is no proxy does not know the method, or takes it for something else.
        StatusCode::BAD_REQUEST
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::NOT_IMPLEMENTED => Err(EndpointProblem::NotProxy),
        status if status.is_client_error() || status.is_server_error() => Err(EndpointProblem::TargetRefused),
        _ => Err(EndpointProblem::NotProxy),
    }
}

/// Login schemes of proxies that a message names, in lower case and as people write them. Ours is `Basic`.
const LOGIN_SCHEMES: [(&str, &str); 5] = [
    ("ntlm", "NTLM"),
    ("digest", "Digest"),
    ("negotiate", "Negotiate"),
    ("kerberos", "Kerberos"),
    ("bearer", "Bearer"),
];

/// Why a proxy did not accept the login: it is wrong or missing, or the proxy offers only others than `Basic`.
fn login_refused(headers: &http::HeaderMap) -> EndpointProblem {
    let offers: Vec<String> = headers
        .get_all(header::PROXY_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        // Each part is a scheme with a parameter or none, or one more parameter of the scheme before it.
        .filter_map(|part| part.split_whitespace().next().filter(|word| !word.contains('=')))
        .map(str::to_lowercase)
        .collect();
    if offers.is_empty() || offers.iter().any(|offer| offer == "basic") {
        return EndpointProblem::LoginRefused;
    }
    let known = LOGIN_SCHEMES.iter().filter(|(scheme, _)| offers.iter().any(|offer| offer == scheme));
    EndpointProblem::LoginSchemes(known.map(|(_, written)| *written).collect())
}

/// SOCKS version 5.
async fn socks(
    stream: Box<dyn Stream>,
    login: Option<&ProxyLogin>,
    (host, port): &(Host<String>, u16),
) -> Result<Box<dyn Stream>, EndpointProblem> {
    use tokio_socks::Error;
    let target = match host {
        Host::Domain(name) => TargetAddr::Domain(name.into(), *port),
        Host::Ipv4(ip) => TargetAddr::Ip((*ip, *port).into()),
        Host::Ipv6(ip) => TargetAddr::Ip((*ip, *port).into()),
    };
    let mut heard = 0;
    let stream = InspectReader::new(stream, |bytes: &[u8]| heard += bytes.len());
    let outcome = match login {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some(ProxyLogin { username, password }) => {
            let (username, password) = (username.expose_secret(), password.expose_secret());
            Socks5Stream::connect_with_password_and_socket(stream, target, username, password).await
        }
    };
    let outcome = outcome.map(|tunnel| tunnel.into_inner().into_inner());
    match outcome {
        Ok(tunnel) => Ok(tunnel),
        // OpenSSH takes part in the talk, and hangs up instead of saying that it cannot reach the target.
        Err(Error::Io(error)) if heard > 0 && error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(EndpointProblem::TargetRefused)
        }
        Err(Error::Io(error)) => Err(unreachable(cause(&error))),
        Err(
            Error::NoAcceptableAuthMethods
            | Error::PasswordAuthFailure(_)
            | Error::InvalidAuthValues(_)
            | Error::AuthorizationRequired
            | Error::IdentdAuthFailure
            | Error::InvalidUserIdAuthFailure,
        ) => Err(EndpointProblem::LoginRefused),
        Err(
            Error::GeneralSocksServerFailure
            | Error::ConnectionNotAllowedByRuleset
            | Error::NetworkUnreachable
            | Error::HostUnreachable
            | Error::ConnectionRefused
            | Error::TtlExpired
            | Error::CommandNotSupported
            | Error::AddressTypeNotSupported,
        ) => Err(EndpointProblem::TargetRefused),
        Err(
            Error::ParseError(_)
            | Error::InvalidTargetAddress(_)
            | Error::ProxyServerUnreachable
            | Error::InvalidResponseVersion
            | Error::UnknownAuthMethod
            | Error::UnknownError
            | Error::InvalidReservedByte
            | Error::UnknownAddressType,
        ) => Err(EndpointProblem::NotProxy),
    }
}

/// `Basic` credentials (RFC 7617).
fn basic(login: &ProxyLogin) -> HeaderValue {
    let (username, password) = (login.username.expose_secret(), login.password.expose_secret());
    let text = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(text.as_bytes())));
    // Base64 is ASCII, so there is no other case than the first.
    let mut value = HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &Host<String>) -> String {
    match host {
        Host::Domain(name) => name.clone(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    }
}

/// A host as the address policy takes it.
fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name.as_str()),
        Host::Ipv4(ip) => Host::Ipv4(*ip),
        Host::Ipv6(ip) => Host::Ipv6(*ip),
    }
}

fn unreachable(fault: TransportFault) -> EndpointProblem {
    EndpointProblem::Unreachable(Box::new(fault))
}

fn cause(error: &(dyn std::error::Error + 'static)) -> TransportFault {
    wire::fault_of(error).unwrap_or(TransportFault::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_takes_no_basic_login_is_distinguished_from_one_that_refuses_it() {
        let problem = |offers: &[&'static str]| {
            let value = |offer: &&'static str| (header::PROXY_AUTHENTICATE, HeaderValue::from_static(offer));
            login_refused(&offers.iter().map(value).collect())
        };
        let refused = EndpointProblem::LoginRefused;
        let schemes = |names: &[&'static str]| EndpointProblem::LoginSchemes(names.to_vec());
        let table: &[(&[&'static str], EndpointProblem)] = &[
            (&[], refused.clone()),
            (&["Basic realm=\"a, b\""], refused.clone()),
            (&["NTLM", "basic realm=x"], refused.clone()),
            (&["Negotiate, BASIC realm=x"], refused),
            (&["NTLM"], schemes(&["NTLM"])),
            (&["Digest realm=\"x\", qop=\"auth\", nonce=\"n\""], schemes(&["Digest"])),
            (&["Negotiate", "NTLM"], schemes(&["NTLM", "Negotiate"])),
            (&["Canary-7 x=y"], schemes(&[])),
        ];
        for (offers, expected) in table {
            assert_eq!(problem(offers), *expected, "{offers:?}");
        }
    }

    #[test]
    fn a_name_that_no_request_can_hold_is_not_asked_for() {
        for name in ["vault.example.com", "vault.example.com.", "_x.y-z", "vault"] {
            assert!(can_be_asked_for(name), "{name}");
        }
        for name in ["a\"b.example", "a b", "a{b}", "a`b", "", "a\r\nb", &"a".repeat(255)] {
            assert!(!can_be_asked_for(name), "{name:?}");
        }
    }
}
