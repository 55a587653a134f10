//! How long a scrape and a status page take with 10,000 connections, and how large they are.
//!
//! ```text
//!   cargo bench --bench scrape
//! ```
//!
//! For `docs/performance.md`. No bound on time is tested: it depends on the machine. The bound on size is.

use std::{
    hint::black_box,
    io::{self, Write as _},
    time::Instant,
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use vault_connection_operator::{
    api::{
        condition::{ConditionType, Reason},
        status::{Server, Session, VaultConnectionStatus},
    },
    conditions::{Verdict, find, fold},
    names::ConnectionRef,
    telemetry::{
        metrics::{Metrics, exposition::Format},
        page::{
            self, Around,
            board::{Board, Seen, Summary},
        },
        serve::Stage,
    },
};

const CONNECTIONS: usize = 10_000;

const ROUNDS: usize = 50;

fn main() -> io::Result<()> {
    let (metrics, board, now) = (Metrics::new(true), Board::new(true), Timestamp::now());
    for number in 0..CONNECTIONS {
        let reason = if number.is_multiple_of(50) { Reason::Sealed } else { Reason::Connected };
        let (name, status) = (name(number), status(reason, now));
        metrics.objects().connection(&name, &status);
        let description = "Vault of the team".to_owned();
        board.seen("VaultConnection", &name, || Seen { generation: 1, is_ending: false, description });
        board.published("VaultConnection", &name, || Some(summary(&status)));
    }
    let around = Around { stage: Stage::Working, unlisted: Vec::new(), now };
    let page = |query| page::respond(&board, &around, None, Some(query)).into_body();
    measure("scrape, OpenMetrics", || metrics.text(Format::OpenMetrics))?;
    measure("scrape, classic format", || metrics.text(Format::Classic))?;
    measure("status page, first of 50", || page(""))?;
    measure("status page, filtered by text", || page("text=nothing-has-this"))
}

/// Runs something again and again, and writes its median and longest time, and the size of what it made.
fn measure(what: &str, make: impl Fn() -> String) -> io::Result<()> {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            black_box(make());
            begin.elapsed()
        })
        .collect();
    times.sort();
    let (median, longest, bytes) = (times[ROUNDS / 2], times[ROUNDS - 1], make().len());
    writeln!(io::stdout(), "{what}: median {median:.1?}, longest {longest:.1?}, {bytes} bytes")
}

fn name(number: usize) -> ConnectionRef {
    ConnectionRef {
        namespace: format!("team-{:04}", number / 10).into(),
        name: format!("connection-{number:05}").into(),
    }
}

fn status(reason: Reason, now: Timestamp) -> VaultConnectionStatus {
    let ready = Verdict {
        condition: ConditionType::Ready,
        truth: reason.truth(),
        reason,
        message: "The login works and has the required permissions.".to_owned(),
    };
    let later = |seconds: i64| Timestamp::from_second(now.as_second() + seconds).ok().map(Time);
    VaultConnectionStatus {
        observed_generation: Some(1),
        state: Some(reason.state()),
        conditions: fold(&[], &[ready], 1, now),
        last_check_time: Some(Time(now)),
        next_check_time: later(60),
        session: Some(Session { expire_time: later(3600), ..Session::default() }),
        server: Some(Server { certificate_expire_time: later(90 * 86_400), ..Server::default() }),
        ..VaultConnectionStatus::default()
    }
}

fn summary(status: &VaultConnectionStatus) -> Summary {
    Summary {
        generation: status.observed_generation,
        state: status.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        ready: find(&status.conditions, ConditionType::Ready).cloned(),
        checked: status.last_check_time.as_ref().map(|time| time.0),
        next: status.next_check_time.as_ref().map(|time| time.0),
        target: "https://vault.example.com:8200".to_owned(),
        facts: vec![
            ("Method", "app-role at auth/approle".to_owned()),
            ("Server", "1.20.4, active".to_owned()),
        ],
        ..Summary::default()
    }
}
