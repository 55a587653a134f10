//! The address policy as it stands now: what the flags give, and a file that is read again and again.
//!
//! A file that makes no sense at the start ends the operator. One that becomes so later changes nothing: the policy
//! that holds keeps holding, and the fault is told once. The file is polled, since Kubernetes replaces a mounted
//! ConfigMap by a link to another folder, and what is there is a few KiB.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

use super::{
    address_policy::{AddressPolicy, Contact, Rules},
    entry::Grant,
};

/// Longest file that is read. A thousand entries have some 30 KiB.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// The policy that holds now, shared by all who ask.
#[derive(Clone)]
pub struct PolicyHandle(Arc<Shared>);

/// The file of a policy cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to use the address policy in {} (--address-policy-file)", path.display())]
pub struct PolicyFileError {
    path: PathBuf,
    source: FileFault,
}

/// What reading the file again led to.
#[derive(Debug)]
pub enum Reload {
    /// It says what it said before, or makes no sense and that was told.
    Unchanged,
    /// Another policy holds; this one held before.
    Changed(AddressPolicy),
    /// It makes no sense. The policy that holds stays.
    Failed(PolicyFileError),
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum FileFault {
    #[error("failed to read it: {0}")]
    Read(String),
    #[error("it has more than {} KiB", MAX_FILE_BYTES >> 10)]
    TooLong,
    #[error("failed to parse it as YAML: {0}")]
    Parse(String),
}

/// What is in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    contact: Option<Contact>,
    rules: Vec<Grant>,
}

struct Shared {
    flags: AddressPolicy,
    file: Option<PathBuf>,
    now: Mutex<Now>,
}

struct Now {
    policy: AddressPolicy,
    /// The rules that were asked for, so that the connections of a namespace share them.
    rules: HashMap<String, Arc<Rules>>,
    /// What the file held when it was last read, good or bad.
    seen: Result<String, FileFault>,
}

// === impl PolicyHandle ===

impl PolicyHandle {
    /// A policy that never changes.
    pub fn fixed(policy: AddressPolicy) -> Self {
        let now = Now { policy: policy.clone(), rules: HashMap::new(), seen: Ok(String::new()) };
        Self(Arc::new(Shared { flags: policy, file: None, now: Mutex::new(now) }))
    }

    /// What the flags give, and the file adds.
    pub fn with_file(flags: AddressPolicy, file: PathBuf) -> Result<Self, PolicyFileError> {
        let read = read(&file).and_then(|text| Ok((added(&flags, &text)?, text)));
        let (policy, text) = read.map_err(|source| PolicyFileError { path: file.clone(), source })?;
        let now = Now { policy, rules: HashMap::new(), seen: Ok(text) };
        Ok(Self(Arc::new(Shared { flags, file: Some(file), now: Mutex::new(now) })))
    }

    /// What holds for the connections of a namespace.
    pub fn rules_for(&self, namespace: &str) -> Arc<Rules> {
        let Now { policy, rules, .. } = &mut *self.now();
        if let Some(known) = rules.get(namespace) {
            return Arc::clone(known);
        }
        let found = policy.rules_for(namespace);
        // Most namespaces have the same: it is kept once.
        let found = rules.values().find(|known| **known == found).map_or(found, Arc::clone);
        rules.insert(namespace.to_owned(), Arc::clone(&found));
        found
    }

    /// Whether there is a file that may change.
    pub fn has_file(&self) -> bool {
        self.0.file.is_some()
    }

