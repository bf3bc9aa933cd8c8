//! `cairn arrive`: files that come by another way than by an upload.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cairn::app;
use cairn::config::{DatabaseConfig, FilesConfig, RedisConfig};
use cairn::db::Db;
use cairn::files::{Files, Key};
use cairn::sync::file;
use clap::Args;
use uuid::Uuid;

use super::telling;
use crate::{Outcome, sentence};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    files: Box<FilesConfig>,
    #[command(flatten)]
    redis: RedisConfig,
    /// A folder of files to put into the store first: `<account id>/<name>`. What is there already
    /// with as many bytes is left alone.
    #[arg(long)]
    from: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Arguments { database, files: config, redis, from } = arguments;
    telling(&database, &redis, async |db| arrive(&db, &config, from).await).await
}

async fn arrive(db: &Db, config: &FilesConfig, from: Option<PathBuf>) -> Outcome {
    let files = app::open_files(db, config).await.map_err(sentence)?;
    let mut failed = 0;
    if let Some(folder) = from {
        let (mut put, mut known) = (0, 0);
        for path in files_in(&folder)? {
            match take(&files, &folder, &path).await {
                Ok(true) => put += 1,
                Ok(false) => known += 1,
                Err(problem) => {
                    eprintln!("{}: {problem}", path.display());
                    failed += 1;
                }
            }
        }
        println!("put {put} files into the store, {known} were there, {failed} failed");
    }
    let (there, missing) = file::arrive_all(db, &files, false).await.map_err(sentence)?;
    println!("{there} rows have their files now, {missing} still wait");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All files below a folder. Links are not followed.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let fail = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            match entry.file_type().map_err(fail)? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Puts one file into the store. False: it was there.
async fn take(files: &Files, folder: &Path, path: &Path) -> Result<bool, String> {
    let name =
        path.strip_prefix(folder).ok().and_then(Path::to_str).ok_or("its name is no text")?;
    let (account, name) = name.split_once('/').ok_or("it is in no account's folder")?;
    let account = Uuid::try_parse(account).map_err(|_| "its folder is no account's id")?;
    let key = Key::new(account, name).map_err(sentence)?;
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if files.head(&key).await.map_err(sentence)?.is_some_and(|stored| stored.size == bytes) {
        return Ok(false);
    }
    files.put(&key, path).await.map_err(sentence)?;
    Ok(true)
}
