//! One verdict for each condition.
//!
//! The steps of a check are a ladder: those below the fault passed, the fault's own step has failed, and those above
//! it were not reached and are Unknown, whatever they were before.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{
    messages,
    observation::{Asked, Fault, LoginSeen, Observation},
    session::later,
};
use crate::{
    api::{
        condition::{ConditionType, FailureClass, Reason, Truth},
        status::ServerRole,
    },
    auth::{Input, Purpose, Source},
    conditions::Verdict,
    names::ObjectName,
    network::chain::CertificateEnd,
    spec::Desired,
    vault::health::Health,
};

/// How long before the end of the instance's certificate that is told. Two weeks are what automated renewal leaves at
/// least, when it works: of 90 days it takes the last third.
const CERTIFICATE_WARNING: Duration = Duration::from_hours(14 * 24);

/// The verdicts of a check.
pub fn judge(desired: &Desired, observation: &Observation, now: Timestamp) -> Vec<Verdict> {
    let failed = observation.fault.as_ref().zip(messages::of_observation(observation, desired));
    let failed =
        failed.map(|(fault, (reason, message))| (rung(fault, reason, observation.asked), reason, message));
    let mut verdicts = climb(&ConditionType::STEPS, failed, |step| passed(step, desired, observation));
    verdicts.extend(observation.login.as_ref().and_then(|login| expiring(login, desired)));
    verdicts
        .extend(observation.certificate_end.as_ref().and_then(|end| certificate_expiring(end, desired, now)));
    verdicts
}

/// The verdicts on an object for which none of its steps was taken, and why.
pub(super) fn unchecked(steps: &[ConditionType], reason: Reason, message: &str) -> Vec<Verdict> {
    ladder(steps, Some((reason, message.to_owned())), |_| (Reason::Resolved, String::new()))
}

/// The verdicts on a connection that is not checked because the user says so.
pub fn suspended() -> Vec<Verdict> {
    let message = "Checks are disabled, because spec.suspend is true.".to_owned();
    let ready = verdict(ConditionType::Ready, Reason::Suspended, message.clone());
    let step = |step| verdict(step, Reason::NotChecked, message.clone());
    std::iter::once(ready).chain(ConditionType::STEPS.map(step)).collect()
}

/// What a fault is about, for the schedule.
pub fn reason_of(fault: &Fault, desired: &Desired) -> Reason {
    messages::of_fault(fault, Asked::default(), desired).0
}

/// The reason of a check that failed.
pub fn reason(desired: &Desired, observation: &Observation) -> Option<Reason> {
    let fault = observation.fault.as_ref()?;
    Some(messages::of_fault(fault, observation.asked, desired).0)
}

/// The step that a fault fails: that of its reason, unless an answer in the same check has proved that step.
fn rung(fault: &Fault, reason: Reason, asked: Asked) -> ConditionType {
    // A login is refused by a Vault that answers, whatever its reason is about.
    let least = matches!(fault, Fault::Login(_)).then_some(ConditionType::Authenticated);
    let own = least.map_or(reason.condition(), |least| least.max(reason.condition()));
    let proven = asked.proven.filter(|proven| fault.is_of_the_request() && *proven >= own);
    let next = |proven| ConditionType::STEPS.into_iter().find(|step| *step > proven);
    proven.and_then(next).unwrap_or(own)
}

/// The verdict on Ready, and on each of these steps: what `passed` says of those below the one that failed, if one did.
pub(super) fn ladder(
    steps: &[ConditionType],
    failed: Option<(Reason, String)>,
    passed: impl Fn(ConditionType) -> (Reason, String),
) -> Vec<Verdict> {
    climb(steps, failed.map(|(reason, message)| (reason.condition(), reason, message)), passed)
}

