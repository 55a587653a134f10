//! The way through one proxy: a connection to it, TLS with it if it speaks that, and its consent to go on.
//!
//! The protocols of the proxies are hyper's and tokio-socks'; the connection below them is ours, so that the address
//! policy holds for the proxy as for every other server.

use std::{io, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{RootCertStore, pki_types::ServerName};
use secrecy::{ExposeSecret, zeroize::Zeroizing};
use tokio_rustls::TlsConnector;
use tokio_socks::{TargetAddr, tcp::Socks5Stream};
use tokio_util::io::InspectReader;
use url::Host;

use super::{connect::Connector, handover::Stream, route::Rules};
use crate::{
    refs::Scheme,
    secrets::gateway::{Endpoint, ProxyLogin},
    vault::{
        tls,
        transport::{EndpointProblem, TransportFault},
        wire,
    },
};

/// Longest head of a proxy's answer. Nothing in it is of use to us but the status.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// What a tunnel stands on.
pub(super) struct Floor<'a> {
    pub(super) rules: &'a Rules,
    pub(super) connector: &'a Connector,
    pub(super) system_roots: &'a Arc<RootCertStore>,
}

/// The target as a proxy is to be asked for it: names are resolved by the proxy, but for `socks5`.
pub(super) async fn target_for(
    endpoint: &Endpoint,
    target: &(Host<String>, u16),
    floor: &Floor<'_>,
) -> Result<(Host<String>, u16), TransportFault> {
    let (host, port) = target;
    match endpoint.url.scheme {
        Scheme::Http | Scheme::Https | Scheme::Socks5h => {
            let permitted = floor.rules.permit_elsewhere(&borrowed(host), *port);
            permitted.map(|()| target.clone()).map_err(TransportFault::NotAllowed)
        }
        Scheme::Socks5 => {
            let first = floor.connector.addresses(floor.rules, host, *port).await?[0];
            let host = match first.ip() {
                IpAddr::V4(ip) => Host::Ipv4(ip),
                IpAddr::V6(ip) => Host::Ipv6(ip),
            };
            Ok((host, *port))
        }
    }
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
    let Floor { rules, connector, system_roots } = floor;
    rules.permit_host(&borrowed(&url.host), url.port).map_err(TransportFault::NotAllowed)?;
    let stream = connector.connect(rules, &url.host, url.port).await?;
    if !url.is_tls() {
        return Ok(Box::new(stream));
    }
    let config = tls::client_config(material.authorities.as_ref(), material.identity.as_ref(), system_roots);
    let name = material.server_name.as_ref().map_or_else(|| bare(&url.host), |name| name.as_str().to_owned());
    let name = ServerName::try_from(name).map_err(|_| TransportFault::NameNotResolved)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| wire::fault_of(&error).unwrap_or(TransportFault::Failed))?))
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
    let request = request.body(String::new()).expect("the host of a URL is that of a request");
    let answer = match sender.send_request(request).await {
        Ok(answer) => answer,
        Err(error) if error.is_canceled() || error.is_closed() => {
            // It broke before the request was on its way, such as by an alert that tells what a proxy thinks of our
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
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(EndpointProblem::LoginRefused),
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
    let mut value = HeaderValue::from_str(&encoded).expect("base64 is ASCII");
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
