//! The memory of a process that we started, searched.
//!
//! It is read by `/proc/PID/mem`, which root may do, and a parent where a debug build lets it (`operator::READS_MEMORY`).

use std::{fs, fs::File, os::unix::fs::FileExt};

use super::canary::Needles;

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// How much of what stands around a hit is shown.
const AROUND: usize = 96;

/// Where something was found.
#[derive(Debug)]
pub struct Hit {
    /// What was found, and in which form.
    pub what: String,
    /// The mapping, as `/proc/PID/maps` names it, and what stands there.
    pub place: String,
}

/// Everything that is found of the needles in all that a process can read of its own memory.
pub fn search(pid: u32, needles: &Needles) -> Vec<Hit> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("a parent may read the memory of its child");
    let mut hits = Vec::new();
    let mut read = 0;
    for line in maps.lines() {
        let Some((begin, end)) = readable(line) else { continue };
        let mut at = begin;
        while at < end {
            let wanted = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let mut chunk = vec![0; wanted];
            // What is mapped and not there, such as the kernel's own pages, is no memory of the process.
            let Ok(got) = memory.read_at(&mut chunk, at) else { break };
            chunk.truncate(got);
            if got == 0 {
                break;
            }
            read += got;
            let mut last = None;
            for (needle, offset) in needles.find(&chunk) {
                // The parts of one copy are one hit.
                if last.is_none_or(|last| offset > last + AROUND) {
                    let place = format!("{line}: {}", around(&chunk, offset));
                    hits.push(Hit { what: needle.name.clone(), place });
                }
                last = Some(offset);
            }
            // The next chunk begins before the end of this one, so that what lies across is seen.
            let step = if at + got as u64 == end { got } else { got.saturating_sub(needles.longest).max(1) };
            at += step as u64;
        }
    }
    assert!(read > CHUNK, "the memory of {pid} was read: {read} bytes");
    hits
}

/// The bounds of a mapping, if it can be read.
fn readable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (begin, end) = words.next()?.split_once('-')?;
    let parse = |text| u64::from_str_radix(text, 16).ok();
    words.next()?.starts_with('r').then_some((parse(begin)?, parse(end)?))
}

fn around(chunk: &[u8], offset: usize) -> String {
    let part = &chunk[offset.saturating_sub(AROUND)..chunk.len().min(offset + AROUND)];
    part.escape_ascii().to_string().replace("\\x00", ".")
}