/// The same, where the step that failed is not always that of the reason.
fn climb(
    steps: &[ConditionType],
    failed: Option<(ConditionType, Reason, String)>,
    passed: impl Fn(ConditionType) -> (Reason, String),
) -> Vec<Verdict> {
    let rung = failed.as_ref().map(|(rung, ..)| *rung);
    let failed = failed.map(|(_, reason, message)| (reason, message));
    let mut verdicts = Vec::with_capacity(steps.len() + 2);
    let (reason, message) = failed.clone().unwrap_or_else(|| passed(ConditionType::Ready));
    verdicts.push(Verdict {
        condition: ConditionType::Ready,
        truth: reason.truth(),
        reason,
        message: message.clone(),
    });
    for &step in steps {
        verdicts.push(match (rung, &failed) {
            (Some(rung), Some((reason, message))) if step == rung => verdict(step, *reason, message.clone()),
            (Some(rung), _) if step > rung => verdict(
                step,
                Reason::NotChecked,
                format!("Not checked, because the check stopped at {}.", rung.as_str()),
            ),
            _ => {
                let (reason, message) = passed(step);
                verdict(step, reason, message)
            }
        });
    }
    verdicts.extend(failed.map(|(reason, message)| progress(reason, message)));
    verdicts
}

/// The warning that goes with a login that works, but not for long.
fn expiring(login: &LoginSeen, desired: &Desired) -> Option<Verdict> {
    let end = login.ends_soon?;
    let ends = |input: Input<'_>| match (input.purpose, input.source) {
        (Purpose::Token, Source::Secret(secret)) => Some((Reason::TokenExpiring, "token", secret.clone())),
        (Purpose::SecretId | Purpose::WrappingToken, Source::Secret(secret)) => {
            Some((Reason::SecretIdExpiring, "secret ID", secret.clone()))
        }
        (Purpose::Jwt, Source::Secret(secret)) => Some((Reason::TokenExpiring, "JWT", secret.clone())),
        (Purpose::RoleId | Purpose::UserName | Purpose::Password, _)
        | (_, Source::Spec(_) | Source::ServiceAccount(_)) => None,
    };
    let (reason, what, secret) = desired.target.method.inputs().into_iter().find_map(ends)?;
    let message = format!(
        "The {what} under key {:?} in Secret {:?} expires at {end:.0} and cannot be renewed. Store a new one there.",
        secret.key, secret.name
    );
    Some(verdict(ConditionType::CredentialsExpiring, reason, message))
}

/// The warning that a certificate which the instance is trusted by ends soon.
fn certificate_expiring(end: &CertificateEnd, desired: &Desired, now: Timestamp) -> Option<Verdict> {
    let CertificateEnd { at, part, subject } = end;
    if later(now, CERTIFICATE_WARNING) < *at {
        return None;
    }
    let (instance, part) = (&desired.target.instance, part.as_str());
    let message = format!(
        "The TLS certificate chain of {instance} expires at {at:.0}, because {part} ({subject}) does; every connection fails then. Renew that certificate."
    );
    Some(verdict(ConditionType::CertificateExpiring, Reason::ServerCertificateExpiring, message))
}

/// The abnormal-true condition of kstatus that goes with a failure.
fn progress(reason: Reason, message: String) -> Verdict {
    match reason.failure_class() {
        FailureClass::Terminal => {
            Verdict { condition: ConditionType::Stalled, truth: Truth::True, reason, message }
        }
        // When is added once it is known: see `status::plan`.
        FailureClass::None | FailureClass::Transient | FailureClass::Persistent => {
            verdict(ConditionType::Reconciling, Reason::Retrying, message)
        }
    }
}

fn verdict(condition: ConditionType, reason: Reason, message: String) -> Verdict {
    Verdict { condition, truth: reason.truth(), reason, message }
}

