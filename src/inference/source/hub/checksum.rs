//! What the hub's etags are: SHA-256 of a file in large file storage, git's SHA-1 of any other.

use std::fmt;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a file's content should hash to, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::inference) enum Checksum {
    /// SHA-256 of the content.
    Sha256(String),
    /// SHA-1 of `blob LENGTH\0` and the content, as git names a blob.
    GitSha1(String),
}

impl Checksum {
    /// Reads an etag, `None` where it is neither.
    pub(super) fn parse(etag: &str) -> Option<Self> {
        if !etag.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return None;
        }
        match etag.len() {
            64 => Some(Self::Sha256(etag.to_owned())),
            40 => Some(Self::GitSha1(etag.to_owned())),
            _ => None,
        }
    }

    /// Whether a file has this checksum.
    pub(super) fn matches(&self, path: &Path) -> std::io::Result<bool> {
        let mut file = std::fs::File::open(path)?;
        match self {
            Self::Sha256(expected) => Ok(*expected == hex(&digest(Sha256::new(), &mut file)?)),
            Self::GitSha1(expected) => {
                let mut hasher = Sha1::new();
                hasher.update(format!("blob {}\0", file.metadata()?.len()));
                Ok(*expected == hex(&digest(hasher, &mut file)?))
            }
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => write!(f, "sha256:{hash}"),
            Self::GitSha1(hash) => write!(f, "git:{hash}"),
        }
    }
}

fn digest<D: sha2::Digest>(mut hasher: D, reader: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_vec()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes_of_a_known_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        // As `sha256sum` and `git hash-object` say.
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert!(Checksum::parse(sha256).unwrap().matches(&path).unwrap());
        assert!(Checksum::parse(git).unwrap().matches(&path).unwrap());
        assert!(!Checksum::parse(&"0".repeat(64)).unwrap().matches(&path).unwrap());
        assert!(!Checksum::parse(&"0".repeat(40)).unwrap().matches(&path).unwrap());
    }

    #[test]
    fn what_is_no_checksum_is_refused() {
        for etag in ["", "W/abc", "../../etc/passwd", &"g".repeat(40), &"A".repeat(40), &"0".repeat(41)] {
            assert_eq!(Checksum::parse(etag), None, "{etag}");
        }
    }
}
