//! How texts look on a terminal: colours, widths, lines. Nothing here knows what the texts say.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use crate::names::text::printable;

/// How wide paragraphs are where no terminal says otherwise, and at most: longer lines are hard to read.
pub(in crate::cli) const PARAGRAPH_WIDTH: usize = 100;

/// Below this, wrapping makes paragraphs harder to read.
const MIN_WIDTH: usize = 40;

/// What is between two columns of a table.
const GAP: &str = "   ";

/// A colour, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Colour {
    /// All is well.
    Green,
    /// Not certain, or soon.
    Yellow,
    /// It fails.
    Red,
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
}

/// What standard output takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Style {
    /// Whether colours are shown.
    pub(in crate::cli) colours: bool,
    /// How wide a paragraph may be.
    pub(in crate::cli) width: usize,
}

// === impl Style ===

impl Style {
    /// For a file or a pipe.
    pub(in crate::cli) const PLAIN: Self = Self { colours: false, width: PARAGRAPH_WIDTH };

    /// That of standard output. <https://no-color.org>
    pub(in crate::cli) fn of_terminal() -> Self {
        if !io::stdout().is_terminal() {
            return Self::PLAIN;
        }
        let forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (columns, _) = terminal_size();
        Self { colours: !forbidden && !is_dumb(), width: columns.clamp(MIN_WIDTH, PARAGRAPH_WIDTH) }
    }

    /// The text in a colour, if there are any.
    pub(in crate::cli) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Dim => 2,
            Colour::Bold => 1,
        };
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The same for each line of a paragraph.
    pub(in crate::cli) fn paint_lines(self, colour: Colour, text: &str) -> String {
        in_lines(text.lines().map(|line| self.paint(colour, line)))
    }
}

/// Whether the terminal takes no escape sequences.
fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Whether what is on standard output can be drawn over.
pub(in crate::cli) fn can_redraw() -> bool {
    io::stdout().is_terminal() && !is_dumb()
}

/// Columns of the terminal on standard output, if that is one.
pub(in crate::cli) fn terminal_columns() -> Option<usize> {
    io::stdout().is_terminal().then(|| terminal_size().0)
}

/// Columns and lines of the terminal on standard output.
pub(in crate::cli) fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        Ok(_) | Err(_) => (80, 24),
    }
}

/// Each of them in a line of its own.
pub(in crate::cli) fn in_lines(lines: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Stands for a blank at which no line ends, until [`wrap`] has made lines: a character that no text of ours has.
pub(in crate::cli) const UNBROKEN_BLANK: char = '\u{e000}';

/// A text in lines of a width, each after an indentation. A word that is longer has a line of its own.
pub(in crate::cli) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let room = width.saturating_sub(indent.len());
    let mut lines: Vec<String> = Vec::new();
    for word in printable(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    in_lines(lines.iter().map(|line| format!("{indent}{}", line.replace(UNBROKEN_BLANK, " "))))
}

/// The width of each column of a table.
fn widths(head: Option<&[&str]>, rows: &[Vec<String>]) -> Vec<usize> {
    let columns = head.map_or(0, <[_]>::len).max(rows.iter().map(Vec::len).max().unwrap_or_default());
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let heading = head.and_then(|head| head.get(column)).map(|cell| cell.len());
        cells.chain(heading).max().unwrap_or_default()
    };
    (0..columns).map(width).collect()
}

/// How wide a table is.
pub(in crate::cli) fn table_width(head: Option<&[&str]>, rows: &[Vec<String>]) -> usize {
    let widths = widths(head, rows);
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Rows as a table with three blanks between its columns. `paint` colours a padded cell: row, column, text.
pub(in crate::cli) fn table(
    head: Option<&[&str]>,
    rows: &[Vec<String>],
    paint: impl Fn(usize, usize, String) -> String,
) -> String {
    let widths = widths(head, rows);
    let padded = |column: usize, cell: &str, is_last: bool| match widths.get(column) {
        Some(width) if !is_last => format!("{cell:<width$}"),
        Some(_) | None => cell.to_owned(),
    };
    let mut text = String::new();
    if let Some(head) = head {
        let cells: Vec<_> = head
            .iter()
            .enumerate()
            .map(|(column, cell)| padded(column, cell, column + 1 == head.len()))
            .collect();
        text.push_str(&cells.join(GAP));
        text.push('\n');
    }
    for (number, row) in rows.iter().enumerate() {
        let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
        let cells = row.iter().take(last + 1).enumerate();
        let cells: Vec<_> =
            cells.map(|(column, cell)| paint(number, column, padded(column, cell, column == last))).collect();
        text.push_str(&cells.join(GAP));
        text.push('\n');
    }
    text
}

/// The first lines of a text, each cut to a width, as they fit on a terminal. Escape sequences have no width.
pub(in crate::cli) fn fit(text: &str, (columns, lines): (usize, usize)) -> String {
    let mut fitting = String::new();
    for line in text.lines().take(lines) {
        let (mut width, mut in_escape, mut has_colour) = (0, false, false);
        for character in line.chars() {
            if character == '\u{1b}' {
                (in_escape, has_colour) = (true, true);
            } else if in_escape {
                in_escape = character != 'm';
            } else {
                width += 1;
                if width > columns {
                    break;
                }
            }
            fitting.push(character);
        }
        if has_colour {
            fitting.push_str("\u{1b}[0m");
        }
        fitting.push('\n');
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_wrapped_between_words() {
        assert_eq!(wrap("one two three", 10, "  "), "  one two\n  three\n");
        assert_eq!(wrap("a-word-that-is-longer x", 8, "  "), "  a-word-that-is-longer\n  x\n");
        assert_eq!(wrap("", 10, "  "), "");
        assert_eq!(wrap("run one\u{e000}two\u{e000}three now", 8, ""), "run\none two three\nnow\n");
        assert_eq!(wrap("a\u{1b}[2Jb", 80, ""), "a\\u{1b}[2Jb\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_nothing_trails() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), String::new()]];
        let text = table(Some(&["X", "LONG"]), &rows, |_, _, cell| cell);
        assert_eq!(text, "X     LONG\na     bb\nccc\n");
        assert_eq!(table(None, &rows, |_, _, cell| cell), "a     bb\nccc\n");
        let painted = table(
            None,
            &rows,
            |row, column, cell| if (row, column) == (0, 0) { format!("<{cell}>") } else { cell },
        );
        assert_eq!(painted, "<a  >   bb\nccc\n");
    }

    #[test]
    fn what_is_drawn_fits_the_terminal() {
        let style = Style { colours: true, width: 80 };
        let text = format!("{} tail\nsecond line\nthird\n", style.paint(Colour::Red, "False"));
        assert_eq!(fit(&text, (7, 2)), "\u{1b}[31mFalse\u{1b}[0m t\u{1b}[0m\nsecond \n");
    }
}
