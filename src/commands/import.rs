//! `cairn import`: takes over a dump of an older backend.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cairn::config::DatabaseConfig;
use cairn::import::{self, Watcher};
use indicatif::{ProgressBar, ProgressStyle};

use super::connect_migrated;
use crate::Outcome;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseConfig,
    /// The dump, in JSON Lines as docs/import.md describes them; - is the standard input.
    file: String,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Arguments { database, file } = arguments;
    let opened = if file == "-" { spooled() } else { File::open(&file) };
    let opened = opened.map_err(|error| format!("cannot open {file}: {error}"))?;
    let db = connect_migrated(&database).await?;
    let mut progress = Progress::new();
    let result = import::import(&db, opened, &mut progress).await;
    progress.bar.finish_and_clear();
    let import::Summary { imported, already_there, failed } =
        result.map_err(|stopped| stopped.to_string())?;
    println!("imported {imported}, already there {already_there}, failed {failed}");
    match failed {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err("1 line was not imported".into()),
        _ => Err(format!("{failed} lines were not imported")),
    }
}

/// The standard input in a file that has no name: an import goes through it several times.
fn spooled() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("cairn-import-{}", uuid::Uuid::new_v4()));
    let mut options = File::options();
    let mut file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// A bar for people; where nobody looks, a line now and then.
struct Progress {
    bar: ProgressBar,
    /// When the last line was printed, where there is no bar.
    said: Instant,
}

/// Between two lines of progress.
const PAUSE: Duration = Duration::from_secs(10);

impl Progress {
    fn new() -> Progress {
        let bar = ProgressBar::new(0);
        let style = "{wide_bar} {bytes} of {total_bytes}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress { bar, said: Instant::now() }
    }
}

impl Watcher for Progress {
    fn progress(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.said.elapsed() >= PAUSE && total > 0 {
            self.said = Instant::now();
            eprintln!("{} %", done.saturating_mul(100) / total);
        }
    }

    fn bad_line(&mut self, number: u64, why: &str) {
        self.bar.suspend(|| eprintln!("line {number}: {why}"));
    }
}
