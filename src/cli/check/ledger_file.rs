//! The ledger of refused logins in a file, which runs of `check` share.
//!
//! A file that cannot be used is told once, and the run goes on with what it knows itself: within one run the same rules hold.

use std::{
    fmt::Display,
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::ledger::{Circumstances, Counted, Decision, Held, Key, Ledger, Login, LoginResult, Unusable};
use crate::{names::ConnectionRef, spec::Target};

/// Where the file is, below the user's folder for caches.
const DEFAULT_PLACE: &str = "vault-connection-operator/refused-logins.json";

/// The largest file that is read: what a ledger can be, and more.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Longest wait for other runs to leave the file alone. Each holds it for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look whether it is free, or whether another run knows the outcome of its login.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// How long a login may be under way beyond the time for the whole check.
const LOGIN_GRACE: Duration = Duration::from_secs(5);

/// Where the ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In this file.
    File(PathBuf),
    /// Nowhere, because the user wants it so.
    Nowhere,
    /// Nowhere, because no folder is known that would be the user's.
    Unknown,
}

/// The ledger over runs.
pub(super) struct LedgerFile {
    /// None when only this run can be remembered.
    path: Option<PathBuf>,
    /// What is known, as of the last look at the file.
    ledger: Option<Ledger>,
    /// Refused logins before this time do not count.
    forgiven_before: Option<Timestamp>,
    warnings: Vec<String>,
}

/// A login that is being tried.
pub(super) struct Attempt {
    id: u64,
    login: Login,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("failed to {step}: {source}")]
    Io { step: &'static str, source: io::Error },
    // To replace a device, such as /dev/null, would be worse than to remember nothing.
    #[error("it is not a regular file")]
    NotRegular,
    #[error("another run has locked it")]
    Locked,
    #[error("it was written by another version of this program")]
    OtherFormat,
    #[error("the system provides no random numbers")]
    NoRandom,
}

// === impl Location ===

impl Location {
    /// The file in the user's folder for caches, by the rules of the XDG base directories.
    pub(super) fn by_default(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        folder.map_or(Self::Unknown, |folder| Self::File(folder.join(DEFAULT_PLACE)))
    }
}

// === impl LedgerFile ===

impl LedgerFile {
    /// Nothing is read or written before a login is to be tried.
    pub(super) fn at(location: Location, forgiven_before: Option<Timestamp>) -> Self {
        let mut warnings = Vec::new();
        let path = match location {
            Location::File(path) => Some(path),
            Location::Nowhere => None,
            Location::Unknown => {
                warnings.push(
                    "rejected logins are not remembered for later runs, because neither XDG_CACHE_HOME nor HOME is set; name a file with --state-file"
                        .to_owned(),
                );
                None
            }
        };
        Self { path, ledger: None, forgiven_before, warnings }
    }

    /// What the user should know since the last time that this was asked.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Whether a login may be tried, after others of its role are through with theirs. It takes at most `timeout`. The ledger is
    /// free while it waits.
    pub(super) async fn begin(
        shared: &Mutex<Self>,
        (connection, target): (&ConnectionRef, &Target),
        counted: &Counted,
        timeout: Duration,
    ) -> Result<Attempt, Held> {
        let patience = Instant::now() + timeout;
        let id = fastrand::u64(..);
        loop {
            let mut file = shared.lock().await;
            let now = Timestamp::now();
            let around = Circumstances {
                now,
                until: now.checked_add(timeout + LOGIN_GRACE).unwrap_or(Timestamp::MAX),
                forgiven_before: file.forgiven_before,
                impatient: Instant::now() >= patience,
                process: process::id(),
            };
            let (login, decision) = file
                .change(|ledger| {
                    ledger.bury(is_alive);
                    let login = ledger.login(connection, target, counted);
                    let decision = ledger.decide(&login, &around, id);
                    (login, decision)
                })
                .await;
            drop(file);
            match decision {
                Decision::Try(id) => return Ok(Attempt { id, login }),
                Decision::Wait => sleep(POLL_INTERVAL).await,
                Decision::Hold(held) => return Err(held),
            }
        }
    }

