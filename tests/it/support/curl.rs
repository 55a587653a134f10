//! curl: a client that is not ours, to try a fake with.

use std::fs;

use tokio::process::Command;

use super::bed::{self, unique};

/// How a call ended.
#[derive(Debug)]
#[expect(dead_code, reason = "what curl told is shown when a test fails")]
pub struct Call {
    /// 0, or why there was no answer: see `man curl`.
    pub code: i32,
    /// The status of the last answer, and its body.
    pub status: u16,
    pub body: String,
    told: String,
}

// Codes of curl.
pub const COULD_NOT_CONNECT: i32 = 7;
pub const TIMED_OUT: i32 = 28;
pub const TLS_FAILED: i32 = 35;
pub const NOT_RECEIVED: i32 = 56;
pub const NOT_TRUSTED: i32 = 60;
pub const COULD_NOT_REACH_BY_SOCKS: i32 = 97;

/// Asks for a URL, with nothing of our environment or of a user's settings.
pub async fn curl(arguments: &[&str]) -> Call {
    let output = Command::new("curl")
        .env_clear()
        .args(["--disable", "--silent", "--show-error", "--max-time", "20"])
        .args(["--write-out", "\n%{response_code}"])
        .args(arguments)
        .output()
        .await
        .expect("curl is there, as the bed needs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("curl writes a status");
    Call {
        code: output.status.code().expect("nobody kills it"),
        status: status.parse().expect("a status is a number"),
        body: body.to_owned(),
        told: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The name of a file with this text, for an argument that has to be one.
pub fn file(text: &str) -> String {
    let path = bed::folder("it").join(unique("curl"));
    fs::write(&path, text).expect("the bed's folder can be written");
    path.into_os_string().into_string().expect("the bed's folder has a name in UTF-8")
}
