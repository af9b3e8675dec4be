//! Models in a folder that the operator named: the folder itself, folders in it, or a copy of the hub's cache.

use std::path::{Path, PathBuf};

use super::WEIGHTS;

/// How deep models are looked for: `hub/models--org--name/snapshots/commit`.
const MAX_DEPTH: usize = 4;
/// Most folders that are looked into.
const MAX_FOLDERS: usize = 1_000;

/// Why there are no models in a folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It can't be read.
    #[error("can't read the models folder {path}: {source}")]
    Read {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There are none.
    #[error("no model in {path}: neither there nor in folders below it are a config.json and a {WEIGHTS}")]
    Empty {
        /// Which folder.
        path: PathBuf,
    },
}

/// All folders at or below `root` that hold a `config.json` and weights, in order of their paths.
pub fn find_models(root: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let mut found = Vec::new();
    let mut queue = vec![(root.to_owned(), 0)];
    let mut looked_into = 0;
    while let Some((folder, depth)) = queue.pop() {
        looked_into += 1;
        if folder.join("config.json").is_file() && folder.join(WEIGHTS).is_file() {
            found.push(folder);
            continue;
        }
        if depth == MAX_DEPTH || looked_into > MAX_FOLDERS {
            continue;
        }
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(source) if depth == 0 => return Err(FolderError::Read { path: folder, source }),
            // A folder in it that is not ours to read does not matter.
            Err(_) => continue,
        };
        queue.extend(
            entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).map(|path| (path, depth + 1)),
        );
    }
    if found.is_empty() {
        return Err(FolderError::Empty { path: root.to_owned() });
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join("config.json"), "{}").unwrap();
        std::fs::write(path.join(WEIGHTS), "").unwrap();
    }

    #[test]
    fn a_folder_of_folders_a_single_model_and_a_copied_cache() {
        let root = tempfile::tempdir().unwrap();
        let snapshot = root.path().join("hub/models--org--name/snapshots/abc");
        for path in [root.path().join("a"), root.path().join("org/b"), snapshot.clone()] {
            model(&path);
        }
        std::fs::create_dir_all(root.path().join("empty")).unwrap();
        let found = find_models(root.path()).unwrap();
        assert_eq!(found, [root.path().join("a"), snapshot.clone(), root.path().join("org/b")]);
        assert_eq!(find_models(&snapshot).unwrap(), [snapshot]);
    }

    #[test]
    fn nothing_there_is_an_error_that_says_so() {
        let root = tempfile::tempdir().unwrap();
        let error = find_models(root.path()).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains(&root.path().display().to_string()), "{error}");
        assert!(matches!(find_models(&root.path().join("nowhere")), Err(FolderError::Read { .. })));
    }
}
