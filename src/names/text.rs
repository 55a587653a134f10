//! Which characters of a text that others wrote may be shown.
//!
//! A terminal obeys control characters; a bidirectional or invisible one makes a text look like another. Names, messages and
//! server texts reach terminals, dashboards and logs, so none of these is shown.

use std::borrow::Cow;

/// Invisible characters and characters that reorder or end lines, beside the control characters: general category Cf, the
/// line and paragraph separators, and whatever else Unicode calls default-ignorable. First and last of each range.
pub const HIDDEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character shows itself, and nothing but itself.
pub fn is_printable(character: char) -> bool {
    !character.is_control() && !HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// The text, with every character that is not printable written as its escape: `\u{202e}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invisible_or_moves_text_is_written_as_an_escape() {
        let table: &[(&str, &str, &str)] = &[
            ("plain", "vault-1 (übung) 日本 🔑", "vault-1 (übung) 日本 🔑"),
            ("an escape sequence", "\u{1b}[2J", "\\u{1b}[2J"),
            ("a C1 control", "a\u{9b}2J", "a\\u{9b}2J"),
            ("lines", "a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"),
            ("delete", "\u{7f}", "\\u{7f}"),
            ("a right-to-left override", "a\u{202e}b", "a\\u{202e}b"),
            ("isolates", "\u{2066}a\u{2069}", "\\u{2066}a\\u{2069}"),
            ("marks", "\u{200e}\u{200f}\u{61c}", "\\u{200e}\\u{200f}\\u{61c}"),
            ("separators", "a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("zero width", "\u{200b}\u{200d}\u{2060}\u{feff}", "\\u{200b}\\u{200d}\\u{2060}\\u{feff}"),
            ("a soft hyphen", "so\u{ad}ft", "so\\u{ad}ft"),
            ("a filler", "\u{3164}", "\\u{3164}"),
            ("a tag", "\u{e0041}", "\\u{e0041}"),
            ("interlinear", "\u{fff9}", "\\u{fff9}"),
        ];
        for (name, text, shown) in table {
            assert_eq!(printable(text), *shown, "{name}");
        }
    }

    #[test]
    fn every_character_that_rust_does_not_print_for_its_format_is_hidden() {
        // Rust escapes control, format, separator, private, unassigned and surrogate characters in Debug; those of them that
        // have a width of their own (blanks) and those that nobody assigned may be shown.
        for character in ['\u{ad}', '\u{600}', '\u{180e}', '\u{200b}', '\u{2028}', '\u{206f}', '\u{e0001}'] {
            assert!(format!("{character:?}").starts_with("'\\u"), "{character:?}");
            assert!(!is_printable(character), "{character:?}");
        }
    }

    #[test]
    fn escaping_is_stable() {
        let once = printable("\u{1b}\u{202e}").into_owned();
        assert_eq!(printable(&once), once);
    }
}
