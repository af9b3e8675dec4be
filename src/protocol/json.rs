//! JSON that is read or written once for each request, by what is known of it beforehand.
//!
//! A general serializer looks at every byte of every key for what would have to be escaped, and a general reader
//! checks the UTF-8 of each string by itself: together an eighth of a coordinator's instructions for a request.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// Between two members of an object, and the next one's name: `,"NAME":`.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(crate) use key;

/// Writes what is JSON already: punctuation, and names that need no escaping.
pub(crate) fn put(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(json.as_bytes());
}

/// Writes a string that needs no escaping: a name of ours.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    put(out, name);
    out.push(b'"');
}

/// Writes a string.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let plain = !text.bytes().any(|b| matches!(b, ..b' ' | b'"' | b'\\'));
    if plain {
        put_name(out, text);
    } else {
        put_value(out, text);
    }
}

/// Writes anything; a number that JSON has no word for is `null`.
pub(crate) fn put_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Not reached: a vector takes all that is written, and the keys of our maps are texts.
        out.truncate(before);
        put(out, "null");
    }
}

/// Writes what is displayed without anything to escape: a time, for one.
pub(crate) fn put_plain(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // A vector takes all that is written to it.
    let _ = write!(out, "\"{value}\"");
}

/// Reads JSON.
///
/// # Errors
/// As `serde_json::from_slice`.
pub(crate) fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str(text),
        // It says where. In a field that nobody reads, it does not mind.
        Err(_) => serde_json::from_slice(json),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_written_as_they_are_by_everybody(text in ".*", odd in "[\\\\\"\u{0}-\u{1f}\u{7f}a-z]*") {
            for text in [text, odd] {
                let mut out = Vec::new();
                put_text(&mut out, &text);
                prop_assert_eq!(out, serde_json::to_vec(&text).unwrap());
            }
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused_where_it_is_read() {
        assert_eq!(read::<String>(b"\"a\"").unwrap(), "a");
        assert!(read::<String>(b"\"\xff\"").unwrap_err().is_syntax());
    }

    #[test]
    fn a_number_that_json_does_not_have_is_null() {
        let mut out = Vec::new();
        put(&mut out, "{\"a\":1");
        put(&mut out, key!("b"));
        put_value(&mut out, &f64::NAN);
        put(&mut out, "}");
        assert_eq!(out, b"{\"a\":1,\"b\":null}");
    }
}
