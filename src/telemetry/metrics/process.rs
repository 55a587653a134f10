//! The metrics of the process that every exporter has, from `/proc`.

use std::{fmt::Write as _, fs};

use super::catalogue::{
    Description, PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_RESIDENT, PROCESS_START, PROCESS_THREADS,
    PROCESS_VIRTUAL,
};

/// Writes them in `OpenMetrics`. What the system does not tell is left out.
pub fn write(text: &mut String) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, limits, system) = (read("/proc/self/stat"), read("/proc/self/limits"), read("/proc/stat"));
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size());
    for (metric, value) in values(&stat, ticks, page) {
        sample(text, metric, value);
    }
    if let Some(open) = open {
        sample(text, &PROCESS_FDS, as_float(open));
    }
    if let Some(most) = max_fds(&limits) {
        sample(text, &PROCESS_MAX_FDS, most);
    }
    if let Some(start) = start_time(&system, &stat, ticks) {
        sample(text, &PROCESS_START, start);
    }
}

fn sample(text: &mut String, metric: &'static Description, value: f64) {
    metric.write_head(text);
    let _ = writeln!(text, "{} {value}", metric.name);
}

/// The fields of `/proc/self/stat` after the name of the program, which may hold spaces: the first is field 3 of
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.
fn fields(stat: &str) -> Vec<f64> {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
}

fn values(stat: &str, ticks: u64, page: usize) -> Vec<(&'static Description, f64)> {
    let fields = fields(stat);
    let field = |number: usize| fields.get(number - 3).copied();
    let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / as_float(ticks));
    let values = [
        (&PROCESS_CPU, cpu),
        (&PROCESS_THREADS, field(20)),
        (&PROCESS_VIRTUAL, field(23)),
        (&PROCESS_RESIDENT, field(24).map(|pages| pages * as_float(page))),
    ];
    values.into_iter().filter_map(|(metric, value)| Some((metric, value?))).collect()
}

fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn start_time(system: &str, stat: &str, ticks: u64) -> Option<f64> {
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let after = fields(stat).get(22 - 3).copied()?;
    Some(boot + after / as_float(ticks))
}

/// Sizes and ticks are far below what a float holds exactly.
#[expect(clippy::cast_precision_loss, reason = "sizes are below 2^52")]
fn as_float(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or_default() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_read_whatever_the_program_is_called() {
        let stat = "42 (a ) name) S 1 42 42 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 7 0 1000 123456789 2048 18446744073709551615";
        let values = values(stat, 100, 4096);
        let named: Vec<_> = values.iter().map(|(metric, value)| (metric.name, *value)).collect();
        assert_eq!(
            named,
            [
                ("process_cpu_seconds_total", 3.0),
                ("process_threads", 7.0),
                ("process_virtual_memory_bytes", 123_456_789.0),
                ("process_resident_memory_bytes", 8_388_608.0),
            ]
        );
        assert_eq!(start_time("cpu 1 2\nbtime 1700000000\n", stat, 100), Some(1_700_000_010.0));
        assert_eq!(
            max_fds("Max open files            1024                 524288               files\n"),
            Some(1024.0)
        );
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited            files\n"),
            None
        );
        assert!(super::values("", 100, 4096).is_empty());
    }
}
