//! Names the sources that a program is made of, so that instances know whether they answer alike.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

const SOURCES: [&str; 4] = ["src", "entity", "migration", "Cargo.lock"];

fn main() -> io::Result<()> {
    let mut files = BTreeSet::new();
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
        gather(Path::new(source), &mut files)?;
    }
    // It always begins with the same keys. Nobody gains by making two that are equal.
    let mut hasher = DefaultHasher::new();
    for file in files {
        for part in [file.to_string_lossy().as_bytes(), &fs::read(&file)?] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
    }
    println!("cargo:rustc-env=CAIRN_SOURCES={:016x}", hasher.finish());
    Ok(())
}

fn gather(path: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        gather(&entry?.path(), files)?;
    }
    Ok(())
}