/// The reason and the message of a step that passed.
fn passed(step: ConditionType, desired: &Desired, observation: &Observation) -> (Reason, String) {
    match step {
        ConditionType::Ready if desired.require.is_empty() => {
            (Reason::Connected, "The login works.".to_owned())
        }
        ConditionType::Ready => {
            (Reason::Connected, "The login works and has the permissions that spec.require lists.".to_owned())
        }
        ConditionType::ReferencesResolved => (Reason::Resolved, references(desired)),
        ConditionType::Reachable => (Reason::Answered, format!("{} responds.", desired.target.instance)),
        ConditionType::ServerReady => server(observation.health.as_ref()),
        ConditionType::Authenticated => (Reason::SelfCheckPassed, login(desired, observation.login.as_ref())),
        ConditionType::Authorized if desired.require.is_empty() => (
            Reason::NothingRequired,
            "No permissions are required, because spec.require is not set.".to_owned(),
        ),
        ConditionType::Authorized => {
            let paths: Vec<_> = desired.require.keys().map(|path| format!("{path:?}")).collect();
            (
                Reason::CapabilitiesGranted,
                format!("The login has the required permissions on {}.", paths.join(", ")),
            )
        }
        ConditionType::Reconciling
        | ConditionType::Stalled
        | ConditionType::CredentialsExpiring
        | ConditionType::CertificateExpiring => (Reason::NotChecked, String::new()),
    }
}

fn references(desired: &Desired) -> String {
    let names: Vec<_> = desired.target.references().iter().map(ObjectName::to_string).collect();
    if names.is_empty() {
        return "The spec names no other objects.".to_owned();
    }
    format!("The operator can read {}.", names.join(", "))
}

fn server(health: Option<&Health>) -> (Reason, String) {
    // A login that works without a look at the health was served by somebody: an active node, if only behind it.
    let Some(health) = health else { return (Reason::Active, "The instance serves requests.".to_owned()) };
    let version = health.version.as_deref().unwrap_or("of unknown version");
    match health.role {
        None => (
            Reason::HealthNotReadable,
            "GET sys/health was refused, but Vault answers other requests. Allow it in the proxy or firewall in front of Vault, so that the operator sees the node's version and role.".to_owned(),
        ),
        Some(ServerRole::Active) => (Reason::Active, format!("An active node ({version}) serves requests.")),
        Some(ServerRole::Standby) => {
            (Reason::Standby, format!("A standby node ({version}) forwards requests to the active node."))
        }
        Some(ServerRole::PerformanceStandby) => {
            (Reason::PerformanceStandby, format!("A performance standby ({version}) serves requests."))
        }
    }
}

