//! As much of HTTP/1.1 as a fake needs: a request in, an answer out, and the connection ends.

use std::{collections::HashMap, io};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    /// The words beside the status code.
    phrase: String,
    /// Lines without their end.
    headers: Vec<String>,
    body: String,
}

/// A request, as far as it matters.
pub struct Request {
    pub method: String,
    pub path: String,
    pub host: Option<String>,
    pub token: Option<String>,
    /// Whether it asks for the end of its connection.
    pub is_last: bool,
    pub body: Value,
}

// === impl Answer ===

impl Answer {
    pub fn new(status: u16, body: &str) -> Self {
        Self { status, phrase: "Fake".to_owned(), headers: Vec::new(), body: body.to_owned() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, &body.to_string()).with("content-type: application/json")
    }

    /// Vault's error envelope.
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &json!({"errors": [text]}))
    }

    /// A page of what stands before a Vault, or in its place.
    pub fn page(status: u16) -> Self {
        let body = "<html><body><h1>canary of a load balancer</h1></body></html>";
        Self::new(status, body).with("content-type: text/html")
    }

    pub fn with(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }

    pub fn saying(self, phrase: &str) -> Self {
        Self { phrase: phrase.to_owned(), ..self }
    }

    pub fn body(&self) -> &str {
        &self.body
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\nconnection: close\r\n", self.status, self.phrase);
        for header in &self.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        format!("{head}content-length: {}\r\n\r\n{}", self.body.len(), self.body).into_bytes()
    }
}

// === impl Request ===

impl Request {
    /// Reads one request whole.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut bytes = Vec::new();
        loop {
            if let Some(request) = Self::parse(&bytes) {
                return Ok(request);
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// None as long as a part is missing.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let head_ends = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..head_ends]);
        let (first, lines) = head.split_once("\r\n")?;
        let headers: HashMap<_, _> = lines
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = bytes[head_ends + 4..].get(..length)?;
        let mut words = first.split(' ').map(str::to_owned);
        Some(Self {
            method: words.next()?,
            path: words.next()?,
            host: headers.get("host").cloned(),
            token: headers.get("x-vault-token").cloned(),
            is_last: headers.get("connection").is_some_and(|value| value == "close"),
            body: serde_json::from_slice(body).unwrap_or_default(),
        })
    }
}
