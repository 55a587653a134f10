//! From the arguments of `check` to texts: files, folders, patterns, standard input and kustomize.
//!
//! What one of them cannot give does not keep the others back.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{glob, manifests::InputError};
use crate::cli::InputArgs;

/// What a file with manifests in a folder ends with, as for kubectl.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// The largest text that is read: a hundred times what a large chart renders.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// How deep folders may lie in each other.
const MAX_DEPTH: usize = 64;

/// A text with manifests, and what to call it.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads everything that `-f` and `-k` name, each file once, in the order of the arguments.
pub(super) fn read(args: &InputArgs) -> Vec<Result<Source, InputError>> {
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for path in &args.files {
        match expand(path, args.recursive) {
            Ok(paths) => {
                let fresh = paths.into_iter().filter(|path| {
                    // A pipe that is read twice is not the same twice; a file that does not exist is told as such.
                    seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
                });
                sources.extend(fresh.map(|path| read_file(&path)));
            }
            Err(error) => sources.push(Err(error)),
        }
    }
    sources.extend(args.kustomize.iter().map(|folder| kustomize(folder)));
    sources
}

/// The files that an argument stands for. What exists is taken by its name, whatever characters that has.
fn expand(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, InputError> {
    let read = |source| InputError::Read { name: path.display().to_string(), source };
    if is_stdin(path) {
        return Ok(vec![path.to_owned()]);
    }
    let places = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && glob::is_pattern(path) => {
            let places = glob::expand(path).map_err(read)?;
            if places.is_empty() {
                return Err(InputError::NoMatch { pattern: path.display().to_string() });
            }
            places
        }
        Err(error) => return Err(read(error)),
        Ok(_) => vec![path.to_owned()],
    };
    let mut files = Vec::new();
    for place in places {
        if place.is_dir() {
            let mut found = Vec::new();
            list(&place, if recursive { MAX_DEPTH } else { 1 }, &mut found)
                .map_err(|source| InputError::Read { name: place.display().to_string(), source })?;
            if found.is_empty() {
                return Err(InputError::EmptyFolder { name: place.display().to_string(), recursive });
            }
            files.extend(found);
        } else {
            files.push(place);
        }
    }
    Ok(files)
}

/// The files with manifests in a folder, sorted by name. Links to folders are not followed, so that none leads around.
fn list(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A mounted Secret or ConfigMap keeps its files a second time behind two dots.
        if entry.file_name().as_encoded_bytes().starts_with(b"..") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            if depth > 1 {
                list(&path, depth - 1, found)?;
            }
        } else if has_manifests(&path) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn has_manifests(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

fn read_file(path: &Path) -> Result<Source, InputError> {
    let name = if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() };
    let text =
        if is_stdin(path) { read_text(io::stdin().lock()) } else { File::open(path).and_then(read_text) };
    match text {
        Ok(text) => Ok(Source { name, text }),
        Err(source) => Err(InputError::Read { name, source }),
    }
}

fn read_text(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
    }
    Ok(text)
}

/// What `kubectl kustomize` makes of a folder.
fn kustomize(folder: &Path) -> Result<Source, InputError> {
    let name = format!("kustomize {}", folder.display());
    let Some(kubectl) = find_program("kubectl") else {
        return Err(InputError::NoKubectl { folder: folder.display().to_string() });
    };
    let failed = |source| InputError::Read { name: name.clone(), source };
    // What it says goes to the user as it is said: it is the user's own kubectl.
    let mut child = Command::new(kubectl)
        .arg("kustomize")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let output = child.stdout.take().expect("it is piped");
    let text = read_text(output);
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(InputError::Kustomize { folder: folder.display().to_string(), status });
    }
    Ok(Source { text: text.map_err(failed)?, name })
}

fn find_program(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}
