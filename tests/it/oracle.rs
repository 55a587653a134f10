//! An oracle: random changes to connections of all kinds, and somebody outside who knows the truth of each second.
//!
//! ```text
//!   plan (pure, by a seed) ─▶ bench (real servers) ─▶ history of changes ─▶ truth (pure) ─┐
//!                                    └─▶ statuses, seen once a second ────────────────────┴─▶ findings
//! ```
//!
//! It fails on a Ready that is older than the contract allows, on one that comes late, on a role that we locked, on a
//! login too many, and on a token that is left. `ORACLE_SECONDS` makes it longer, `ORACLE_SEED` (a number, or
//! `random`) makes other changes. How they meet the operator's checks is the machine's choice.

mod bench;
mod changes;
mod model;
mod observer;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::{Duration, SystemTime},
};

use bench::{Bench, name};
use changes::{Change, Kind, Subject};
use observer::{Observer, charged};
use plan::{Step, plan};

use crate::support::{
    audit,
    history::History,
    root::Root,
    vault::GUESS,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// How long changes are made, if nobody asks for more.
const LENGTH: Duration = Duration::from_secs(110);

/// How long everything may take to be Ready after the last change. What was broken for long is looked at seldom.
const SETTLES: Duration = Duration::from_secs(240);

/// Which changes are made, if nobody asks for others. It makes each kind of change.
const SEED: u64 = 7;

/// How many connections there are of each kind.
const KINDS: [(Kind, usize); 10] = [
    (Kind::ShortRole, 2),
    (Kind::Documented, 3),
    (Kind::LongRole, 4),
    (Kind::SharedRole, 5),
    (Kind::Requiring, 3),
    (Kind::Gateway, 3),
    (Kind::Wrapped, 2),
    (Kind::Periodic, 2),
    (Kind::Fixed, 2),
    (Kind::Limited, 2),
];

/// The connections. Those that share a Secret name that of the first.
fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (kind, count) in KINDS {
        let first = subjects.len();
        subjects.extend((first..first + count).map(|number| {
            let credential = if kind == Kind::SharedRole { first } else { number };
            Subject { number, kind, credential }
        }));
    }
    subjects
}

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The seed of the changes: the same for everybody, so that a change of the code is judged by the same changes, unless
/// another is asked for, or `random`.
fn seed() -> u64 {
    if env::var("ORACLE_SEED").is_ok_and(|seed| seed == "random") {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
        return u64::from(now.subsec_nanos());
    }
    asked("ORACLE_SEED").unwrap_or(SEED)
}

/// How often each change is made.
fn counts(steps: &[Step]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for step in steps {
        let text = format!("{:?}", step.change);
        *counts.entry(text.split('(').next().unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_status_lies_whatever_changes() {
    let seed = seed();
    let length = asked("ORACLE_SECONDS").map_or(LENGTH, Duration::from_secs);
    let steps = plan(seed, &subjects(), length);
    eprintln!("ORACLE_SEED={seed}: {} changes\n{:?}", steps.len(), counts(&steps));
    let bench = Bench::new(subjects()).await;
    let history = History::of(&bench.cluster);
    for subject in &bench.subjects {
        bench.cluster.wait(&name(subject.number), "Ready at first", PATIENCE, is_ready).await;
    }

    let mut observer = Observer::of(&bench, &history, seed);
    let changed = std::sync::atomic::AtomicBool::new(false);
    let changing = async {
        for Step { gap, change } in &steps {
            // Not a wait for anything: changes come as far apart as those of people and software.
            tokio::time::sleep(*gap).await;
            bench.make(*change).await;
        }
        changed.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let changing_is_over = || changed.load(std::sync::atomic::Ordering::SeqCst);
    tokio::join!(changing, observer.watch(|_| changing_is_over()));
    let end = bench.now() + SETTLES;
    observer.watch(|observer| observer.all_is_well() || observer.has_findings() || bench.now() > end).await;
    eprintln!("{:.0} s, {} logins from outside", bench.now().as_secs_f64(), observer.logins);
    observer.findings.assert_none(seed);

    assert_nothing_is_left(&bench).await;
    assert_no_login_too_many(&bench, seed).await;
}

/// Deletes all connections, once each has a session that is known to be new: none of these is left.
async fn assert_nothing_is_left(bench: &Bench) {
    let root = Root::of(&bench.vault);
    let mut before = BTreeSet::new();
    for (_, role) in bench.roles() {
        before.extend(root.leases(&role.mount).await);
    }
    for subject in bench.subjects.iter().filter(|it| !it.kind.is_token() && it.number == it.credential) {
        bench.make(Change::RightCredential(subject.credential)).await;
    }
    for subject in bench.subjects.iter().filter(|subject| subject.kind.keeps_session()) {
        let role = bench.role(subject.credential).expect("it logs in by a role");
        let sharing = bench.subjects.iter().filter(|it| it.credential == subject.credential).count();
        eventually("each has a new session", PATIENCE, async || {
            let leases = root.leases(&role.mount).await;
            (leases.difference(&before).count() == sharing).then_some(())
        })
        .await;
    }
    bench.delete_all().await;
    for (_, role) in bench.roles() {
        eventually("no session is left of those that it knows", PATIENCE, async || {
            root.leases(&role.mount).await.is_subset(&before).then_some(())
        })
        .await;
    }
    bench.stop_operator().await;
}

/// Each role was charged with few refused logins, and still lets others in.
async fn assert_no_login_too_many(bench: &Bench, seed: u64) {
    let guess = bench.vault.audited(GUESS).await;
    let text = audit::vault_log(&bench.vault).await;
    for (credential, role) in bench.roles() {
        let charged = charged(&text, &role.mount, &guess);
        assert!(charged.most <= 4, "credential {credential}, ORACLE_SEED={seed}: {charged:?}");
        assert!(charged.most_of_one <= 2, "credential {credential}, ORACLE_SEED={seed}: {charged:?}");
        assert!(bench.vault.lets_in(role).await, "credential {credential}, ORACLE_SEED={seed}: it is locked");
    }
}
