//! File name patterns that the shell left to us: `*`, `?` and `[a-z]` within a name, as for kubectl.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Whether a path is a pattern.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// The paths that exist and match, sorted. A name with a dot first needs a pattern with one.
pub(super) fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let mut next = Vec::new();
        for base in &found {
            match component {
                Component::Normal(name) if is_pattern(Path::new(name)) => {
                    next.extend(matching(base, &name.to_string_lossy())?);
                }
                _ => next.push(base.join(component)),
            }
        }
        next.retain(|path| path.symlink_metadata().is_ok());
        found = next;
    }
    Ok(found)
}

fn matching(base: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let folder = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name());
    }
    names.sort();
    let fits = |name: &str| matches(pattern, name) && (pattern.starts_with('.') || !name.starts_with('.'));
    Ok(names.into_iter().filter(|name| name.to_str().is_some_and(fits)).map(|name| base.join(name)).collect())
}

/// Whether a name matches a pattern, in time that their lengths bound.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if let Some(width) = one(&pattern[p..], name[n]) {
            (p, n) = (p + width, n + 1);
        } else if let Some((after, at)) = star {
            star = Some((after, at + 1));
            (p, n) = (after, at + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|character| *character == '*')
}

/// How much of a pattern stands for this one character, if it fits.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match *pattern {
        ['?', ..] => Some(1),
        ['[', ref rest @ ..] => {
            let Some(end) = rest.iter().skip(1).position(|c| *c == ']').map(|end| end + 1) else {
                return (character == '[').then_some(1);
            };
            let (inverted, set) = match &rest[..end] {
                ['!' | '^', set @ ..] => (true, set),
                set => (false, set),
            };
            (is_in(set, character) != inverted).then_some(end + 2)
        }
        [own, ..] => (own == character).then_some(1),
        [] => None,
    }
}

fn is_in(mut set: &[char], character: char) -> bool {
    while let [first, rest @ ..] = set {
        match rest {
            ['-', last, rest @ ..] => {
                if (*first..=*last).contains(&character) {
                    return true;
                }
                set = rest;
            }
            _ => {
                if *first == character {
                    return true;
                }
                set = rest;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let table: &[(&str, &str, bool)] = &[
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("*.yaml", ".yaml", true),
            ("*", "", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXbcd", false),
            ("?.yaml", "ä.yaml", true),
            ("?.yaml", "ab.yaml", false),
            ("[a-c]?", "bz", true),
            ("[a-c]?", "dz", false),
            ("[!a-c]", "d", true),
            ("[^a]", "a", false),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[ab", "[ab", true),
            ("a.yaml", "a.yaml", true),
            ("**", "ab", true),
            ("", "a", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), *expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_long_pattern_takes_no_long_time() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!matches(&format!("{}b", "*a".repeat(50)), &"a".repeat(2_000)));
    }
}