fn login(desired: &Desired, login: Option<&LoginSeen>) -> String {
    let method = &desired.target.method;
    match (method.given_token(), login) {
        (None, _) => format!("The login at {} was accepted, and its token works.", method.path()),
        (Some(_), Some(LoginSeen { is_watched: true, .. })) => {
            "The token is valid. Checks do not consume its limited uses.".to_owned()
        }
        (Some(_), _) => "The token works.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::connection::KvVersion,
        auth::LoginFault,
        names::MountPath,
        network::{
            chain::ChainPart,
            faults::{EndpointFault, EndpointProblem, Flaw, TlsFault, TransportFault},
        },
        references::{
            anchors::BundleFault,
            certificate::Weakness,
            resolve::{Problem, ReferenceFault, Suspicion},
            slips::Slip,
            tls::KeyPairFault,
        },
        spec::DesiredEngine,
        vault::{Operation, answer::ServerFault, login::NoLogin, token::SelfFault, wrapping::WrapFault},
        verify::{observation::EngineFault, testing},
    };

    fn summary(verdicts: &[Verdict]) -> String {
        let word =
            |v: &Verdict| format!("{}={}/{}", v.condition.as_str(), v.truth.as_str(), v.reason.as_str());
        verdicts.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    fn judged(fault: Option<Fault>) -> Vec<Verdict> {
        let mount = MountPath::parse("kv/data").expect("valid");
        let engine = Some(DesiredEngine { mount, version: KvVersion::V2 });
        let desired = Desired { engine, ..testing::app_role() };
        judge(&desired, &Observation { fault, ..Observation::default() }, testing::at(0))
    }

    #[test]
    fn without_a_fault_every_step_is_true_and_nothing_else_is_said() {
        assert_eq!(
            summary(&judged(None)),
            "Ready=True/Connected ReferencesResolved=True/Resolved Reachable=True/Answered ServerReady=True/Active \
             Authenticated=True/SelfCheckPassed Authorized=True/NothingRequired"
        );
    }

    #[test]
    fn a_fault_fails_its_step_and_leaves_the_later_ones_unknown() {
        let sealed = judged(Some(Fault::Server(ServerFault::Sealed)));
        assert_eq!(
            summary(&sealed),
            "Ready=False/Sealed ReferencesResolved=True/Resolved Reachable=True/Answered ServerReady=False/Sealed \
             Authenticated=Unknown/NotChecked Authorized=Unknown/NotChecked Reconciling=True/Retrying"
        );
        assert_eq!(sealed[0].message, sealed[3].message, "Ready says what the failed step says");

        let wrong = judged(Some(Fault::Login(LoginFault::InvalidCredentials)));
        assert_eq!(
            summary(&wrong),
            "Ready=False/InvalidCredentials ReferencesResolved=True/Resolved Reachable=True/Answered \
             ServerReady=True/Active Authenticated=False/InvalidCredentials Authorized=Unknown/NotChecked \
             Stalled=True/InvalidCredentials"
        );
    }

    /// What a check saw that asked these one after the other, and ended with the last.
    fn after(requests: &[Operation], fault: Fault) -> Observation {
        let mut asked = Asked::default();
        for request in requests {
            asked.asks(*request);
            asked.answers();
        }
        Observation { fault: Some(fault), asked, ..Observation::default() }
    }

    #[test]
    fn a_step_that_an_answer_of_the_same_check_proved_stays_passed() {
        use Operation::{CapabilitiesSelf, Health, Login, LookupSelf, RenewSelf};
        let page = |status| Fault::Server(ServerFault::NotVault { status });
        let broken = || Fault::Server(ServerFault::ProxyError { status: 502, retry_after: None });
        let limited = || Fault::Server(ServerFault::RateLimited { retry_after: None });
        let silent = || Fault::Transport(TransportFault::TimedOut);
        let sealed = || Fault::Server(ServerFault::Sealed);
        let no_leader = || Fault::Server(ServerFault::NoActiveNode { host: None });
        let table: Vec<(&[Operation], Fault, &str)> = vec![
            (&[], silent(), "Reachable=False/Timeout"),
            (&[Health], page(403), "ServerReady=False/NotVault"),
            (&[Health], silent(), "Reachable=False/Timeout"),
            (&[Health, Login], page(403), "Authenticated=False/RequestBlocked"),
            (&[Health, Login], page(413), "Authenticated=False/RequestBlocked"),
            (&[Health, Login], page(200), "Authenticated=False/NotVault"),
            (&[Health, Login], broken(), "Authenticated=False/ServerError"),
            (&[Health, Login], limited(), "Authenticated=Unknown/RateLimited"),
            (&[Health, Login], silent(), "Authenticated=False/Timeout"),
            (&[Health, Login], sealed(), "ServerReady=False/Sealed"),
            (&[Health, Login], no_leader(), "ServerReady=False/NoActiveNode"),
            (&[Health, Login, LookupSelf], page(405), "Authenticated=False/RequestBlocked"),
            (&[Health, Login, LookupSelf, CapabilitiesSelf], page(405), "Authorized=False/RequestBlocked"),
            (&[LookupSelf], broken(), "ServerReady=False/ServerError"),
            (&[LookupSelf], page(403), "ServerReady=False/NotVault"),
            (&[RenewSelf, LookupSelf], silent(), "ServerReady=False/Timeout"),
        ];
        for (requests, fault, failed) in table {
            let verdicts = judge(&testing::app_role(), &after(requests, fault.clone()), testing::at(0));
            let found = summary(&verdicts);
            let step = failed.split('=').next().expect("a step");
            assert!(found.contains(failed), "{requests:?} {fault:?}: {found}");
            let below = ConditionType::STEPS.iter().take_while(|it| it.as_str() != step);
            for passed in below {
                assert!(
                    found.contains(&format!("{}=True/", passed.as_str())),
                    "{requests:?} {fault:?}: {found}"
                );
            }
        }
    }

    #[test]
    fn a_message_names_the_request_that_failed() {
        use Operation::{CapabilitiesSelf, Health, Login, LookupSelf};
        let broken = || Fault::Server(ServerFault::ServerError { status: 500, retry_after: None });
        let at = |requests: &[Operation], fault| {
            judge(&testing::app_role(), &after(requests, fault), testing::at(0)).swap_remove(0).message
        };
        let login = "POST auth/approle/login";
        let table = [
            (at(&[Health], Fault::Server(ServerFault::NotVault { status: 403 })), "GET sys/health"),
            (at(&[Health, Login], Fault::Server(ServerFault::NotVault { status: 403 })), login),
            (at(&[Health, Login], broken()), login),
            (at(&[Health, Login], Fault::Transport(TransportFault::TimedOut)), login),
            (at(&[Health, Login], LoginFault::InvalidCredentials.into()), login),
            (at(&[], LoginFault::InvalidCredentials.into()), login),
            (at(&[Health, Login], LoginFault::SourceAddress.into()), login),
            (at(&[LookupSelf], broken()), "GET auth/token/lookup-self"),
            (
                at(&[Health], SelfFault::NotPermitted { at: CapabilitiesSelf }.into()),
                "POST sys/capabilities-self",
            ),
        ];
        for (message, request) in table {
            assert!(message.contains(request), "{request}: {message}");
        }
    }

    #[test]
    fn health_that_is_kept_from_us_is_reported_beside_a_login_that_works() {
        let seen = Observation { health: Some(Health::default()), ..Observation::default() };
        let verdicts = judge(&testing::app_role(), &seen, testing::at(0));
        assert!(summary(&verdicts).contains("Ready=True/Connected"), "{}", summary(&verdicts));
        assert!(summary(&verdicts).contains("ServerReady=True/HealthNotReadable"), "{}", summary(&verdicts));
    }

    #[test]
    fn a_token_of_another_namespace_is_reported_with_its_namespace() {
        let message = |of: Option<&str>| {
            let fault = SelfFault::NamespaceMismatch { of: of.map(str::to_owned) };
            judged(Some(fault.into())).swap_remove(0).message
        };
        assert!(message(Some("team-a")).contains(r#"set spec.namespace to "team-a""#));
        assert!(message(None).contains("belongs to the root namespace"));
        assert!(message(Some("")).contains("another Vault namespace"));
    }

    #[test]
    fn a_refused_credential_has_a_hint_and_nothing_else_has() {
        let slips = [
            Slip::Quoted,
            Slip::EncodedTwice,
            Slip::Spaced,
            Slip::Prefixed,
            Slip::Document,
            Slip::IdForToken,
            Slip::Placeholder,
            Slip::NameForId,
            Slip::AccessorForToken,
            Slip::CutOff,
            Slip::Twice,
        ];
        for slip in slips {
            let source = Some((ObjectName::secret("vault"), "secretId".to_owned()));
            let suspicion = Some(Suspicion { field: "spec.auth.appRole.secretId", source, slip });
            let ready = |fault: Fault| {
                let seen = Observation {
                    fault: Some(fault),
                    suspicion: suspicion.clone(),
                    ..Observation::default()
                };
                judge(&testing::app_role(), &seen, testing::at(0)).swap_remove(0).message
            };
            let refused = ready(LoginFault::InvalidCredentials.into());
            assert!(refused.contains("Possible cause: the value of key \"secretId\""), "{refused}");
            assert!(refused.len() <= 1024, "{}", refused.len());
            assert!(ready(WrapFault::Spent.into()).contains("Possible cause"));
            assert!(!ready(LoginFault::Denied.into()).contains("Possible cause"));
            assert!(!ready(ServerFault::Sealed.into()).contains("Possible cause"));
        }
    }

    #[test]
    fn a_token_that_ends_soon_is_a_warning_beside_ready() {
        let login = LoginSeen {
            info: crate::vault::token::TokenInfo::default(),
            expires_at: None,
            is_watched: false,
            ends_soon: Some(testing::at(86_400)),
        };
        let verdicts = judge(
            &testing::token(),
            &Observation { login: Some(login), ..Observation::default() },
            testing::at(0),
        );
        let warning = verdicts.last().expect("verdicts");
        assert_eq!(summary(std::slice::from_ref(warning)), "CredentialsExpiring=True/TokenExpiring");
        assert!(warning.message.contains("expires at 1970-01-02T00:00:00Z"), "{}", warning.message);
        assert_eq!(verdicts[0].truth, Truth::True);
    }

    #[test]
    fn a_suspended_connection_is_neither_ready_nor_working() {
        assert_eq!(
            summary(&suspended()),
            "Ready=Unknown/Suspended ReferencesResolved=Unknown/NotChecked Reachable=Unknown/NotChecked \
             ServerReady=Unknown/NotChecked Authenticated=Unknown/NotChecked Authorized=Unknown/NotChecked"
        );
    }

    /// Faults that an answer shows by more than its status code.
    fn faults_of_answers() -> Vec<(Fault, Reason)> {
        vec![
            (ServerFault::HttpsRequired.into(), Reason::HttpsRequired),
            (ServerFault::ForwardedForRequired.into(), Reason::ForwardedForRequired),
            (ServerFault::NoActiveNode { host: Some("b:8200".to_owned()) }.into(), Reason::NoActiveNode),
            (ServerFault::ProxyError { status: 502, retry_after: None }.into(), Reason::ServerError),
            (LoginFault::SourceAddress.into(), Reason::SourceAddressDenied),
            (SelfFault::UsedUp.into(), Reason::TokenUnusable),
            (SelfFault::NamespacesUnsupported.into(), Reason::NamespaceNotFound),
            (
                SelfFault::NamespaceMismatch { of: Some("team-a".to_owned()) }.into(),
                Reason::TokenNamespaceMismatch,
            ),
        ]
    }

    /// Each fault has this reason at its step, and a message of a bounded length that says what to do.
    fn assert_described(table: Vec<(Fault, Reason)>) {
        for (fault, reason) in table {
            let verdicts = judged(Some(fault.clone()));
            assert_eq!(verdicts[0].reason, reason, "{fault:?}");
            let step = verdicts.iter().find(|v| v.condition == reason.condition()).expect("its step");
            assert_eq!((step.reason, step.truth), (reason, reason.truth()), "{fault:?}");
            let message = &verdicts[0].message;
            assert!(message.contains(['.', ':']) && message.ends_with('.'), "no next step: {message}");
            assert!(message.len() <= 512, "{message}");
        }
    }

    #[test]
    fn every_fault_of_tls_is_distinguished() {
        let tls = |fault| Fault::Transport(TransportFault::Tls(fault));
        let long = || "x".repeat(103);
        let flawed = |flaw| tls(TlsFault::Flawed { subject: long(), flaw });
        assert_described(vec![
            (tls(TlsFault::UnknownAuthority), Reason::UnknownAuthority),
            (tls(TlsFault::SelfSigned { subject: long() }), Reason::UnknownAuthority),
            (tls(TlsFault::AuthorityOutOfTime { subject: long(), is_over: true }), Reason::AuthorityExpired),
            (tls(TlsFault::AuthorityOutOfTime { subject: long(), is_over: false }), Reason::AuthorityExpired),
            (tls(TlsFault::Expired { part: ChainPart::Server, subject: long() }), Reason::CertificateExpired),
            (
                tls(TlsFault::Expired { part: ChainPart::Intermediate, subject: long() }),
                Reason::CertificateExpired,
            ),
            (tls(TlsFault::WrongName { listed: Vec::new() }), Reason::CertificateNameMismatch),
            (flawed(Flaw::Authority), Reason::CertificateNotAcceptable),
            (flawed(Flaw::Usage), Reason::CertificateNotAcceptable),
            (flawed(Flaw::NameConstraint), Reason::CertificateNotAcceptable),
            (flawed(Flaw::Malformed), Reason::CertificateNotAcceptable),
            (flawed(Flaw::Weak(Weakness::OldHash("SHA-1"))), Reason::CertificateNotAcceptable),
            (flawed(Flaw::Weak(Weakness::ShortKey { bits: 1024 })), Reason::CertificateNotAcceptable),
            (
                flawed(Flaw::Weak(Weakness::Unsupported("the elliptic curve P-224"))),
                Reason::CertificateNotAcceptable,
            ),
            (tls(TlsFault::NotTls), Reason::NotTls),
            (tls(TlsFault::OldVersion), Reason::TlsFailed),
            (tls(TlsFault::NothingInCommon), Reason::TlsFailed),
            (tls(TlsFault::UnknownName), Reason::TlsFailed),
            (tls(TlsFault::ClientCertificate), Reason::ClientCertificateRequired),
            (tls(TlsFault::ClientCertificateExpired), Reason::ClientCertificateExpired),
            (tls(TlsFault::Other), Reason::TlsFailed),
        ]);
    }

    #[test]
    fn every_fault_has_a_reason_of_its_step_and_a_message_with_the_next_step() {
        let secret = Some((ObjectName::secret("s"), "k".to_owned()));
        let reference = |problem| {
            Fault::Reference(ReferenceFault { field: "f".to_owned(), source: secret.clone(), problem })
        };
        let transport = Fault::Transport;
        let endpoint = |problem| {
            Fault::Transport(TransportFault::Gateway(EndpointFault {
                endpoint: "socks5h://proxy:1080".to_owned(),
                problem,
            }))
        };
        let table: Vec<(Fault, Reason)> = vec![
            (Fault::Overdue, Reason::CheckOverdue),
            (reference(Problem::Missing), Reason::SecretNotFound),
            (reference(Problem::NotLabelled), Reason::SecretNotLabelled),
            (reference(Problem::Forbidden), Reason::ReadForbidden),
            (reference(Problem::NoKey), Reason::KeyNotFound),
            (reference(Problem::Empty), Reason::EmptyValue),
            (reference(Problem::NotUtf8), Reason::NotUtf8),
            (reference(Problem::Whitespace), Reason::WhitespaceInValue),
            (reference(Problem::TooLong), Reason::CredentialTooLong),
            (reference(Problem::Malformed(Slip::Quoted)), Reason::MalformedCredential),
            (reference(Problem::InvalidCertificate(BundleFault::Empty)), Reason::InvalidCertificate),
            (reference(Problem::InvalidCertificate(BundleFault::Utf16)), Reason::InvalidCertificate),
            (
                reference(Problem::InvalidCertificate(BundleFault::Broken { index: 2, count: 3 })),
                Reason::InvalidCertificate,
            ),
            (reference(Problem::InvalidKeyPair(KeyPairFault::OtherKey)), Reason::InvalidKeyPair),
            (reference(Problem::InvalidKeyPair(KeyPairFault::EncryptedKey)), Reason::InvalidKeyPair),
            (reference(Problem::InvalidKeyPair(KeyPairFault::UnsupportedKey)), Reason::InvalidKeyPair),
            (reference(Problem::InvalidKeyPair(KeyPairFault::NoKey)), Reason::InvalidKeyPair),
            (
                reference(Problem::InvalidGateway("spec.endpoints: list each url once".to_owned())),
                Reason::InvalidGateway,
            ),
            (transport(TransportFault::PlainHttp), Reason::PlainHttpNotAllowed),
            (transport(TransportFault::NameNotResolved), Reason::NameNotResolved),
            (transport(TransportFault::Refused), Reason::ConnectionRefused),
            (transport(TransportFault::Failed), Reason::ConnectionFailed),
            (transport(TransportFault::TimedOut), Reason::Timeout),
            (transport(TransportFault::OutOfResources), Reason::OperatorOutOfResources),
            (
                endpoint(EndpointProblem::Unreachable(Box::new(TransportFault::Refused))),
                Reason::GatewayUnreachable,
            ),
            (endpoint(EndpointProblem::LoginRefused), Reason::GatewayLoginRefused),
            (endpoint(EndpointProblem::LoginSchemes(vec!["NTLM"])), Reason::GatewayLoginRefused),
            (endpoint(EndpointProblem::TargetRefused), Reason::GatewayRefusesTarget),
            (endpoint(EndpointProblem::NotProxy), Reason::NotProxy),
            (ServerFault::NotVault { status: 200 }.into(), Reason::NotVault),
            (ServerFault::Redirected { host: None }.into(), Reason::Redirected),
            (ServerFault::NotInitialized.into(), Reason::NotInitialized),
            (ServerFault::DisasterRecoverySecondary.into(), Reason::DisasterRecoverySecondary),
            (ServerFault::StandbyDisconnected.into(), Reason::StandbyDisconnected),
            (ServerFault::NodeRemoved.into(), Reason::NodeRemoved),
            (ServerFault::RateLimited { retry_after: None }.into(), Reason::RateLimited),
            (ServerFault::ServerError { status: 500, retry_after: None }.into(), Reason::ServerError),
            (LoginFault::Denied.into(), Reason::LoginDenied),
            (LoginFault::MountNotFound.into(), Reason::MountNotFound),
            (LoginFault::NamespaceNotFound.into(), Reason::NamespaceNotFound),
            (LoginFault::MfaRequired.into(), Reason::MfaRequired),
            (LoginFault::Unexpected { status: 418 }.into(), Reason::UnexpectedAnswer),
            (NoLogin::Server(ServerFault::Sealed).into(), Reason::Sealed),
            (SelfFault::Rejected.into(), Reason::TokenUnusable),
            (SelfFault::NotPermitted { at: Operation::LookupSelf }.into(), Reason::TokenUnusable),
            (SelfFault::NamespaceNotFound.into(), Reason::NamespaceNotFound),
            (
                SelfFault::Unexpected { at: Operation::LookupSelf, status: 418 }.into(),
                Reason::UnexpectedAnswer,
            ),
            (WrapFault::Spent.into(), Reason::WrappingTokenSpent),
            (WrapFault::OtherOrigin.into(), Reason::WrappingTokenForeign),
            (WrapFault::Unexpected { status: 418 }.into(), Reason::UnexpectedAnswer),
            (Fault::BudgetSpent, Reason::LoginBudgetSpent),
            (Fault::LoginQueued, Reason::LoginQueued),
            (testing::missing(), Reason::MissingCapabilities),
            (Fault::Engine(EngineFault::NotFound), Reason::SecretsMountNotFound),
            (Fault::Engine(EngineFault::Inside("kv".to_owned())), Reason::SecretsMountNotFound),
            (Fault::Engine(EngineFault::NotKv), Reason::NotKv),
            (Fault::Engine(EngineFault::Version(KvVersion::V1)), Reason::KvVersionMismatch),
        ];
        assert_described(table.into_iter().chain(faults_of_answers()).collect());
        let by_token = judge(
            &testing::token(),
            &Observation { fault: Some(SelfFault::Rejected.into()), ..Observation::default() },
            testing::at(0),
        );
        assert_eq!(by_token[0].reason, Reason::TokenRejected);
    }
}
