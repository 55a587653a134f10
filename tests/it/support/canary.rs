//! Values that exist only once, so that wherever one shows up, it has leaked.
//!
//! ```text
//!   canary-3k9…      a leak may show it whole or in part, in upper case, in base64, in hex, or as a list of bytes
//! ```
//!
//! Its random part is made of letters and digits, which no escaping changes: JSON, YAML, percent and HTML forms hold
//! it as it is.

use std::{collections::HashMap, fmt::Write as _, iter::repeat_with};

use k8s_openapi::ByteString;
use serde_json::json;

/// Letters and digits of the random part. A UUID has less in it.
const LENGTH: usize = 40;

/// The part that is looked for, in characters of the value: what is shown of twice as many in one piece has one in it.
const PART: usize = 10;

/// How many findings are told, and how much of what stands around each.
const MOST_SHOWN: usize = 20;
const AROUND: usize = 200;

/// A credential that exists only once.
#[derive(Clone)]
pub struct Canary {
    name: &'static str,
    random: String,
    pub value: String,
}

/// A form of a canary.
#[derive(Clone, Debug)]
pub struct Needle {
    /// What it is, and in which form.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Many needles, to be looked for in one go.
pub struct Needles {
    all: Vec<Needle>,
    /// Which of them begin with two bytes.
    by_start: HashMap<[u8; 2], Vec<usize>>,
    /// Which first bytes there are: most bytes of a text are none of them.
    firsts: [bool; 256],
    pub longest: usize,
}

// === impl Canary ===

impl Canary {
    /// A new one. It is a valid role id, secret id, token, and part of a host name.
    pub fn new(name: &'static str, prefix: &str) -> Self {
        let random: String =
            repeat_with(|| fastrand::alphanumeric().to_ascii_lowercase()).take(LENGTH).collect();
        let value = format!("{prefix}{random}");
        Self { name, random, value }
    }

    /// As it is.
    pub fn plain(&self) -> Vec<Needle> {
        self.parts("plain", &self.random, PART)
    }

    /// As it stands in a Secret: in base64, wherever it begins.
    pub fn base64(&self) -> Vec<Needle> {
        let encoded = (0..3).map(|shift| {
            let shifted = format!("{}{}", "x".repeat(shift), self.random);
            let encoded = json!(ByteString(shifted.into_bytes()));
            let encoded = encoded.as_str().expect("it is a text");
            // What depends on its neighbours is left out at both ends. Four characters of it are three of the value.
            self.parts("base64", &encoded[4..encoded.len() - 4], PART / 3 * 4)
        });
        encoded.flatten().collect()
    }

    /// In all forms that a text may show.
    pub fn forms(&self) -> Vec<Needle> {
        let mut needles = [self.plain(), self.base64()].concat();
        let safe = self.base64().into_iter().map(|Needle { name, bytes }| {
            let text = String::from_utf8(bytes).expect("base64 is text").replace('+', "-").replace('/', "_");
            Needle { name, bytes: text.into_bytes() }
        });
        needles.extend(safe);
        let decimal: Vec<_> = self.random.bytes().map(|byte| byte.to_string()).collect();
        let hex: Vec<_> = self.random.bytes().map(|byte| format!("{byte:02x}")).collect();
        for part in decimal.chunks_exact(PART) {
            needles.extend([", ", ","].map(|between| self.needle("a list of bytes", &part.join(between))));
        }
        for part in hex.chunks_exact(PART) {
            let between = ["", " ", ":", "%", "\\x", ", 0x", ",0x"];
            needles.extend(between.map(|between| self.needle("hex", &part.join(between))));
        }
        needles
    }

    fn needle(&self, form: &str, text: &str) -> Needle {
        Needle { name: format!("the {} as {form}", self.name), bytes: text.as_bytes().to_vec() }
    }

    /// The parts of a form.
    fn parts(&self, form: &str, text: &str, length: usize) -> Vec<Needle> {
        let name = format!("the {} as {form}", self.name);
        let parts = text.as_bytes().chunks_exact(length);
        parts.map(|part| Needle { name: name.clone(), bytes: part.to_vec() }).collect()
    }
}

// === impl Needles ===

impl Needles {
    pub fn of(needles: Vec<Needle>) -> Self {
        let mut by_start: HashMap<_, Vec<_>> = HashMap::new();
        let mut firsts = [false; 256];
        for (index, Needle { bytes, .. }) in needles.iter().enumerate() {
            by_start.entry([bytes[0], bytes[1]]).or_default().push(index);
            firsts[usize::from(bytes[0])] = true;
        }
        let longest = needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or_default();
        Self { all: needles, by_start, firsts, longest }
    }

    /// Where which of them begins.
    pub fn find(&self, text: &[u8]) -> Vec<(&Needle, usize)> {
        let mut found = Vec::new();
        for (offset, pair) in text.windows(2).enumerate() {
            if self.firsts[usize::from(pair[0])]
                && let Some(begun) = self.by_start.get(pair)
            {
                let begun = begun.iter().map(|index| &self.all[*index]);
                let whole = begun.filter(|needle| text[offset..].starts_with(&needle.bytes));
                found.extend(whole.map(|needle| (needle, offset)));
            }
        }
        found
    }
}

/// Which canaries a text shows, in any form and case; empty when it shows none.
pub fn shown(text: &[u8], canaries: &[&Canary]) -> String {
    let text = text.to_ascii_lowercase();
    let lower = |needle: Needle| Needle { bytes: needle.bytes.to_ascii_lowercase(), ..needle };
    let needles = Needles::of(canaries.iter().flat_map(|canary| canary.forms()).map(lower).collect());
    let mut told = String::new();
    for (needle, at) in needles.find(&text).into_iter().take(MOST_SHOWN) {
        let around = &text[at.saturating_sub(AROUND)..text.len().min(at + AROUND)];
        let _ = writeln!(told, "{}: …{}…", needle.name, around.escape_ascii());
    }
    told
}

#[test]
fn a_canary_is_seen_in_every_form_and_in_part() {
    let canary = Canary::new("canary", "s.");
    let value = canary.value.as_str();
    let hex: String = value.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
    let rows = [
        ("nothing", "nothing to see".to_owned(), false),
        ("another", Canary::new("canary", "s.").value, false),
        ("plain", format!("<{value}>"), true),
        ("upper case", value.to_uppercase(), true),
        ("half of it", value[..value.len() / 2].to_owned(), true),
        ("base64", json!(ByteString(value.as_bytes().to_vec())).to_string(), true),
        (
            "base64 of a text with it",
            json!(ByteString(format!("a:{value}:b").into_bytes())).to_string(),
            true,
        ),
        ("a list", format!("{:?}", value.as_bytes()), true),
        ("a list in hex", format!("{:#04x?}", value.as_bytes()).replace(['\n', ' '], ""), true),
        ("JSON in JSON", json!({"a": json!({"b": value}).to_string()}).to_string(), true),
        ("hex", hex, true),
    ];
    for (name, text, expected) in rows {
        assert_eq!(!shown(text.as_bytes(), &[&canary]).is_empty(), expected, "{name}: {text}");
    }
}
