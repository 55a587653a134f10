//! Where a hostile server can say back what it was told: every place of an answer that holds text.

use serde_json::{Value, json};

use super::http::Answer;

/// A place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The text of Vault's error, with this status code.
    Error(u16),
    /// The body, which is no JSON, with this status code.
    Page(u16),
    /// The name of a field.
    Field,
    /// Every text of the good answer but those that it would not work without.
    EveryText,
    /// One text of the good answer, by its path, among ordinary words.
    Text(&'static str),
    /// In the place of a number.
    Number,
    /// Values of headers.
    HeaderValues,
    /// Names of headers.
    HeaderNames,
    /// The host of a redirect.
    RedirectHost,
    /// The path and query of a redirect.
    RedirectPath,
    /// The time to wait.
    RetryAfter,
    /// The words beside the status code.
    ReasonPhrase,
    /// In the place of the status line.
    StatusLine,
    /// In the place of the length of a chunk, and after the last.
    Chunks,
    /// The body, longer than what is read.
    Huge,
    /// The body, which ends too early.
    Cut,
}

/// More than what is read of an answer, in repetitions.
const MANY: usize = 20_000;

// === impl Echo ===

impl Echo {
    /// One of each kind, for answers that are read as another is.
    pub const SOME: [Self; 5] =
        [Self::Error(403), Self::EveryText, Self::HeaderValues, Self::RedirectHost, Self::StatusLine];

    pub const ALL: [Self; 27] = [
        Self::Error(400),
        Self::Error(403),
        Self::Error(404),
        Self::Error(412),
        Self::Error(500),
        Self::Error(503),
        Self::Page(200),
        Self::Page(204),
        Self::Page(403),
        Self::Page(502),
        Self::Field,
        Self::EveryText,
        Self::Text("/version"),
        Self::Text("/cluster_name"),
        Self::Text("/data/display_name"),
        Self::Text("/data/policies/0"),
        Self::Number,
        Self::HeaderValues,
        Self::HeaderNames,
        Self::RedirectHost,
        Self::RedirectPath,
        Self::RetryAfter,
        Self::ReasonPhrase,
        Self::StatusLine,
        Self::Chunks,
        Self::Huge,
        Self::Cut,
    ];

    /// What it answers in the place of a good answer, when it knows this.
    pub fn answer(self, known: &str, good: &Answer) -> Vec<u8> {
        let body = || serde_json::from_str::<Value>(good.body()).unwrap_or_default();
        match self {
            Self::Error(status) => Answer::error(status, known).bytes(),
            Self::Page(status) => Answer::new(status, known).with("content-type: text/html").bytes(),
            Self::Field => {
                let mut body = body();
                body[known] = json!({known: [known]});
                Answer::json(200, &body).bytes()
            }
            Self::EveryText => Answer::json(200, &every_text(&body(), known, "")).bytes(),
            Self::Text(path) => {
                let mut body = body();
                if let Some(text) = body.pointer_mut(path) {
                    *text = json!(format!("1.2.3+{known}"));
                }
                Answer::json(200, &body).bytes()
            }
            Self::Number => {
                let text = good.body().replace(":false", &format!(":\"{known}\"")).replace(":0", &format!(":\"{known}\""));
                Answer::new(200, &text).bytes()
            }
            Self::HeaderValues => {
                let names = ["server", "content-type", "set-cookie", "www-authenticate", "x-vault-index", "date"];
                let with = |answer: Answer, name: &&str| answer.with(&format!("{name}: {known}"));
                names.iter().fold(Answer::new(401, good.body()), with).bytes()
            }
            Self::HeaderNames => Answer::new(401, good.body()).with(&format!("{known}: x")).bytes(),
            Self::RedirectHost => redirect(&format!("https://{known}.example.com/v1/")),
            Self::RedirectPath => redirect(&format!("/v1/{known}?token={known}#{known}")),
            Self::RetryAfter => Answer::error(429, known).with(&format!("retry-after: {known}")).bytes(),
            Self::ReasonPhrase => Answer::error(403, known).saying(known).bytes(),
            Self::StatusLine => format!("{known}\r\n{known}: {known}\r\n\r\n{known}").into_bytes(),
            Self::Chunks => {
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{known}\r\n{known}\r\n0\r\n{known}: {known}\r\n\r\n").into_bytes()
            }
            Self::Huge => Answer::json(200, &json!({"data": known.repeat(MANY)})).bytes(),
            Self::Cut => {
                let mut bytes = Answer::error(400, known).bytes();
                bytes.truncate(bytes.len() - 4);
                bytes
            }
        }
    }
}

fn redirect(location: &str) -> Vec<u8> {
    Answer::new(307, location).with(&format!("location: {location}")).bytes()
}

/// An answer that says it in each text, and still is one of its kind.
fn every_text(good: &Value, known: &str, field: &str) -> Value {
    match good {
        // Without these the operator would not come to what else is said.
        Value::String(_) if ["client_token", "secret_id", "creation_path"].contains(&field) => good.clone(),
        Value::String(_) => json!(known),
        Value::Array(items) => items.iter().map(|item| every_text(item, known, field)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), every_text(value, known, name))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => good.clone(),
    }
}
