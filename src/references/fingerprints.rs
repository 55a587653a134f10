//! Which texts hold a credential of a connection, recognized without holding one.
//!
//! Whoever was sent a credential can say it back, in a text that we would show. To notice that at any later time, the
//! credential itself would have to be kept; what is kept in its place is its length and a keyed hash, which recognizes it
//! again but does not reveal it.
//!
//! Each connection has its own: what a user writes into a Secret hides texts of that user's connections only. A text costs
//! one hash for each of its bytes, and a bounded number more, whatever the credentials are.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

/// Shorter credentials are not looked for: they would be found in ordinary words, as the token `root` in the policy
/// `root`. The shortest that Vault makes has 26 characters.
const MIN_BYTES: usize = 16;

/// How many bytes of a longer credential are looked for, so that a text that was cut off is recognized, too. Longer than any id.
const MAX_BYTES: usize = 64;

/// How many credentials of a connection are remembered, the latest of them: two dozen more than one check uses.
const MAX_CREDENTIALS: usize = 32;

/// How many bytes a text may cost beyond one hash of each of its parts. Only a text that was made to cost more does.
const MAX_CONFIRM_BYTES: usize = 4 * 1024;

/// The credentials that a connection has used.
#[derive(Debug, Default)]
pub struct Fingerprints {
    /// Of this connection alone, so that a hash means nothing to anybody else.
    keys: RandomState,
    /// The latest last.
    latest: VecDeque<Fingerprint>,
    /// Whether every text is taken for one that holds a credential.
    is_wary: bool,
}

/// What is remembered of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    /// The hash of its first [`MIN_BYTES`] bytes, which tells where hashing more is worth it.
    head: u64,
    length: usize,
    hash: u64,
}

// === impl Fingerprints ===

impl Fingerprints {
    /// Takes every text for one that holds a credential: for who does not know which were used.
    pub fn wary() -> Self {
        Self { is_wary: true, ..Self::default() }
    }

    /// Remembers a credential.
    pub fn learn(&mut self, credential: &SecretString) {
        let bytes = credential.expose_secret().as_bytes();
        let Some(head) = bytes.get(..MIN_BYTES) else { return };
        let text = Zeroizing::new(bytes[..bytes.len().min(MAX_BYTES)].to_ascii_lowercase());
        let head = self.keys.hash_one(Zeroizing::new(head.to_ascii_lowercase()).as_slice());
        let fingerprint = Fingerprint { head, length: text.len(), hash: self.keys.hash_one(text.as_slice()) };
        // One that is used again is among the latest again.
        self.latest.retain(|other| *other != fingerprint);
        self.latest.push_back(fingerprint);
        if self.latest.len() > MAX_CREDENTIALS {
            self.latest.pop_front();
        }
    }

    /// Whether a text holds one of them, in upper or lower case: a host name loses its case.
    pub fn is_in(&self, text: &str) -> bool {
        self.is_wary || self.search(text).0
    }

