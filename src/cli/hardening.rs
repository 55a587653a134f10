//! What the process forbids the system to do with its memory, which holds credentials.

use std::{env, io};

use rustix::process::{Resource, Rlimit, setrlimit};

/// Lets the parent read the memory all the same, in a debug build: the tests search it, and root does not always run them. No
/// release build can be asked for that.
const TEST_SWITCH: &str = "BED_READS_MEMORY";

/// Forbids core dumps, and other processes of the same user to read the memory.
pub(super) fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A handler of core dumps that the kernel pipes them to is called whatever that limit says, but not for a process that
    // cannot be dumped.
    #[cfg(target_os = "linux")]
    if !(cfg!(debug_assertions) && env::var_os(TEST_SWITCH).is_some()) {
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_hardened_process_leaves_no_core_dump() {
        harden().expect("it may always do less");
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().expect("the kernel tells"), DumpableBehavior::NotDumpable);
    }
}
