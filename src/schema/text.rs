//! Texts of a spec: their lengths and their forms.
//!
//! Lengths count characters, as the API server's `maxLength` does. What is a good text, [`super::rules`] says again in CEL.

use std::time::Duration;

use super::FieldError;
use crate::names::{MountPath, path};

/// Longest text of a duration, and longest name of a `VaultGateway`: what the CRD has.
const MAX_DURATION_LENGTH: usize = 32;
const MAX_LABEL_LENGTH: usize = 63;

/// Fails unless a text has so many characters.
pub fn bounded(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), FieldError> {
    // A text has no more characters than bytes: the usual one need not be counted.
    let fits = text.len() <= max || text.chars().count() <= max;
    if fits && text.len() >= min { Ok(()) } else { Err(FieldError::Length { field, min, max }) }
}

/// A mount path of at most 256 characters.
pub fn mount(field: &'static str, text: &str) -> Result<MountPath, FieldError> {
    bounded(field, text, 1, 256)?;
    MountPath::parse(text).map_err(|error| FieldError::Mount { field, error })
}

/// A path in a policy: at most 512 characters, all of which can be seen.
pub fn policy_path(field: &'static str, text: &str) -> Result<(), FieldError> {
    bounded(field, text, 1, 512)?;
    if path::is_plain(text) { Ok(()) } else { Err(FieldError::NotPlain { field }) }
}

/// A name and a key as Kubernetes has them.
pub fn reference(field: &'static str, name: &str, key: &str) -> Result<(), FieldError> {
    object_name(field, name)?;
    bounded(field, key, 1, 253)?;
    if !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err(FieldError::Key { field });
    }
    Ok(())
}

/// A name as Kubernetes has them. It goes into a field selector, where a comma would change the question.
pub fn object_name(field: &'static str, name: &str) -> Result<(), FieldError> {
    bounded(field, name, 1, 253)?;
    let at_the_ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !name.chars().all(|c| at_the_ends(c) || matches!(c, '-' | '.'))
        || !name.starts_with(at_the_ends)
        || !name.ends_with(at_the_ends)
    {
        return Err(FieldError::ObjectName { field });
    }
    Ok(())
}

/// A DNS label: the name of an object of one of our kinds.
pub fn label(name: &str) -> bool {
    object_name("", name).is_ok() && !name.contains('.') && name.len() <= MAX_LABEL_LENGTH
}

/// Go's duration format, as far as CEL reads it alike: whole numbers of up to six digits, each with its unit.
pub fn duration(text: &str, (min, max): (Duration, Duration)) -> Option<Duration> {
    if text.is_empty() || text.len() > MAX_DURATION_LENGTH {
        return None;
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| (1..=6).contains(digits))?;
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        // "ms" before "m", of which it is not one with an "s" to follow: a unit is followed by a digit.
        let units = [("ms", Duration::from_millis(1)), ("s", Duration::from_secs(1))];
        let mut units =
            units.into_iter().chain([("m", Duration::from_mins(1)), ("h", Duration::from_hours(1))]);
        let (after, unit) = units.find_map(|(name, unit)| Some((rest.strip_prefix(name)?, unit)))?;
        rest = after;
        total = total.checked_add(unit.checked_mul(number)?)?;
    }
    Some(total).filter(|total| (min..=max).contains(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_characters() {
        let text = "あ".repeat(120);
        assert_eq!(bounded("f", &text, 0, 120), Ok(()));
        assert_eq!(bounded("f", &text, 0, 119), Err(FieldError::Length { field: "f", min: 0, max: 119 }));
        assert!(bounded("f", "", 1, 2).is_err());
        assert!(bounded("f", "", 0, 2).is_ok());
    }

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let bounds = (Duration::from_secs(10), Duration::from_hours(24));
        let table: &[(&str, Option<u64>)] = &[
            ("10s", Some(10)),
            ("1h30m", Some(5400)),
            ("10000ms", Some(10)),
            ("0s1m0s", Some(60)),
            ("24h", Some(86_400)),
            ("24h1ms", None),
            ("9s", None),
            ("1.5m", None),
            ("60", None),
            ("m", None),
            ("1 m", None),
            ("+1m", None),
            ("-1m", None),
            ("1M", None),
            ("1d", None),
            ("0000060s", None),
            ("999999h999999h999999h999999h", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text, bounds), expected.map(Duration::from_secs), "{text}");
        }
    }
}
