//! Every file of a corpus, given to the check of its target.
//!
//! Inputs: the name of a target and its check. What it does not do: fuzz.

use std::path::Path;

/// Panics when the check does, after the name of the file.
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.ancestors().map(|folder| folder.join("fuzz/corpus").join(target)).find(|folder| folder.is_dir());
    let mut files: Vec<_> = std::fs::read_dir(folder.unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        eprintln!("{}", file.display());
        check(&std::fs::read(file).unwrap());
    }
}
