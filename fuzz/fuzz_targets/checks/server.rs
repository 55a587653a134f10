//! The server that says what the input tells it to.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{CREDENTIAL, MARK, json};

/// What the server says, and what it said.
#[derive(Default)]
pub(super) struct Script {
    pub(super) answers: Vec<Answer>,
    /// Whether it accepted a login, and a request with the token that this gave.
    pub(super) accepted_login: bool,
    pub(super) accepted_token: bool,
}

#[derive(Clone)]
pub(super) struct Answer {
    word: String,
    says: Says,
    given: bool,
}

#[derive(Clone)]
enum Says {
    Http {
        status: String,
        headers: String,
        body: String,
    },
    /// Bytes, and whether the connection goes on.
    Raw(Vec<u8>, bool),
    Hang,
    Close,
}

impl Answer {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let says = match kind {
            "hang" => Says::Hang,
            "close" => Says::Close,
            "raw" | "more" => Says::Raw(bytes(rest), kind == "more"),
            _ => {
                let (status, header) = kind.split_once(';').unwrap_or((kind, "x:y"));
                let many = || format!("\"{}\"", vec!["policy-with-a-name"; 4096].join("\",\""));
                let body = rest.replace(MARK, CREDENTIAL).replace("LONG", &"long ".repeat(4096));
                let body = if body.contains("MANY") { body.replace("MANY", &many()) } else { body };
                Says::Http { status: status.to_owned(), headers: header.to_owned(), body }
            }
        };
        Some(Self { word: word.to_owned(), says, given: false })
    }
}

impl Script {
    /// What is said to a request with this first line.
    fn answer(&mut self, line: &str) -> Says {
        let fits = |answer: &&mut Answer| line.contains(&answer.word);
        let first = self.answers.iter_mut().filter(fits).find(|answer| !answer.given);
        let Some(answer) = first else {
            let last = self.answers.iter().rev().find(|answer| line.contains(&answer.word));
            return last.map_or(Says::Close, |answer| answer.says.clone());
        };
        answer.given = true;
        answer.says.clone()
    }

    /// Notes what an answer grants, more generously than anybody may read it.
    fn note(&mut self, line: &str, says: &Says) {
        let (is_success, body) = match says {
            Says::Http { status, body, .. } => (status == "200", json(body).to_string().to_lowercase()),
            Says::Raw(bytes, _) => (true, String::from_utf8_lossy(bytes).to_lowercase()),
            Says::Hang | Says::Close => return,
        };
        let is_login = line.split(' ').nth(1).is_some_and(|path| path.ends_with("/login"));
        self.accepted_login |= is_success && is_login && body.contains("client_token");
        self.accepted_token |= is_success && line.contains("-self") && body.contains("data");
    }
}

/// Bytes as an input has them: `\n` is the end of a line of HTTP, `\xNN` any byte.
fn bytes(text: &str) -> Vec<u8> {
    let text = text.replace("\\n", "\r\n").replace(MARK, CREDENTIAL);
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.extend(byte);
        bytes
            .extend_from_slice(part.get(if byte.is_some() { 2 } else { 0 }..).unwrap_or_default().as_bytes());
    }
    bytes
}

pub(super) async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    while let Some(line) = request(&mut stream).await {
        let says = {
            let mut script = script.lock().expect("nobody panics");
            let says = script.answer(&line);
            script.note(&line, &says);
            says
        };
        let (bytes, goes_on) = match says {
            Says::Http { status, headers, body } => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} x\r\n{headers}\r\ncontent-length: {length}\r\n\r\n");
                let body = if line.starts_with("CONNECT") { String::new() } else { body };
                let head =
                    if body.is_empty() { head.replace(&format!(": {length}\r\n"), ": 0\r\n") } else { head };
                ((head + &body).into_bytes(), true)
            }
            Says::Raw(bytes, goes_on) => (bytes, goes_on),
            Says::Hang => std::future::pending().await,
            Says::Close => return,
        };
        if stream.write_all(&bytes).await.is_err() || !goes_on {
            return;
        }
    }
}

/// Reads a request whole: its first line, or the word for what is not HTTP.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        match bytes[0] {
            0x16 => return Some("tls".to_owned()),
            0x05 => return Some("socks".to_owned()),
            _ => {}
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            return head.lines().next().map(str::to_owned);
        }
    }
}
