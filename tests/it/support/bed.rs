//! The bed: what `hack/bed` started around this process, and how to run programs in it.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

/// The folder of the package. Asked when the tests run: this binary may have been built in another checkout.
pub fn package() -> PathBuf {
    PathBuf::from(variable("CARGO_MANIFEST_DIR"))
}

/// A variable that a bed sets.
pub fn variable(name: &str) -> String {
    match env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!(
            "{name} is not set: these tests need a bed; run `hack/bed run -- cargo test --locked --test it`"
        ),
    }
}

/// A program that the bed brought.
pub fn program(name: &str) -> Command {
    Command::new(Path::new(&variable("BED_BIN")).join(name))
}

/// `hack/bed` itself.
pub fn hack_bed(arguments: &[&str]) -> String {
    run(Command::new(package().join("hack/bed")).args(arguments))
}

/// Runs a command to its end, and returns what it printed. One that fails is shown whole.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    let mut told = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let _ = write!(told, "{}", String::from_utf8_lossy(&output.stderr));
        panic!("{command:?} failed, {}:\n{told}", output.status);
    }
    told
}

/// Sends a signal to a process that we started.
pub fn signal(pid: u32, name: &str) {
    // Only a shell is sure to have a `kill`. A process that has ended by itself is no failure.
    let _ = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).output();
}

/// A name that no other test, and no other run in the same bed, has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The running test, as a file may be called.
pub fn test_name() -> String {
    thread::current().name().unwrap_or("unknown").replace("::", ".")
}

/// A folder of this kind in the bed, which goes with the bed.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(&variable("BED_DIR")).join(name);
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    folder
}
