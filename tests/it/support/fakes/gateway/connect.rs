//! HTTP CONNECT, RFC 9110 section 9.3.6, with a login by Basic, RFC 7617.

use std::{io, net::IpAddr, str::FromStr as _};

use k8s_openapi::ByteString;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{super::http::Answer, Reach, Shared, Target, Tunnel};

/// Headers that a client may send to a proxy. Any other would be meant for Vault.
const HEADERS: &[&str] = &["host", "proxy-authorization", "proxy-connection", "user-agent"];

/// Longer than any request for a tunnel.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Reads a request for a tunnel and answers it. None: there is none.
pub async fn negotiate<S>(stream: &mut S, visit: usize, shared: &Shared) -> io::Result<Option<Tunnel>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = read_head(stream).await?;
    if let Some(bytes) = shared.garbage() {
        stream.write_all(bytes).await?;
        return Ok(None);
    }
    let Some(target) = target(&head, shared) else {
        return refuse(stream, &Answer::page(400)).await;
    };
    let login = login(&head);
    let login = login.as_deref().and_then(|login| login.split_once(':'));
    if !shared.admits(visit, login) {
        shared.note(visit, |visit| visit.target = Some(target));
        let challenge = "proxy-authenticate: Basic realm=\"canary of a proxy\"";
        return refuse(stream, &Answer::page(407).with(challenge)).await;
    }
    let tunnel = match shared.reach(visit, target).await {
        Reach::Target(target) => Tunnel::To(target),
        Reach::Evil(config) => Tunnel::Evil(config),
        Reach::Denied => return refuse(stream, &Answer::page(403)).await,
        Reach::Unreachable | Reach::Refused => return refuse(stream, &Answer::page(502)).await,
        Reach::Redirected(to) => {
            return refuse(stream, &Answer::page(302).with(&format!("location: {to}"))).await;
        }
    };
    shared.note(visit, |visit| visit.stood = true);
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    Ok(Some(tunnel))
}

/// Not a byte more than the head: what follows belongs to the tunnel.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The target, if this is a proper request for a tunnel and for nothing else.
fn target(head: &str, shared: &Shared) -> Option<Target> {
    let (first, _) = head.split_once("\r\n")?;
    let authority = first.strip_prefix("CONNECT ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let target = authority.and_then(|authority| {
        let (host, port) = authority.rsplit_once(':')?;
        let is_name = IpAddr::from_str(host.trim_matches(['[', ']'])).is_err();
        Some(Target { host: host.to_owned(), port: port.parse().ok()?, is_name })
    });
    let stray = headers(head).find(|(name, _)| !HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    let host = headers(head).find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value);
    // A credential in a request that goes wrong is not printed, so only its first line and names are.
    if target.is_none() || host != authority {
        shared.is_unexpected(format!("{first:?} with the host {host:?}"));
        return None;
    }
    if let Some((name, _)) = stray {
        shared.is_unexpected(format!("{first:?} with the header {name:?}"));
        return None;
    }
    target
}

/// The user and the password, as they stand in the header.
fn login(head: &str) -> Option<String> {
    let (_, value) = headers(head).find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))?;
    // The Kubernetes API has its bytes in base64, too.
    let ByteString(bytes) = serde_json::from_value(json!(value.strip_prefix("Basic ")?)).ok()?;
    String::from_utf8(bytes).ok()
}

fn headers(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines().skip(1).filter_map(|line| line.split_once(": "))
}

async fn refuse(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<Option<Tunnel>> {
    stream.write_all(&answer.bytes()).await?;
    Ok(None)
}
