//! The pictures of the documentation: each is shown, says what it shows, and loads nothing.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Page, pages, prose, read, resolved};
use crate::support::bed::package;

/// Every file below `docs` that is a picture.
fn pictures() -> Vec<String> {
    let (mut folders, mut found) = (vec!["docs".to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(package().join(&folder)).expect("a folder of ours") {
            let entry = entry.expect("an entry");
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            let extension = Path::new(&path).extension().map(|it| it.to_string_lossy().into_owned());
            match extension.as_deref() {
                _ if entry.path().is_dir() => folders.push(path),
                Some("svg" | "png") => found.push(path),
                Some(_) | None => {}
            }
        }
    }
    found
}

/// The pictures that a page shows: their alternative texts, and where they are.
fn shown(text: &str) -> Vec<(String, String)> {
    let prose = prose(text);
    let pictures = prose.split("![").skip(1).filter_map(|rest| {
        let (alternative, rest) = rest.split_once("](")?;
        Some((alternative.to_owned(), rest.split_once(')')?.0.to_owned()))
    });
    pictures.collect()
}

#[test]
fn every_picture_is_shown_with_a_text_for_those_who_do_not_see_it() {
    let mut used = BTreeSet::new();
    for Page { path, text } in pages() {
        for (alternative, target) in shown(&text) {
            assert!(alternative.split_whitespace().count() > 3, "{path}: {target} has no alternative text");
            used.insert(resolved(&path, &target));
        }
    }
    let pictures = pictures();
    assert!(pictures.len() >= 4, "{pictures:?}");
    let unused: Vec<_> = pictures.iter().filter(|path| !used.contains(Path::new(path))).collect();
    assert!(unused.is_empty(), "no page shows {unused:?}");
}

#[test]
fn every_drawing_is_small_says_what_it_shows_and_loads_nothing() {
    let of = |text: &str, tag: &str| -> String {
        let begin = text.find(&format!("<{tag} ")).and_then(|at| text[at..].split_once('>'));
        begin.and_then(|(_, rest)| rest.split_once("</")).map(|(text, _)| text.to_owned()).unwrap_or_default()
    };
    for path in pictures().iter().filter(|path| Path::new(path).extension().is_some_and(|it| it == "svg")) {
        let text = read(path);
        assert!(text.len() < 15_000, "{path} has {} bytes", text.len());
        assert!(of(&text, "title").len() > 10 && of(&text, "desc").len() > 40, "{path} says nothing");
        assert!(
            text.contains(r#"role="img" aria-labelledby="title desc""#),
            "{path} is not read as a picture"
        );
        assert!(text.contains("prefers-color-scheme: dark"), "{path} has no colours for the dark");
        let without_namespace = text.replacen("http://www.w3.org/2000/svg", "", 1).replace("url(#", "");
        let loads = [
            "://",
            "href",
            "url(",
            "@import",
            "<script",
            "<image",
            "<foreignObject",
            "<!",
            "onload",
            "onclick",
        ];
        for what in loads {
            assert!(!without_namespace.contains(what), "{path} has {what}");
        }
    }
}