    /// Notes how a login went.
    pub(super) async fn settle(&mut self, attempt: Attempt, result: LoginResult) {
        let Attempt { id, login } = attempt;
        self.change(|ledger| ledger.settle(id, &login, result, Timestamp::now())).await;
    }

    /// Changes the ledger, in the file if it can be.
    async fn change<T>(&mut self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let Some(path) = self.path.clone() else { return change(self.own()) };
        // Held until the end of this function.
        let _lock = match self.load(&path).await {
            Ok(lock) => lock,
            Err(error) => {
                self.give_up(&path, &error);
                return change(self.own());
            }
        };
        let before = self.own().write();
        let outcome = change(self.own());
        let after = self.own().write();
        if after != before
            && let Err(error) = replace(&path, &after)
        {
            self.give_up(&path, &FileError::Io { step: "write", source: error });
        }
        outcome
    }

    /// Takes the lock, and reads the file.
    async fn load(&mut self, path: &Path) -> Result<File, FileError> {
        let step = |step| move |source| FileError::Io { step, source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(step("create its directory"))?;
        }
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(FileError::NotRegular);
        }
        let lock = lock(path).await?;
        let text = match File::open(path) {
            Ok(file) => {
                let mut text = Vec::new();
                file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(step("read"))?;
                Some(text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(step("read")(error)),
        };
        let now = Timestamp::now();
        let read = text.map(|text| {
            let text = String::from_utf8(text).map_err(|_| Unusable::Corrupt)?;
            if text.len() as u64 > MAX_FILE_BYTES { Err(Unusable::Corrupt) } else { Ledger::read(&text, now) }
        });
        match read {
            Some(Ok(ledger)) => self.ledger = Some(ledger),
            // Nobody else writes it while it is locked, so what this run knows is all that there is.
            None => self.ledger = Some(self.ledger.take().map_or_else(fresh, Ok)?),
            Some(Err(Unusable::OtherFormat)) => return Err(FileError::OtherFormat),
            Some(Err(Unusable::Corrupt)) => {
                self.ledger = Some(self.ledger.take().map_or_else(fresh, Ok)?);
                self.warn(
                    path,
                    &"it is damaged and is replaced; rejected logins of earlier runs are forgotten",
                );
            }
        }
        Ok(lock)
    }

    /// What this run knows.
    fn own(&mut self) -> &mut Ledger {
        // Without random numbers nothing is written, and a key that is known does no harm.
        self.ledger.get_or_insert_with(|| fresh().unwrap_or_else(|_| Ledger::new(Key::default())))
    }

    fn give_up(&mut self, path: &Path, error: &FileError) {
        self.path = None;
        self.warn(path, &format_args!("{error}; rejected logins are remembered for this run only"));
    }

    fn warn(&mut self, path: &Path, what: &dyn Display) {
        self.warnings.push(format!("the state file {} cannot be used: {what}", path.display()));
    }
}

/// An empty ledger with a key of its own.
fn fresh() -> Result<Ledger, FileError> {
    let mut key = Key::default();
    SystemRandom::new().fill(&mut key).map_err(|_| FileError::NoRandom)?;
    Ok(Ledger::new(key))
}

/// Keeps other runs from the file until what is returned is dropped.
async fn lock(path: &Path) -> Result<File, FileError> {
    let step = |step| move |source| FileError::Io { step, source };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(name);
    let file = file.map_err(step("open its lock file"))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Err(FileError::Locked),
            Err(TryLockError::WouldBlock) => sleep(POLL_INTERVAL).await,
            Err(TryLockError::Error(error)) => return Err(step("lock")(error)),
        }
    }
}

/// Writes the file anew, so that nobody sees half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.{:08x}.new", process::id(), fastrand::u32(..)));
    let new = PathBuf::from(name);
    let written = File::options().create_new(true).write(true).mode(0o600).open(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Whether a process runs, as far as this one can see.
fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}
