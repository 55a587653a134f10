//! A model of several replicas, the API server between them, and a clock.
//!
//! Requests take as long as they like, are served after their sender has given them up, and answers are lost. A process may
//! stand still at any moment, and go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::{
    super::view::{Claim, Slot, View},
    Member,
};

/// Times in half seconds: a Lease, and when its holder stops renewing and sending.
pub(super) const VALID: u64 = 26;
const RENEW_DEADLINE: u64 = 16;
const SEND_DEADLINE: u64 = 25;

/// How many Leases there are, and how many processes want one.
const SLOTS: Slot = 3;
pub(super) const PROCESSES: usize = 3;

pub(super) const NAMESPACES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A Lease, as the API server has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease {
    holder: Option<u64>,
    view: View,
    version: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Request {
    List { publications: u64, found: Option<Vec<Lease>> },
    Write { version: u64, view: View, began: u64, outcome: Option<Result<u64, ()>> },
    Evict { slot: Slot, version: u64, is_done: bool },
}

/// The holder of a slot.
#[derive(Debug)]
pub(super) struct Process {
    id: u64,
    slot: Slot,
    member: Member,
    version: u64,
    renewed: u64,
    fence: u64,
    is_stopped: bool,
    seen: BTreeMap<Slot, (u64, u64)>,
    pub(super) acts_on: BTreeSet<&'static str>,
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) now: u64,
    next_id: u64,
    leases: Vec<Lease>,
    pub(super) processes: Vec<Option<Process>>,
    /// By process; those of one that has ended are still served.
    requests: Vec<Vec<(u64, Request)>>,
}

/// What a process is slow at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Its engines adopt a grant only when nothing else is to be done.
    adopts_late: bool,
    /// It reads the answers to its lists later.
    reads_late: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// So many times whatever is next, when nothing goes wrong.
    Advance(usize, Pace),
    Start,
    Stop,
    GoOn,
    Crash,
    Leave,
    List,
    Write,
    Evict,
    Adopt,
    Serve(usize),
    Answer(usize),
    GiveUp(usize),
}

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    let pace = any::<(bool, bool)>().prop_map(|(adopts_late, reads_late)| Pace { adopts_late, reads_late });
    prop_oneof![
        30 => (1_usize..20, pace).prop_map(|(times, pace)| Step::Advance(times, pace)),
        2 => Just(Step::Start),
        2 => Just(Step::Stop),
        4 => Just(Step::GoOn),
        1 => Just(Step::Crash),
        1 => Just(Step::Leave),
        4 => Just(Step::List),
        4 => Just(Step::Write),
        4 => Just(Step::Evict),
        4 => Just(Step::Adopt),
        10 => (0_usize..3).prop_map(Step::Serve),
        10 => (0_usize..3).prop_map(Step::Answer),
        4 => (0_usize..2).prop_map(Step::GiveUp),
    ]
}

// === impl World ===

impl World {
    /// Free Leases, and processes that have not begun. Versions of different Leases never meet.
    pub(super) fn new() -> Self {
        let lease = |number: u64| Lease { version: number * 1_000_000, ..Lease::default() };
        Self {
            leases: (0..u64::from(SLOTS)).map(lease).collect(),
            processes: (0..PROCESSES).map(|_| None).collect(),
            requests: vec![Vec::new(); PROCESSES],
            ..Self::default()
        }
    }

