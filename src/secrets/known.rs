//! Which texts hold a credential, told without holding one.
//!
//! Whoever was sent a credential can say it back, in a text that we would show. To notice that at any later time, the
//! credential itself would have to be kept; what is kept in its place is its length and a keyed hash, which tells it
//! again but not what it is.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

/// Shorter credentials are not looked for: they would be found in ordinary words, as the token `root` in the policy
/// `root`. The shortest that Vault makes has 26 characters.
const SHORTEST: usize = 16;

/// How many credentials are remembered, the latest of them: some for each of thousands of connections, in half a MiB.
const MOST: usize = 16 * 1024;

/// The credentials that this process has met.
#[derive(Debug, Default)]
pub struct Known {
    /// Of this process alone, so that a hash tells nothing to anybody else.
    keys: RandomState,
    prints: HashSet<Print>,
    order: VecDeque<Print>,
    /// How many credentials have a length.
    lengths: BTreeMap<usize, usize>,
}

/// What is remembered of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Print {
    length: usize,
    hash: u64,
}

// === impl Known ===

impl Known {
    /// Remembers a credential.
    pub fn learn(&mut self, credential: &SecretString) {
        let text = Zeroizing::new(credential.expose_secret().to_ascii_lowercase());
        let print = self.print(text.as_bytes());
        if print.length < SHORTEST || !self.prints.insert(print) {
            return;
        }
        *self.lengths.entry(print.length).or_default() += 1;
        self.order.push_back(print);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// Whether a text holds one of them, in upper or lower case: a host name loses its case.
    pub fn is_in(&self, text: &str) -> bool {
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let holds = |length: &usize| {
            text.as_bytes().windows(*length).any(|part| self.prints.contains(&self.print(part)))
        };
        self.lengths.keys().any(holds)
    }

    fn print(&self, text: &[u8]) -> Print {
        Print { length: text.len(), hash: self.keys.hash_one(text) }
    }

    fn forget(&mut self, print: Print) {
        self.prints.remove(&print);
        if let Some(count) = self.lengths.get_mut(&print.length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&print.length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(credentials: &[&str]) -> Known {
        let mut known = Known::default();
        for credential in credentials {
            known.learn(&SecretString::from(*credential));
        }
        known
    }

    #[test]
    fn a_credential_is_told_anywhere_in_a_text_and_in_any_case() {
        let known = known(&["7d3b6a4e-0000-4000-8000-00000000b002", "hvs.CAESIJ-canary-canary", "root"]);
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
            assert_eq!(known.is_in(text), *expected, "{text}");
        }
    }

    #[test]
    fn nothing_of_a_credential_is_kept_or_printed() {
        let known = known(&["hvs.CAESIJ-canary-canary"]);
        assert!(!format!("{known:?}").contains("anary"));
    }

    #[test]
    fn only_the_latest_are_remembered_and_each_once() {
        let mut known = known(&["the-first-credential"]);
        for number in 0..MOST {
            known.learn(&SecretString::from(format!("credential-{number:08}")));
            known.learn(&SecretString::from(format!("credential-{number:08}")));
        }
        assert_eq!((known.prints.len(), known.order.len()), (MOST, MOST));
        assert!(!known.is_in("the-first-credential"));
        assert!(known.is_in("credential-00000000"));
        assert_eq!(known.lengths.len(), 1);
    }
}
