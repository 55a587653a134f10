//! What a JWT says of itself. Nothing here verifies it: that is Vault's part.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;

/// What is read of the claims of a JWT: <https://www.rfc-editor.org/rfc/rfc7519#section-4.1>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Who issued it.
    pub issuer: Option<String>,
    /// For whom it is.
    pub audiences: Vec<String>,
    /// When it was issued, in seconds since the epoch.
    pub issued: Option<i64>,
    /// When it ends.
    pub end: Option<i64>,
}

/// The audiences that every API server may have: <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>.
const API_SERVERS: [&str; 3] = [
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes.default",
];

#[derive(Deserialize)]
struct Payload {
    iss: Option<String>,
    aud: Option<Audiences>,
    iat: Option<f64>,
    exp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

// === impl Claims ===

impl Claims {
    /// Reads the claims; none if the text is no JWT.
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let is_encoded = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        if !is_encoded(header) || !is_encoded(signature) {
            return None;
        }
        let payload = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?);
        let Payload { iss, aud, iat, exp } = serde_json::from_slice(&payload).ok()?;
        let audiences = match aud {
            None => Vec::new(),
            Some(Audiences::One(audience)) => vec![audience],
            Some(Audiences::Many(audiences)) => audiences,
        };
        Some(Self { issuer: iss, audiences, issued: iat.and_then(seconds), end: exp.and_then(seconds) })
    }

    /// The begin and the end of its life, as far as it says.
    pub fn life(&self) -> Option<(Option<i64>, i64)> {
        Some((self.issued, self.end?))
    }
}

/// The first of these audiences that is one of the API server's. `own` are those of a token that the API server made for itself, and `made` the
/// claims of one that it made for these audiences: its issuer is an audience where no other is configured.
pub fn of_api_server<'a>(audiences: &'a [String], own: &[String], made: Option<&Claims>) -> Option<&'a str> {
    let issuer = made.and_then(|made| made.issuer.as_deref());
    let is_known = |audience: &&String| {
        let bare = audience.trim_end_matches('/');
        API_SERVERS.contains(&bare) || own.contains(audience) || issuer == Some(audience.as_str())
    };
    audiences.iter().find(is_known).map(String::as_str)
}

/// A number of seconds. One that is out of range says nothing.
fn seconds(number: f64) -> Option<i64> {
    let is_time = (0.0..253_402_300_800.0).contains(&number);
    #[expect(clippy::cast_possible_truncation, reason = "a fraction of a second is of no interest")]
    is_time.then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn claims_are_read_and_what_is_no_jwt_is_not() {
        let claims =
            Claims::read(&token(r#"{"iss":"https://i","aud":["vault"],"iat":10,"exp":610.5,"x":1}"#));
        let expected = Claims {
            issuer: Some("https://i".to_owned()),
            audiences: vec!["vault".to_owned()],
            issued: Some(10),
            end: Some(610),
        };
        assert_eq!(claims, Some(expected));
        let one = Claims::read(&token(r#"{"aud":"vault","exp":1e300}"#)).expect("claims");
        assert_eq!((one.audiences, one.end), (vec!["vault".to_owned()], None));
        let payload = token("{}");
        for text in ["", "a.b", "a.b.c.d", "hvs.CAESIJ", "e30.e30.", ".e30.c2ln", "e30.????.c2ln"] {
            assert_eq!(Claims::read(text), None, "{text}");
        }
        assert!(Claims::read(&payload).is_some());
    }

    #[test]
    fn an_audience_of_the_api_server_is_known_by_its_name_its_own_token_and_its_issuer() {
        let one = |audience: &str| vec![audience.to_owned()];
        let own = one("https://api.example");
        let made = Claims { issuer: Some("https://issuer.example".to_owned()), ..Claims::default() };
        let found = |audience: &str| of_api_server(&one(audience), &own, Some(&made)).is_some();
        for audience in [
            "https://kubernetes.default.svc",
            "https://kubernetes.default.svc/",
            "https://kubernetes.default.svc.cluster.local",
            "https://api.example",
            "https://issuer.example",
        ] {
            assert!(found(audience), "{audience}");
        }
        assert!(!found("vault"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-zA-Z0-9._=-]{0,80}", payload in ".{0,60}") {
            let _ = (Claims::read(&text), Claims::read(&token(&payload)));
        }
    }
}
