//! Which texts of a server are shown.
//!
//! Its version, the names of its cluster, what it says about a token, and the host that it redirects to come from outside,
//! and go into a status that more people may read than may read Secrets.

use super::observation::{Fault, ForeignText, Observation};
use crate::{
    names::text,
    references::fingerprints::Fingerprints,
    vault::{
        health::Health,
        token::{TokenInfo, TokenNamespace},
    },
};

/// Longest text of a server that is shown, in bytes: twice what its own names have. A longer one is meant to harm.
const MAX_TEXT_BYTES: usize = 256;

/// How many policies of a token are shown: the status has room for no more.
const MAX_POLICIES: usize = 256;

/// Takes out of an observation what is not shown.
pub fn observation(observation: &mut Observation, fingerprints: &Fingerprints) {
    if let Some(Health { version, cluster_name, cluster_id, .. }) = &mut observation.health {
        for text in [version, cluster_name, cluster_id] {
            text.take_if(|text| !may_be_shown(text, fingerprints));
        }
    }
    if let Some(login) = &mut observation.login {
        let TokenInfo { kind, policies, display_name, namespace, .. } = &mut login.info;
        // It is only compared, and reported by a fault.
        *namespace = TokenNamespace::NotReported;
        for text in [kind, display_name] {
            text.take_if(|text| !may_be_shown(text, fingerprints));
        }
        policies.truncate(MAX_POLICIES);
        policies.retain(|policy| may_be_shown(policy, fingerprints));
    }
    if let Some(end) = &mut observation.certificate_end {
        hide(&mut end.subject, fingerprints);
    }
    if let Some(fault) = &mut observation.fault {
        self::fault(fault, fingerprints);
    }
}

/// Takes out of a fault what is not shown. Whoever got a credential may say it back in a certificate, too.
pub fn fault(fault: &mut Fault, fingerprints: &Fingerprints) {
    for text in fault.texts_mut() {
        match text {
            ForeignText::Certificate(text) => hide(text, fingerprints),
            ForeignText::Host(host) => {
                host.take_if(|host| !may_be_shown(host, fingerprints));
            }
            // A name that is not shown is empty: the message says whose it is without it.
            ForeignText::Namespace(of) if !may_be_shown(of, fingerprints) => of.clear(),
            ForeignText::Namespace(_) => {}
        }
    }
}

fn hide(text: &mut String, fingerprints: &Fingerprints) {
    if !may_be_shown(text, fingerprints) {
        "(not shown)".clone_into(text);
    }
}

fn may_be_shown(text: &str, fingerprints: &Fingerprints) -> bool {
    text.len() <= MAX_TEXT_BYTES && text.chars().all(text::is_printable) && !fingerprints.is_in(text)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::{
        network::faults::{TlsFault, TransportFault},
        vault::answer::ServerFault,
        verify::observation::LoginSeen,
    };

    const SECRET: &str = "7d3b6a4e-0000-4000-8000-00000000b002";

    fn fingerprints() -> Fingerprints {
        let mut fingerprints = Fingerprints::default();
        fingerprints.learn(&SecretString::from(SECRET));
        fingerprints
    }

    fn observation(text: &str) -> Observation {
        let some = || Some(text.to_owned());
        let health =
            Health { version: some(), cluster_name: some(), cluster_id: some(), ..Health::default() };
        let info = TokenInfo {
            kind: some(),
            policies: vec!["default".to_owned(), text.to_owned()],
            display_name: some(),
            ..TokenInfo::default()
        };
        Observation {
            fault: Some(Fault::Server(ServerFault::Redirected { host: some() })),
            health: Some(health),
            login: Some(LoginSeen { info, expires_at: None, is_watched: false, ends_soon: None }),
            ..Observation::default()
        }
    }

    #[test]
    fn a_servers_text_is_shown_unless_it_holds_a_credential_or_is_no_name() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let table: &[(&str, &str, bool)] = &[
            ("a name", "vault-cluster-1 (übung)", true),
            ("a long name", &long[1..], true),
            ("a credential", SECRET, false),
            ("a credential among others", &format!("1.2.3+{SECRET}"), false),
            ("too long", &long, false),
            ("an escape sequence", "\u{1b}[2J", false),
            ("two lines", "a\nb", false),
            ("two lines of Unicode", "a\u{2028}b", false),
            ("a text that is turned around", "a\u{202e}b", false),
            ("an isolate", "a\u{2067}b", false),
            ("a text with something invisible", "a\u{200b}b", false),
            ("a byte order mark", "\u{feff}a", false),
        ];
        for (name, text, shown) in table {
            let mut seen = observation(text);
            super::observation(&mut seen, &fingerprints());
            let debug = format!("{seen:?}");
            let count = debug.matches(&format!("{text:?}")).count();
            assert_eq!(count, if *shown { 7 } else { 0 }, "{name}: {debug}");
            assert!(debug.contains("\"default\""), "{name}: other policies stay");
        }
    }

    #[test]
    fn a_certificate_that_says_a_credential_back_is_not_shown() {
        let listed = vec!["a.example".to_owned(), format!("{SECRET}.example")];
        let mut fault = Fault::Transport(TransportFault::Tls(TlsFault::WrongName { listed }));
        super::fault(&mut fault, &fingerprints());
        let debug = format!("{fault:?}");
        assert!(debug.contains("a.example") && !debug.contains(SECRET), "{debug}");
    }

    #[test]
    fn a_status_has_room_for_what_is_shown() {
        let mut seen = observation("p");
        seen.login.as_mut().expect("a login").info.policies = vec!["p".to_owned(); MAX_POLICIES + 1];
        super::observation(&mut seen, &fingerprints());
        assert_eq!(seen.login.expect("a login").info.policies.len(), MAX_POLICIES);
    }
}
