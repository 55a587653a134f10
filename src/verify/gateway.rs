//! From a check of a gateway to the status that is written.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    judge, messages,
    schedule::{self, Outcome},
    status::{Circumstances, Judged, begin, credentials, plan},
};
use crate::{
    api::{
        condition::{ConditionType, Reason},
        gateway::{EndpointStatus, VaultGatewayStatus},
    },
    conditions::{self, Verdict},
    network::faults::EndpointProblem,
    references::{Versions, resolve::ReferenceFault},
    spec::DesiredGateway,
};

/// Every reason that Ready of a gateway can have: of what it names, of its endpoints, and of the operator.
const REASONS: [Reason; 21] = [
    Reason::EndpointsHealthy,
    Reason::EndpointsDegraded,
    Reason::CheckOverdue,
    Reason::InternalError,
    Reason::InvalidSpec,
    Reason::SecretNotFound,
    Reason::SecretNotLabelled,
    Reason::ConfigMapNotFound,
    Reason::KeyNotFound,
    Reason::EmptyValue,
    Reason::NotUtf8,
    Reason::WhitespaceInValue,
    Reason::CredentialTooLong,
    Reason::InvalidCertificate,
    Reason::InvalidKeyPair,
    Reason::ReadForbidden,
    Reason::AddressNotAllowed,
    Reason::OperatorOutOfResources,
    Reason::GatewayUnreachable,
    Reason::NotProxy,
    Reason::GatewayLoginRefused,
];

/// What a check of a gateway saw.
#[derive(Clone, Debug)]
pub struct GatewaySeen {
    /// What was found of each endpoint; or why the objects that the gateway names cannot be used.
    pub endpoints: Result<Vec<EndpointSeen>, ReferenceFault>,
    /// The objects that it rests on.
    pub versions: Versions,
}

/// What was found of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointSeen {
    /// Its address, as the spec has it.
    pub url: String,
    /// How long it took.
    pub latency: Duration,
    /// What is wrong with it.
    pub problem: Option<EndpointProblem>,
}

// === impl GatewaySeen ===

impl GatewaySeen {
    /// Whether an endpoint works.
    pub fn works(&self) -> bool {
        self.endpoints.iter().flatten().any(|endpoint| endpoint.problem.is_none())
    }
}

/// Whether Ready of a gateway can have this reason.
pub fn can_have(reason: Reason) -> bool {
    REASONS.contains(&reason)
}

/// The status after a check, and how long to wait for the next.
pub fn checked(
    previous: &VaultGatewayStatus,
    around: &Circumstances<'_>,
    desired: &DesiredGateway,
    seen: &GatewaySeen,
) -> (VaultGatewayStatus, Duration) {
    let DesiredGateway { interval, timeout, .. } = *desired;
    let verdicts = judge(seen);
    let mut next = begin(previous, around, &verdicts);
    let endpoints = seen.endpoints.as_deref().unwrap_or_default();
    let healthy = endpoints.iter().filter(|endpoint| endpoint.problem.is_none()).count();
    next.healthy_endpoints = Some(number(healthy));
    next.endpoints = endpoints.iter().map(endpoint_status).collect();
    next.credentials = credentials(&seen.versions);
    next.last_check_time = Some(Time(around.now));

    let since = conditions::find(&next.conditions, ConditionType::Ready)
        .map_or(around.now, |ready| ready.last_transition_time.0);
    let failed = Outcome::Failed { since, retry_after: None };
    let outcome = if healthy > 0 { Outcome::Passed { interval, timeout } } else { failed };
    // A proxy that is back is found as soon as the user asks for, however long it was away.
    let wait = schedule::wait(outcome, around.now, around.jitter).min(interval);
    plan(&mut next, around.now, wait);
    (next, wait)
}

/// The status of a Ready gateway that was not checked in time. It rests on what the last check rested on.
pub fn overdue(previous: &VaultGatewayStatus, around: &Circumstances<'_>) -> VaultGatewayStatus {
    let message = "No check completed in time, so it is unknown whether the endpoints still work. Raise spec.check.interval, or ask the operator's administrator to raise --concurrency: the operator or the Kubernetes API is overloaded.";
    let verdicts = judge::unchecked(VaultGatewayStatus::STEPS, Reason::CheckOverdue, message);
    VaultGatewayStatus {
        credentials: previous.credentials.clone(),
        last_check_time: previous.last_check_time.clone(),
        next_check_time: previous.next_check_time.clone(),
        ..begin(previous, around, &verdicts)
    }
}

