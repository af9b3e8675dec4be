//! A log file of bounded size under one fixed name: when it is full it becomes `NAME.1` (and that
//! `NAME.2`, …), and the oldest goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file, and how much is in it.
#[derive(Debug)]
pub(super) struct BoundedFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl BoundedFile {
    /// A full file: some 300 000 tasks.
    const MAX_BYTES: u64 = 64 << 20;
    /// Full files kept beside the current one.
    const KEPT: u32 = 3;

    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let (file, bytes) = append(&path)?;
        Ok(Self { path, file, bytes, max_bytes: Self::MAX_BYTES })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..Self::KEPT).rev() {
            if numbered(n).exists() {
                std::fs::rename(numbered(n), numbered(n + 1))?;
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        (self.file, self.bytes) = append(&self.path)?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

impl Write for BoundedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_moves_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.log");
        let mut log = BoundedFile::open(path.clone()).unwrap();
        log.max_bytes = 10;
        for i in 0..6 {
            writeln!(log, "line {i}..").unwrap();
        }
        log.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 5..\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("t.log.1")).unwrap(), "line 4..\n");
        assert!(dir.path().join("t.log.3").exists());
        assert!(!dir.path().join("t.log.4").exists());
    }
}