    pub(super) fn step(&mut self, index: usize, step: &Step) {
        match step {
            Step::Advance(times, pace) => {
                for _ in 0..*times {
                    let next = self.next(index, *pace);
                    self.step(index, &next);
                }
                return;
            }
            Step::Serve(number) => return self.serve(index, *number),
            Step::Start => return self.start(index),
            Step::Crash => self.processes[index] = None,
            _ => {}
        }
        let Some(process) = &mut self.processes[index] else { return };
        match step {
            Step::GoOn => process.is_stopped = false,
            _ if process.is_stopped => {}
            Step::Stop => process.is_stopped = true,
            Step::List => {
                let request = Request::List { publications: process.member.publications(), found: None };
                self.requests[index].push((process.id, request));
            }
            Step::Write if self.now >= process.renewed + RENEW_DEADLINE => self.processes[index] = None,
            Step::Write => {
                let (version, view) = (process.version, process.member.publish());
                let request = Request::Write { version, view, began: self.now, outcome: None };
                self.requests[index].push((process.id, request));
            }
            Step::Evict => {
                for (slot, (version, since)) in &process.seen {
                    if since + VALID <= self.now {
                        let request = Request::Evict { slot: *slot, version: *version, is_done: false };
                        self.requests[index].push((process.id, request));
                    }
                }
            }
            Step::Adopt => {
                let grant = Arc::clone(process.member.grant());
                process.acts_on = NAMESPACES.into_iter().filter(|namespace| grant.owns(namespace)).collect();
                process.member.adopt(grant.number);
            }
            Step::Leave => {
                let lease = &mut self.leases[usize::from(process.slot)];
                if lease.holder == Some(process.id) {
                    lease.holder = None;
                    lease.version += 1;
                }
                self.processes[index] = None;
            }
            Step::Answer(number) => self.answer(index, *number),
            Step::GiveUp(number) => {
                if let Some((sender, _)) = self.requests[index].get_mut(*number) {
                    *sender = 0;
                }
            }
            Step::Advance(..) | Step::Start | Step::Crash | Step::Serve(_) => {}
        }
    }

    /// What a process does next, when nothing goes wrong.
    fn next(&self, index: usize, Pace { adopts_late, reads_late }: Pace) -> Step {
        let Some(process) = &self.processes[index] else { return Step::Start };
        let requests = &self.requests[index];
        let is_left =
            |request: &Request| reads_late && matches!(request, Request::List { found: Some(_), .. });
        if let Some(number) = requests.iter().position(|(_, request)| !is_left(request)) {
            return match requests[number].1 {
                Request::List { found: None, .. }
                | Request::Write { outcome: None, .. }
                | Request::Evict { is_done: false, .. } => Step::Serve(number),
                Request::List { .. } | Request::Write { .. } | Request::Evict { .. } => Step::Answer(number),
            };
        }
        let must_adopt = process.member.has_adopted() < process.member.grant().number;
        if must_adopt && !adopts_late {
            Step::Adopt
        } else if process.member.must_publish() || process.renewed + 4 <= self.now {
            Step::Write
        } else if must_adopt {
            Step::Adopt
        } else if process.seen.values().any(|(_, since)| since + VALID <= self.now) {
            Step::Evict
        } else if requests.len() < 2 {
            Step::List
        } else {
            Step::Answer(0)
        }
    }

    /// Claims a free slot.
    fn start(&mut self, index: usize) {
        let Some(slot) = (0..SLOTS).find(|slot| self.leases[usize::from(*slot)].holder.is_none()) else {
            return;
        };
        if self.processes[index].is_some() {
            return;
        }
        self.next_id += 1;
        let (id, lease) = (self.next_id, &mut self.leases[usize::from(slot)]);
        *lease = Lease { holder: Some(id), view: View::EMPTY, version: lease.version + 1 };
        self.processes[index] = Some(Process {
            id,
            slot,
            member: Member::new(slot),
            version: lease.version,
            renewed: self.now,
            fence: self.now + SEND_DEADLINE,
            is_stopped: false,
            seen: BTreeMap::new(),
            acts_on: BTreeSet::new(),
        });
    }