/// A status, with the number of connections that name the gateway now.
pub fn counted(status: VaultGatewayStatus, connections: usize) -> VaultGatewayStatus {
    VaultGatewayStatus { connections: Some(number(connections)), ..status }
}

/// Whether an endpoint works that did not before, so that those who wait for the gateway should try.
pub fn is_back(previous: &VaultGatewayStatus, next: &VaultGatewayStatus) -> bool {
    let failed = |url: &str| previous.endpoints.iter().any(|before| before.url == url && !before.healthy);
    next.endpoints.iter().any(|endpoint| endpoint.healthy && failed(&endpoint.url))
}

// === impl VaultGatewayStatus ===

impl Judged for VaultGatewayStatus {
    const STEPS: &'static [ConditionType] = &[ConditionType::ReferencesResolved, ConditionType::Reachable];

    fn carry_over(&mut self, previous: &Self, _: &[Verdict]) {
        self.connections = previous.connections;
    }

    fn differs_in_substance(previous: &Self, next: &Self) -> bool {
        let Self {
            healthy_endpoints,
            endpoints,
            connections,
            credentials,
            observed_generation: _,
            last_check_time: _,
            next_check_time: _,
            last_handled_reconcile_at: _,
            conditions: _,
        } = previous;
        let say_the_same = |(one, other): (&EndpointStatus, &EndpointStatus)| {
            let EndpointStatus { url, healthy, message, latency_milliseconds: _ } = one;
            *url == other.url && *healthy == other.healthy && *message == other.message
        };
        *healthy_endpoints != next.healthy_endpoints
            || endpoints.len() != next.endpoints.len()
            || !endpoints.iter().zip(&next.endpoints).all(say_the_same)
            || *connections != next.connections
            || *credentials != next.credentials
    }
}

fn judge(seen: &GatewaySeen) -> Vec<Verdict> {
    let endpoints = match &seen.endpoints {
        Ok(endpoints) => endpoints,
        Err(fault) => {
            let (reason, message) = messages::of_reference(fault);
            return judge::unchecked(VaultGatewayStatus::STEPS, reason, &message);
        }
    };
    let (all, failing): (_, Vec<_>) = (endpoints.len(), endpoints.iter().filter_map(complaint).collect());
    let works = all - failing.len();
    // If one of them may pass by itself, waiting is worth while.
    let worst = failing.iter().find(|(_, _, passes)| *passes).or(failing.first());
    let reported = worst.map(|(reason, message, _)| (*reason, message.clone()));
    let failed = reported.clone().filter(|_| works == 0).map(|(reason, message)| {
        let of_all = if all > 1 { format!("No endpoint works. {message}") } else { message };
        (reason, of_all)
    });
    judge::ladder(VaultGatewayStatus::STEPS, failed, |step| match (step, &reported) {
        (ConditionType::Ready, None) => (Reason::EndpointsHealthy, count(works, all)),
        (ConditionType::Ready, Some((_, message))) => {
            (Reason::EndpointsDegraded, format!("{} {message}", count(works, all)))
        }
        (ConditionType::ReferencesResolved, _) => {
            (Reason::Resolved, "The operator can read all objects that the spec names.".to_owned())
        }
        _ => (Reason::Answered, count(works, all)),
    })
}

fn count(works: usize, all: usize) -> String {
    format!("{works} of {all} endpoints work.")
}

/// What is wrong with an endpoint, and whether it may pass by itself.
fn complaint(endpoint: &EndpointSeen) -> Option<(Reason, String, bool)> {
    let problem = endpoint.problem.as_ref()?;
    let (reason, message) = messages::of_endpoint(&endpoint.url, problem, None);
    Some((reason, message, problem.is_passing()))
}

