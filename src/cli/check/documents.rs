//! From a text to its documents, each with its place.
//!
//! A document that does not parse does not hide the others. Pure: what the documents mean is not known here.

use std::fmt;

use serde_json::Value;

/// Where a document stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file, or what else the text came from.
    pub(super) source: String,
    /// Which of several documents, and its first line; none in a source of one document.
    pub(super) document: Option<(usize, usize)>,
}

/// A document that does not parse. What the parser says of it is not shown: it may quote a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParseFailure {
    /// The line in the source.
    pub(super) line: usize,
    /// The column.
    pub(super) column: usize,
    /// Whether it seems to be a template of Helm that was not rendered.
    pub(super) is_template: bool,
}

/// A part of a text that is one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part<'t> {
    /// The line of the source that it begins with, counted from 0.
    offset: usize,
    text: &'t str,
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.document {
            Some((number, line)) => write!(f, "document {number} (line {line}) of {}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// The documents of a text, as YAML or JSON. Empty ones are left out.
pub(super) fn parse(source: &str, text: &str) -> Vec<(Place, Result<Value, ParseFailure>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let found = json_stream(text).unwrap_or_else(|| {
        let parts = split(text);
        parts.into_iter().flat_map(|part| parse_part(&part)).collect()
    });
    let several = found.len() > 1;
    let place = |(index, (line, parsed)): (usize, _)| {
        let document = several.then_some((index + 1, line));
        (Place { source: source.to_owned(), document }, parsed)
    };
    found.into_iter().enumerate().map(place).collect()
}

/// JSON values one after another, each with its line; none if the text is anything else.
fn json_stream(text: &str) -> Option<Vec<(usize, Result<Value, ParseFailure>)>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut found = Vec::new();
    loop {
        let rest = &text[stream.byte_offset()..];
        let begin = text.len() - rest.trim_start().len();
        match stream.next() {
            None => return Some(found),
            Some(Ok(value)) => found.push((line_at(text, begin), Ok(value))),
            Some(Err(_)) => return None,
        }
    }
}

/// The YAML documents of a text: a line that begins with `---` is where the next one starts, wherever it stands.
fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut begin, mut offset, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            parts.push(Part { offset, text: &text[begin..at] });
            (begin, offset) = (at, number);
        }
        at += line.len();
    }
    parts.push(Part { offset, text: &text[begin..] });
    parts.retain(|part| first_content(part.text).is_some());
    parts
}

fn parse_part(part: &Part<'_>) -> Vec<(usize, Result<Value, ParseFailure>)> {
    let first = part.offset + 1 + first_content(part.text).unwrap_or(0);
    match serde_saphyr::from_multiple::<Value>(part.text) {
        Ok(values) => values.into_iter().map(|value| (first, Ok(value))).collect(),
        Err(error) => {
            let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
            let (line, column) = error
                .location()
                .map_or((first, 1), |place| (part.offset + whole(place.line()), whole(place.column())));
            let is_template = part.text.contains("{{") && part.text.contains("}}");
            vec![(first, Err(ParseFailure { line, column, is_template }))]
        }
    }
}

/// The first line that holds more than a comment, a separator or a directive, counted from 0.
fn first_content(text: &str) -> Option<usize> {
    text.lines().position(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        !(line.is_empty() || line.starts_with(['#', '%']) || line == "...")
    })
}

/// The line of a byte of a text, counted from 1.
fn line_at(text: &str, byte: usize) -> usize {
    text[..byte].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The line of a document, and what was read or where it failed.
    type Read = (usize, Result<Value, (usize, usize)>);

    fn parsed(text: &str) -> Vec<Read> {
        let line = |place: &Place| place.document.map_or(0, |(_, line)| line);
        let failure = |parsed: Result<Value, ParseFailure>| parsed.map_err(|f| (f.line, f.column));
        parse("f", text).into_iter().map(|(place, parsed)| (line(&place), failure(parsed))).collect()
    }

    #[test]
    fn each_document_is_read_by_itself() {
        let one = || Ok(json!({"a": 1}));
        let table: &[(&str, &str, Vec<Read>)] = &[
            ("nothing", "", vec![]),
            ("comments", "# a\n---\n# b\n---\n", vec![]),
            ("one", "a: 1", vec![(0, one())]),
            ("one after a separator", "---\na: 1\n", vec![(0, one())]),
            ("two", "a: 1\n---\na: 1\n", vec![(1, one()), (3, one())]),
            ("windows", "a: 1\r\n---\r\na: 1\r\n", vec![(1, one()), (3, one())]),
            ("a comment behind it", "a: 1\n--- # next\n\n# b\na: 1", vec![(1, one()), (5, one())]),
            ("in its line", "a: 1\n--- {a: 1}", vec![(1, one()), (2, one())]),
            ("a directive", "%YAML 1.2\n---\na: 1", vec![(0, one())]),
            ("a byte order mark", "\u{feff}a: 1", vec![(0, one())]),
            (
                "a bad one among others",
                "a: 1\n---\na: [b\n---\na: 1",
                vec![(1, one()), (3, Err((3, 4))), (5, one())],
            ),
            ("no separator", "a: |\n  ---\n  b\n", vec![(0, Ok(json!({"a": "---\nb\n"})))]),
            ("JSON", "{\"a\": 1}", vec![(0, one())]),
            ("JSON values", "{\"a\": 1}\n\n{\"a\": 1}", vec![(1, one()), (3, one())]),
            ("JSON between separators", "{\"a\": 1}\n---\n{\"a\": 1}", vec![(1, one()), (3, one())]),
            ("an array", "[{\"a\": 1}]", vec![(0, Ok(json!([{"a": 1}])))]),
        ];
        for (name, text, expected) in table {
            assert_eq!(parsed(text), *expected, "{name}");
        }
    }

    #[test]
    fn a_template_is_reported() {
        let rendered = parse("f", "a: {{ .Values.b }}\nc: {{- d }");
        assert!(matches!(rendered[..], [(_, Err(ParseFailure { is_template: true, .. }))]), "{rendered:?}");
    }
}