    /// Whether a text holds one of them, and how many bytes were hashed to find that.
    fn search(&self, text: &str) -> (bool, usize) {
        if self.latest.is_empty() {
            return (false, 0);
        }
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let bytes = text.as_bytes();
        let (mut scanned, mut confirmed) = (0, 0);
        for (at, window) in bytes.windows(MIN_BYTES).enumerate() {
            let head = self.keys.hash_one(window);
            scanned += MIN_BYTES;
            for fingerprint in self.latest.iter().filter(|it| it.head == head) {
                let Some(part) = bytes.get(at..at + fingerprint.length) else { continue };
                confirmed += part.len();
                // Whoever repeats the begin of a credential this often is not trusted to end there.
                if confirmed > MAX_CONFIRM_BYTES || self.keys.hash_one(part) == fingerprint.hash {
                    return (true, scanned + confirmed);
                }
            }
        }
        (false, scanned + confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints(credentials: &[&str]) -> Fingerprints {
        let mut fingerprints = Fingerprints::default();
        for credential in credentials {
            fingerprints.learn(&SecretString::from(*credential));
        }
        fingerprints
    }

    #[test]
    fn a_credential_is_recognized_anywhere_in_a_text_and_in_any_case() {
        let fingerprints =
            fingerprints(&["7d3b6a4e-0000-4000-8000-00000000b002", "hvs.CAESIJ-canary-canary", "root"]);
        let table: &[(&str, bool)] = &[
            ("7d3b6a4e-0000-4000-8000-00000000b002", true),
            ("1.2.3+7d3b6a4e-0000-4000-8000-00000000b002.x", true),
            ("7D3B6A4E-0000-4000-8000-00000000B002.example.com", true),
            ("hvs.caesij-canary-canary.example.com", true),
            ("7d3b6a4e-0000-4000-8000-00000000b00", false),
            ("2.7.2", false),
            ("root", false),
            ("", false),
        ];
        for (text, expected) in table {
            assert_eq!(fingerprints.is_in(text), *expected, "{text}");
        }
    }

    #[test]
    fn nothing_of_a_credential_is_kept_or_printed() {
        let fingerprints = fingerprints(&["hvs.CAESIJ-canary-canary"]);
        assert!(!format!("{fingerprints:?}").contains("anary"));
    }

    #[test]
    fn only_the_latest_are_remembered_and_each_once() {
        let mut fingerprints = fingerprints(&["the-first-credential", "the-second-credential"]);
        for number in 0..MAX_CREDENTIALS - 1 {
            fingerprints.learn(&SecretString::from(format!("credential-{number:08}")));
            fingerprints.learn(&SecretString::from(format!("credential-{number:08}")));
            fingerprints.learn(&SecretString::from("the-first-credential"));
        }
        assert_eq!(fingerprints.latest.len(), MAX_CREDENTIALS);
        assert!(fingerprints.is_in("the-first-credential"), "it is in use");
        assert!(!fingerprints.is_in("the-second-credential"));
        assert!(fingerprints.is_in("credential-00000000"));
    }

    #[test]
    fn a_long_credential_is_reported_by_its_begin() {
        let long = format!("hvb.{}", "AbCdEfGhIj".repeat(1600));
        let fingerprints = fingerprints(&[&long]);
        assert!(
            fingerprints.is_in(&long[..256]) && fingerprints.is_in(&format!("1.2.3-{}", &long[..MAX_BYTES]))
        );
        assert!(!fingerprints.is_in(&long[..MAX_BYTES - 1]));
    }

    #[test]
    fn what_one_connection_uses_hides_nothing_of_another() {
        let (mine, yours) = (fingerprints(&["vault-cluster-1f4e"]), fingerprints(&["another-credential"]));
        assert!(mine.is_in("vault-cluster-1f4e") && !yours.is_in("vault-cluster-1f4e"));
        assert!(Fingerprints::wary().is_in("2.7.2"));
    }

    #[test]
    fn a_text_costs_a_bounded_amount_of_work_whatever_is_known() {
        const TEXT: usize = 256;
        let bound = TEXT * MIN_BYTES + MAX_CONFIRM_BYTES + MAX_BYTES;
        let same: Vec<String> = (MIN_BYTES..=MAX_BYTES).map(|length| "a".repeat(length)).collect();
        let nearly: Vec<String> =
            (0..MAX_CREDENTIALS).map(|number| format!("{}{number:03}", "a".repeat(61))).collect();
        let long: Vec<String> = (0..100).map(|number| format!("{number:05}").repeat(3000)).collect();
        let texts =
            ["a".repeat(TEXT), "b".repeat(TEXT), "a".repeat(15) + "b", format!("{}b", "a".repeat(TEXT - 1))];
        for credentials in [same, nearly, long] {
            let fingerprints = fingerprints(&credentials.iter().map(String::as_str).collect::<Vec<_>>());
            for text in &texts {
                let (_, work) = fingerprints.search(text);
                assert!(work <= bound, "{work} bytes are hashed for {text}");
            }
        }
    }
}