fn endpoint_status(seen: &EndpointSeen) -> EndpointStatus {
    let milliseconds = i64::try_from(seen.latency.as_millis()).unwrap_or(i64::MAX);
    let complaint = complaint(seen);
    EndpointStatus {
        url: seen.url.clone(),
        healthy: complaint.is_none(),
        latency_milliseconds: complaint.is_none().then_some(milliseconds),
        message: complaint.map(|(_, message, _)| message).unwrap_or_default(),
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::ObjectName,
        network::{
            address_policy::AddressPolicy,
            faults::{TlsFault, TransportFault},
        },
        references::{anchors::BundleFault, resolve::Problem as P, tls::KeyPairFault},
        verify::testing::at,
    };

    const INTERVAL: Duration = Duration::from_secs(60);

    fn is_ready(status: &VaultGatewayStatus) -> bool {
        conditions::is_true(&status.conditions, ConditionType::Ready)
    }

    fn desired() -> DesiredGateway {
        DesiredGateway { endpoints: Vec::new(), interval: INTERVAL, timeout: Duration::from_secs(10) }
    }

    fn endpoint(url: &str, problem: Option<EndpointProblem>) -> EndpointSeen {
        EndpointSeen { url: url.to_owned(), latency: Duration::from_millis(7), problem }
    }

    fn refused() -> EndpointProblem {
        EndpointProblem::Unreachable(Box::new(TransportFault::Refused))
    }

    fn status(previous: &VaultGatewayStatus, second: i64, endpoints: &[EndpointSeen]) -> VaultGatewayStatus {
        let around = Circumstances { generation: 1, requested_at: None, now: at(second), jitter: 0.0 };
        let seen = GatewaySeen { endpoints: Ok(endpoints.to_vec()), versions: Versions::new() };
        counted(checked(previous, &around, &desired(), &seen).0, 3)
    }

    fn ready(status: &VaultGatewayStatus) -> (&str, &str) {
        let ready = conditions::find(&status.conditions, ConditionType::Ready).expect("there is a Ready");
        (&ready.status, &ready.reason)
    }

    /// Each problem of an object that a gateway can name, and each of an endpoint.
    fn problems() -> (Vec<ReferenceFault>, Vec<EndpointProblem>) {
        let fault = |object: ObjectName, problem| ReferenceFault {
            field: "spec.endpoints[0].credentials".to_owned(),
            source: Some((object, "k".to_owned())),
            problem,
        };
        let of_values = [
            P::Missing,
            P::NotLabelled,
            P::Forbidden,
            P::NoKey,
            P::Empty,
            P::NotUtf8,
            P::Whitespace,
            P::TooLong,
            P::InvalidCertificate(BundleFault::Empty),
            P::InvalidKeyPair(KeyPairFault::NoKey),
        ];
        let mut objects: Vec<_> =
            of_values.into_iter().map(|problem| fault(ObjectName::secret("s"), problem)).collect();
        objects.push(fault(ObjectName::config_map("c"), P::Missing));
        let rules = AddressPolicy::default().rules_for("ns");
        let refusal = rules.permit_address("", ([127, 0, 0, 1], 80).into()).expect_err("it is protected");
        let unreachable = |fault| EndpointProblem::Unreachable(Box::new(fault));
        let endpoints = vec![
            unreachable(TransportFault::NotAllowed(refusal)),
            unreachable(TransportFault::NameNotResolved),
            unreachable(TransportFault::Refused),
            unreachable(TransportFault::Failed),
            unreachable(TransportFault::TimedOut),
            unreachable(TransportFault::OutOfResources),
            unreachable(TransportFault::Tls(TlsFault::NotTls)),
            EndpointProblem::LoginRefused,
            EndpointProblem::LoginSchemes(vec!["Digest"]),
            EndpointProblem::NotProxy,
        ];
        (objects, endpoints)
    }

    #[test]
    fn the_reasons_of_a_gateway_are_those_that_its_checks_give() {
        let (objects, endpoints) = problems();
        let of = |endpoints| judge(&GatewaySeen { endpoints, versions: Versions::new() })[0].reason;
        let mut given: Vec<_> = objects.into_iter().map(|fault| of(Err(fault))).collect();
        given.extend(endpoints.iter().map(|problem| of(Ok(vec![endpoint("a", Some(problem.clone()))]))));
        given.push(of(Ok(vec![endpoint("a", None)])));
        given.push(of(Ok(vec![endpoint("a", None), endpoint("b", Some(refused()))])));
        given.extend([Reason::InvalidSpec, Reason::CheckOverdue, Reason::InternalError]);
        for reason in Reason::ALL {
            assert_eq!(can_have(*reason), given.contains(reason), "{}", reason.as_str());
        }
    }

    /// The endpoints, the status and reason of Ready, and which of the two conditions of kstatus is set.
    type Row<'a> = (&'a str, &'a [EndpointSeen], (&'a str, &'a str), Option<ConditionType>);

    #[test]
    fn a_ready_that_is_not_earned_anew_in_time_ends_and_the_next_check_decides() {
        let before = status(&VaultGatewayStatus::default(), 0, &[endpoint("a", None)]);
        let around = Circumstances { generation: 1, requested_at: None, now: at(120), jitter: 0.0 };
        let late = overdue(&before, &around);
        assert!(is_ready(&before) && !is_ready(&late));
        assert_eq!(ready(&late), ("Unknown", "CheckOverdue"));
        assert_eq!(
            (late.last_check_time.as_ref(), late.healthy_endpoints),
            (before.last_check_time.as_ref(), None)
        );
        assert!(conditions::is_true(&late.conditions, ConditionType::Reconciling));
        assert!(is_ready(&status(&late, 130, &[endpoint("a", None)])));
    }

    #[test]
    fn a_gateway_is_ready_while_one_endpoint_works() {
        let login = || Some(EndpointProblem::LoginRefused);
        let table: &[Row<'_>] = &[
            ("all work", &[endpoint("a", None), endpoint("b", None)], ("True", "EndpointsHealthy"), None),
            (
                "one works",
                &[endpoint("a", Some(refused())), endpoint("b", None)],
                ("True", "EndpointsDegraded"),
                None,
            ),
            (
                "none works, for now",
                &[endpoint("a", login()), endpoint("b", Some(refused()))],
                ("False", "GatewayUnreachable"),
                Some(ConditionType::Reconciling),
            ),
            (
                "none works until a person helps",
                &[endpoint("a", login())],
                ("False", "GatewayLoginRefused"),
                Some(ConditionType::Stalled),
            ),
        ];
        for (name, endpoints, expected, progress) in table {
            let status = status(&VaultGatewayStatus::default(), 0, endpoints);
            assert_eq!(ready(&status), *expected, "{name}");
            for condition in [ConditionType::Reconciling, ConditionType::Stalled] {
                let is_set = conditions::is_true(&status.conditions, condition);
                assert_eq!(is_set, *progress == Some(condition), "{name}: {}", condition.as_str());
            }
            assert_eq!(status.connections, Some(3));
            assert_eq!(status.endpoints.len(), endpoints.len());
        }
    }

    #[test]
    fn latency_is_no_news_and_an_endpoint_that_is_back_is() {
        let up = status(&VaultGatewayStatus::default(), 0, &[endpoint("a", None)]);
        let mut slower = endpoint("a", None);
        slower.latency = Duration::from_millis(99);
        assert!(!VaultGatewayStatus::is_news(&up, &status(&up, 60, &[slower])));
        assert!(VaultGatewayStatus::is_news(&up, &counted(up.clone(), 4)));

        let down = status(&up, 120, &[endpoint("a", Some(refused()))]);
        assert!(VaultGatewayStatus::is_news(&up, &down) && !is_back(&up, &down));
        assert!(is_back(&down, &up));
        assert!(down.endpoints[0].message.contains("refused the connection"), "{down:?}");
    }

    #[test]
    fn a_gateway_that_fails_is_checked_as_often_as_the_user_wants() {
        let around = |now| Circumstances { generation: 1, requested_at: None, now: at(now), jitter: 0.0 };
        let seen =
            GatewaySeen { endpoints: Ok(vec![endpoint("a", Some(refused()))]), versions: Versions::new() };
        let (first, wait) = checked(&VaultGatewayStatus::default(), &around(0), &desired(), &seen);
        assert_eq!(wait, Duration::from_secs(5));
        let (_, wait) = checked(&first, &around(3600), &desired(), &seen);
        assert_eq!(wait, INTERVAL);
    }
}