    /// The API server takes in a request, whether somebody still waits for its answer or not.
    fn serve(&mut self, index: usize, number: usize) {
        let Self { leases, requests, .. } = self;
        let Some((_, request)) = requests[index].get_mut(number) else { return };
        match request {
            Request::List { found, .. } => *found = found.take().or_else(|| Some(leases.clone())),
            Request::Write { version, view, outcome, .. } if outcome.is_none() => {
                // The version is unique over all Leases here, so that it tells whose it is.
                let lease =
                    leases.iter_mut().find(|lease| lease.holder.is_some() && lease.version == *version);
                *outcome = Some(
                    lease
                        .map(|lease| {
                            (lease.view, lease.version) = (*view, lease.version + 1);
                            lease.version
                        })
                        .ok_or(()),
                );
            }
            Request::Evict { slot, version, is_done } if !*is_done => {
                *is_done = true;
                let lease = &mut leases[usize::from(*slot)];
                if lease.version == *version {
                    (lease.holder, lease.version) = (None, lease.version + 1);
                }
            }
            Request::Write { .. } | Request::Evict { .. } => {}
        }
    }

    fn answer(&mut self, index: usize, number: usize) {
        let Some(process) = &mut self.processes[index] else { return };
        let Some((sender, request)) = self.requests[index].get(number).cloned() else { return };
        match request {
            Request::List { publications, found: Some(leases) } if sender == process.id => {
                let mut others = BTreeMap::new();
                for (slot, lease) in (0..SLOTS).zip(&leases).filter(|(slot, _)| *slot != process.slot) {
                    if lease.holder.is_none() {
                        process.seen.remove(&slot);
                        continue;
                    }
                    others.insert(slot, Claim::Of(lease.view));
                    if process.seen.get(&slot).is_none_or(|(version, _)| *version != lease.version) {
                        process.seen.insert(slot, (lease.version, self.now));
                    }
                }
                process.member.listed(&others, publications);
            }
            Request::Write { began, view, outcome: Some(Ok(version)), .. } if sender == process.id => {
                (process.version, process.renewed) = (version, began);
                process.fence = process.fence.max(began + SEND_DEADLINE);
                process.member.published(view);
            }
            Request::Write { outcome: Some(Err(())), .. } if sender == process.id => {
                let lease = &self.leases[usize::from(process.slot)];
                if lease.holder == Some(process.id) {
                    process.version = lease.version;
                } else {
                    self.processes[index] = None;
                }
            }
            // Of the others, somebody gave it up, and nobody waits for its answer.
            Request::Evict { is_done: true, .. }
            | Request::List { found: Some(_), .. }
            | Request::Write { outcome: Some(_), .. } => {}
            Request::List { .. } | Request::Write { .. } | Request::Evict { .. } => return,
        }
        self.requests[index].remove(number);
    }

    /// Who may act on a namespace now: also a process that stands still, since it may go on.
    pub(super) fn actors(&self, namespace: &str) -> Vec<u64> {
        let acts = |process: &&Process| process.acts_on.contains(namespace) && self.now < process.fence;
        self.processes.iter().flatten().filter(acts).map(|process| process.id).collect()
    }

    /// What a process does when nothing is slow: it lists, writes when that is due, and whatever follows is done at once.
    pub(super) fn run(&mut self, index: usize, is_looking: bool) {
        let settle = |world: &mut Self, step: Step| {
            world.step(index, &step);
            while !world.requests[index].is_empty() {
                world.step(index, &Step::Serve(0));
                world.step(index, &Step::Answer(0));
            }
            world.step(index, &Step::Adopt);
        };
        if is_looking {
            settle(self, Step::List);
        }
        let held = self.leases.iter().filter(|lease| lease.holder.is_some()).count();
        settle(self, Step::Evict);
        if self.leases.iter().filter(|lease| lease.holder.is_some()).count() < held {
            settle(self, Step::List);
        }
        let Some(process) = &self.processes[index] else { return };
        let must_publish = process.member.must_publish();
        if must_publish || process.renewed + 4 <= self.now {
            settle(self, Step::Write);
        }
        if must_publish {
            settle(self, Step::List);
        }
    }
}
