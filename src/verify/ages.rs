//! Times as people read them.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::events::shown;

/// How long ago, as kubectl shows it.
pub fn age(time: Timestamp, now: Timestamp) -> String {
    shown(Duration::try_from(now.duration_since(time)).unwrap_or_default())
}

/// How long ago, or in what time.
pub fn distance(time: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(time.duration_since(now)) {
        Ok(ahead) if ahead.as_secs() > 0 => format!("in {}", shown(ahead)),
        Ok(_) | Err(_) => format!("{} ago", age(time, now)),
    }
}