    /// Reads the file again. This blocks for as long as the file system does.
    pub fn reload(&self) -> Reload {
        let Some(path) = &self.0.file else { return Reload::Unchanged };
        let seen = read(path);
        let mut now = self.now();
        if seen == now.seen {
            return Reload::Unchanged;
        }
        now.seen.clone_from(&seen);
        match seen.and_then(|text| added(&self.0.flags, &text)) {
            Ok(policy) => {
                now.rules.clear();
                Reload::Changed(std::mem::replace(&mut now.policy, policy))
            }
            Err(source) => Reload::Failed(PolicyFileError { path: path.clone(), source }),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<String, FileFault> {
    let failed = |error: io::Error| FileFault::Read(error.to_string());
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(FileFault::TooLong) } else { Ok(text) }
}

fn added(flags: &AddressPolicy, text: &str) -> Result<AddressPolicy, FileFault> {
    // The parser draws the line that is wrong below its words, which does not fit into one line.
    let words = |error: serde_saphyr::Error| error.without_snippet().to_string().replace('\n', " ");
    let Document { contact, rules } =
        serde_saphyr::from_str(text).map_err(|error| FileFault::Parse(words(error)))?;
    Ok(flags.with(rules, contact))
}

#[cfg(test)]
mod tests {
    use std::{env, fs, os::unix::fs::symlink, process};

    use super::*;

    /// A folder that ends with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = env::temp_dir().join(format!("address-policy-{}-{name}", process::id()));
            fs::create_dir_all(&folder).expect("a folder is made");
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn fault(text: &str) -> String {
        added(&AddressPolicy::default(), text).err().map(|fault| fault.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_file_holds_a_contact_and_rules() {
        let text = "
contact: the platform team
rules:
- allow: [vault.example.com:8200, '[fd00::/8]:8200']
- namespaces: [team-*, other]
  allow: ['*.example.com', 10.0.0.0/8]
";
        let given = |entries: &[&str]| {
            let grants = entries.iter().map(|entry| entry.parse().expect("an entry")).collect();
            AddressPolicy::new(grants, Vec::new(), "the platform team".parse().expect("a contact"))
        };
        let flags = AddressPolicy::default().with(vec!["10.9.9.9".parse().expect("an entry")], None);
        let policy = added(&flags, text).unwrap_or_else(|fault| panic!("{fault}"));
        let for_all = ["10.9.9.9", "vault.example.com:8200", "[fd00::/8]:8200"];
        assert_eq!(policy.rules_for("x"), given(&for_all).rules_for("x"));
        let for_team = [&for_all[..], &["*.example.com", "10.0.0.0/8"]].concat();
        assert_eq!(policy.rules_for("team-a"), given(&for_team).rules_for("x"));
        assert_eq!(fault("rules: []"), "");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_reported_in_one_line() {
        let rows = [
            ("", "failed to parse it as YAML"),
            ("{}", "rules"),
            ("rules: [{}]", "allow"),
            ("rules: [{allow: []}]", "must not be empty"),
            ("rules: [{namespaces: [], allow: [a]}]", "must not be empty"),
            ("rules: [{namespaces: [A], allow: [a]}]", "write a namespace or a pattern"),
            ("rules: [{allow: ['https://a']}]", "write a host"),
            ("rules: [{allow: ['team=10.0.0.1:99999']}]", "write a host"),
            ("rules: [{allow: [a], ports: [1]}]", "ports"),
            ("rule: []", "rule"),
            ("rules: []\nrules: []", "rules"),
            ("contact: ''\nrules: []", "whom to ask"),
            ("rules: [", "failed to parse it as YAML"),
            ("rules: []\n---\nrules: []", "failed to parse it as YAML"),
        ];
        for (text, words) in rows {
            let said = fault(text);
            assert!(said.contains(words) && !said.contains('\n'), "{text:?}: {said:?}");
        }
    }

    #[test]
    fn a_file_is_followed_through_links_and_a_bad_one_is_reported_once_and_changes_nothing() {
        let folder = Folder::new("links");
        // As the kubelet writes a ConfigMap: the file is a link into a folder, which is replaced by a rename.
        let swap = |version: &str, text: &str| {
            let data = folder.0.join(version);
            fs::create_dir(&data).expect("a folder is made");
            fs::write(data.join("policy.yaml"), text).expect("a file is written");
            symlink(version, folder.0.join("..tmp")).expect("a link is made");
            fs::rename(folder.0.join("..tmp"), folder.0.join("..data")).expect("it is renamed");
        };
        let path = folder.0.join("policy.yaml");
        symlink("..data/policy.yaml", &path).expect("a link is made");
        let open = |path: &Path| PolicyHandle::with_file(AddressPolicy::default(), path.to_owned());
        let said = open(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with("failed to use the address policy in /"), "{said}");

        swap("1", "rules: [{allow: [10.0.0.1]}]");
        let policy = open(&path).unwrap_or_else(|error| panic!("{error}"));
        let first = policy.rules_for("a");
        assert!(matches!(policy.reload(), Reload::Unchanged));
        swap("2", "rules: [{allow: [10.0.0.2]}]");
        assert!(matches!(policy.reload(), Reload::Changed(before) if before.rules_for("a") == first));
        let second = policy.rules_for("a");
        assert_ne!(first, second);

        swap("3", "rules: [{allow: [10.0.0.2.3]}]");
        assert!(matches!(policy.reload(), Reload::Failed(_)));
        assert!(matches!(policy.reload(), Reload::Unchanged), "it is told once");
        assert_eq!(policy.rules_for("a"), second);
        fs::remove_file(&path).expect("it is removed");
        assert!(matches!(policy.reload(), Reload::Failed(_)), "this is another fault");
        assert!(matches!(policy.reload(), Reload::Unchanged));
        fs::write(&path, " ".repeat(300 << 10)).expect("a file is written");
        assert!(matches!(policy.reload(), Reload::Failed(_)), "it is too long");
        assert_eq!(policy.rules_for("a"), second);

        fs::remove_file(&path).expect("it is removed");
        swap("4", "rules: [{allow: [10.0.0.2]}]");
        symlink("..data/policy.yaml", &path).expect("a link is made");
        assert!(matches!(policy.reload(), Reload::Changed(_)), "it is good again");
        assert_eq!(policy.rules_for("a"), second);
    }

    #[test]
    fn namespaces_with_the_same_rules_share_them() {
        let grants = vec!["b=10.0.0.1".parse().expect("an entry"), "10.0.0.2".parse().expect("an entry")];
        let policy = PolicyHandle::fixed(AddressPolicy::default().with(grants, None));
        assert!(Arc::ptr_eq(&policy.rules_for("a"), &policy.rules_for("c")));
        assert!(!Arc::ptr_eq(&policy.rules_for("a"), &policy.rules_for("b")));
    }
}
