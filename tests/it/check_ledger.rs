//! What `check` remembers of refused logins, so that runs of it do not lock a role.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output, thread};

use serde_json::json;

use crate::support::{
    check::{check, check_with, connection, documents, folder, reasons, secret, text},
    fakes::{
        openbao::MOUNT,
        vault::{Ask, FakeVault, ROLE_ID, SECRET_ID},
    },
    specs,
    vault::Vault,
};

/// A secret id that no role has.
const WRONG: &str = "00000000-0000-4000-8000-00000000dead";

/// A run with its caches in a folder: each connection with a secret id of its own.
fn run(cache: &Path, input: &str, more: &[&str]) -> Output {
    let cache = cache.to_str().expect("a name in UTF-8");
    check_with(&[("XDG_CACHE_HOME", cache)], &[&["-f", "-", "-o", "json"], more].concat(), input)
}

/// Connections to an instance, each with its name and its secret id.
fn input(address: &str, mount: &str, role_id: &str, connections: &[(&str, &str)]) -> String {
    let manifests = connections.iter().flat_map(|(name, secret_id)| {
        [
            connection(name, &specs::app_role(address, mount, name)),
            secret(name, &[("roleId", role_id), ("secretId", secret_id)]),
        ]
    });
    documents(&manifests.collect::<Vec<_>>())
}

fn state_file(cache: &Path) -> std::path::PathBuf {
    cache.join("vault-connection-operator/refused-logins.json")
}

