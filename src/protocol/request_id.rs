//! What a request is called.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrayvec::ArrayString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::task::excerpt;
use super::{Problem, ProblemCode};

/// A request's id: 1 to 128 visible ASCII characters without `/`, `?`, `#` or `%`, so that it is a
/// path segment and a header value as it stands.
#[derive(Clone, PartialEq, Eq, Hash, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 128, examples("test-1"))]
pub struct RequestId(Text);

/// An id of up to a UUID's length is kept where it stands: a request carries several copies of its id.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    Short(ArrayString<{ uuid::fmt::Hyphenated::LENGTH }>),
    Long(Arc<str>),
}

impl RequestId {
    /// The longest id that is accepted, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Checks and wraps an id.
    ///
    /// # Errors
    /// [`ProblemCode::InvalidField`] with what is wrong about it.
    pub fn try_new(id: impl AsRef<str>) -> Result<Self, Problem> {
        let id = id.as_ref();
        let fits = !id.is_empty() && id.len() <= Self::MAX_LEN;
        let clean = id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'%' | b'\\'));
        // A path of dots is folded away by HTTP clients.
        if fits && clean && id != "." && id != ".." {
            Ok(Self::of(id))
        } else {
            Err(Problem::new(
                ProblemCode::InvalidField,
                format!(
                    "request_id \"{}\" is not usable; it must be 1 to {} visible ASCII characters without / ? # % \\",
                    excerpt(id),
                    Self::MAX_LEN
                ),
            ))
        }
    }

    /// A fresh id (UUIDv7, RFC 9562): unique, and sorted by the time it was made.
    pub fn generate() -> Self {
        // Random bytes of the thread's own generator (ChaCha, seeded by the system): a system call for each id
        // would cost more than the rest of it.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(now.as_millis() as u64, &rand::random()).into_uuid();
        Self::of(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
    }

    fn of(id: &str) -> Self {
        Self(ArrayString::from(id).map_or_else(|_| Text::Long(id.into()), Text::Short))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short(id) => id,
            Text::Long(id) => id,
        }
    }
}

impl PartialOrd for RequestId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RequestId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RequestId {
    type Err = Problem;

    fn from_str(s: &str) -> Result<Self, Problem> {
        Self::try_new(s)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_new(String::deserialize(deserializer)?).map_err(|p| serde::de::Error::custom(p.detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_length_are_what_they_were_made_of_and_sort_as_text() {
        let of = |c: &str, n| RequestId::try_new(c.repeat(n)).unwrap();
        for n in [1, 35, 36, 37, RequestId::MAX_LEN] {
            let id = of("b", n);
            assert_eq!(id.as_str(), "b".repeat(n));
            assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{}\"", "b".repeat(n)));
            assert_eq!(serde_json::from_str::<RequestId>(&format!("\"{id}\"")).unwrap(), id);
            assert!(of("a", 40) < id && id < of("c", 3), "{n}");
        }
        assert!(RequestId::try_new("b".repeat(RequestId::MAX_LEN + 1)).is_err());
        assert!(RequestId::try_new("").is_err() && RequestId::try_new("..").is_err());
    }

    #[test]
    fn fresh_ids_are_uuids_that_differ() {
        let (a, b) = (RequestId::generate(), RequestId::generate());
        assert_ne!(a, b);
        assert_eq!(uuid::Uuid::parse_str(a.as_str()).unwrap().get_version_num(), 7);
    }
}