#[tokio::test]
async fn ten_runs_with_a_wrong_secret_id_leave_the_role_unlocked() {
    let (vault, cache) = (Vault::shared(), folder());
    let role = vault.app_role("check-runs", json!({"token_ttl": "1h"})).await;
    let right = vault.secret_id(&role).await;
    let of = |secret_id: &str| input(&vault.address, &role.mount, &role.role_id, &[("mine", secret_id)]);
    for number in 0..10 {
        let output = run(&cache, &of(WRONG), &[]);
        assert_eq!(
            (output.status.code(), reasons(&output)),
            (Some(1), vec!["InvalidCredentials".to_owned()])
        );
        let said = text(&output.stderr);
        assert_eq!(said.contains("--force"), number > 0, "{number}: {said}");
    }
    let output = run(&cache, &of(&right), &[]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let ten: Vec<_> = (0..10).map(|number| (format!("c{number}"), format!("{WRONG}{number}"))).collect();
    let ten: Vec<_> = ten.iter().map(|(name, secret_id)| (name.as_str(), secret_id.as_str())).collect();
    let all = run(&cache, &input(&vault.address, &role.mount, &role.role_id, &ten), &[]);
    let refused = reasons(&all).iter().filter(|reason| *reason == "InvalidCredentials").count();
    assert_eq!(refused, 2, "{:?}", reasons(&all));
    let output = run(&cache, &input(&vault.address, &role.mount, &role.role_id, &[("c0", &right)]), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_runs_makes_more_refused_logins_than_may_be() {
    let (vault, cache) = (FakeVault::new().await, folder());
    let of = |name: &str, secret_id: &str| input(&vault.url, MOUNT, ROLE_ID, &[(name, secret_id)]);
    let logins = || vault.asked(Ask::Login);
    run(&cache, &of("a", WRONG), &[]);
    run(&cache, &of("a", WRONG), &[]);
    run(&cache, &of("b", WRONG), &[]);
    assert_eq!(logins(), 1, "a refused credential is not tried again, whoever names it");
    run(&cache, &of("b", "other-1"), &[]);
    let spent = run(&cache, &of("c", "other-2"), &[]);
    assert_eq!((reasons(&spent), logins()), (vec!["LoginBudgetSpent".to_owned()], 2));
    assert!(text(&spent.stderr).contains("--force"), "{}", text(&spent.stderr));
    run(&cache, &of("b", "changed-1"), &[]);
    run(&cache, &of("b", "changed-2"), &[]);
    run(&cache, &of("b", "changed-3"), &[]);
    assert_eq!(logins(), 4, "a changed one may be tried, but never as the fifth");

    let forced = run(&cache, &of("b", WRONG), &["--force"]);
    assert_eq!((reasons(&forced), logins()), (vec!["InvalidCredentials".to_owned()], 5));
    let right = run(&cache, &of("b", SECRET_ID), &["--force"]);
    assert_eq!(right.status.code(), Some(0), "{}", text(&right.stderr));
    let wrong = run(&cache, &of("b", WRONG), &[]);
    assert_eq!((reasons(&wrong), logins()), (vec!["InvalidCredentials".to_owned()], 7), "a success clears");
    assert!(!text(&wrong.stderr).contains("--force"));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_the_same_time_share_what_they_know() {
    let (vault, cache) = (FakeVault::new().await, folder());
    let url = vault.url.clone();
    thread::scope(|scope| {
        for number in 0..8 {
            let (cache, url) = (&cache, &url);
            scope.spawn(move || {
                let (name, secret_id) = (format!("c{number}"), format!("{WRONG}{number}"));
                run(cache, &input(url, MOUNT, ROLE_ID, &[(&name, &secret_id)]), &[])
            });
        }
    });
    assert_eq!(vault.asked(Ask::Login), 2);

    let cache = folder();
    let right = thread::scope(|scope| {
        let one = || scope.spawn(|| run(&cache, &input(&url, MOUNT, ROLE_ID, &[("a", SECRET_ID)]), &[]));
        let runs: Vec<_> = (0..6).map(|_| one()).collect();
        runs.into_iter().map(|run| run.join().expect("it ends").status.code()).collect::<Vec<_>>()
    });
    assert_eq!(right, [Some(0); 6], "nobody is kept from a right one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_file_is_for_its_user_alone_and_tells_no_credential() {
    let (vault, cache) = (FakeVault::new().await, folder().join("cache"));
    run(&cache, &input(&vault.url, MOUNT, ROLE_ID, &[("my-name", WRONG)]), &[]);
    let file = state_file(&cache);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
    let content = fs::read_to_string(&file).expect("it is text");
    for hidden in [ROLE_ID, WRONG, "my-name", "team-a", MOUNT, "127.0.0.1"] {
        assert!(!content.contains(hidden), "{content}");
    }
    let left: Vec<_> = fs::read_dir(file.parent().expect("a folder"))
        .expect("it can be listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_cannot_be_used_is_reported_and_the_run_goes_on() {
    let vault = FakeVault::new().await;
    let right = input(&vault.url, MOUNT, ROLE_ID, &[("a", SECRET_ID)]);
    let ten: Vec<_> = (0..10).map(|number| format!("c{number}")).collect();
    let ten: Vec<_> = ten.iter().map(|name| (name.as_str(), WRONG)).collect();
    let wrong = input(&vault.url, MOUNT, ROLE_ID, &ten);
    let newer = r#"{"format": 2, "what": "nobody knows"}"#;
    let rows: [(&str, Option<&str>, &str); 4] = [
        ("half a file", Some("{\"format\":1,\"ke"), "it is damaged"),
        ("binary", Some("\u{0}\u{1}"), "it is damaged"),
        ("a newer format", Some(newer), "another version"),
        ("a folder in its place", None, "not a regular file"),
    ];
    for (name, content, expected) in rows {
        let (cache, before) = (folder(), vault.asked(Ask::Login));
        let file = state_file(&cache);
        fs::create_dir(file.parent().expect("a folder")).expect("it is made");
        match content {
            Some(content) => fs::write(&file, content).expect("it is written"),
            None => fs::create_dir(&file).expect("it is made"),
        }
        let output = run(&cache, &right, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        assert!(said.starts_with("warning: ") && said.contains(expected), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{name}: it is told once: {said}");
        let output = run(&cache, &wrong, &[]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(vault.asked(Ask::Login) - before, 2, "{name}: the run itself remembers");
        if content == Some(newer) {
            assert_eq!(fs::read_to_string(&file).expect("it is there"), newer, "it is left alone");
        }
    }
    let nowhere = check_with(&[], &["-f", "-"], &right);
    assert!(nowhere.status.success() && text(&nowhere.stderr).contains("--state-file"));
    let chosen = folder().join("new/state.json");
    let name = chosen.to_str().expect("a name in UTF-8");
    let output = check_with(&[], &["-f", "-", "--state-file", name], &wrong);
    assert!(output.status.code() == Some(1) && chosen.is_file(), "{}", text(&output.stderr));
    let device = check_with(&[], &["-f", "-", "--state-file", "/dev/null"], &right);
    assert!(device.status.success() && text(&device.stderr).contains("not a regular file"));
    assert!(!fs::metadata("/dev/null").expect("it is there").is_file(), "a device is not replaced");
    let off = check(&["-f", "-"], &right);
    assert_eq!((off.status.code(), text(&off.stderr)), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_spends_nothing() {
    let (vault, cache) = (FakeVault::new().await, folder());
    let down = input("http://127.0.0.1:9", MOUNT, ROLE_ID, &[("a", SECRET_ID)]);
    for _ in 0..5 {
        assert_eq!(run(&cache, &down, &[]).status.code(), Some(1));
    }
    let content = fs::read_to_string(state_file(&cache)).expect("it is text");
    assert!(content.contains("\"entries\":[]"), "{content}");
    let output = run(&cache, &input(&vault.url, MOUNT, ROLE_ID, &[("a", SECRET_ID)]), &[]);
    assert_eq!(output.status.code(), Some(0));
}
