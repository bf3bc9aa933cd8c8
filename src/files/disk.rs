//! Objects in a folder, and the signed URLs under which this server gives and takes them.
//!
//! An account is a folder. In it an object is a file whose name is the object's whole name,
//! percent-encoded, `/` and all: so `a` and `a/b` do not fight over being a file or a folder, no
//! folder is left empty, and capital `É` stays what it is on any file system. What is too long for
//! a file's name is cut, and its front parts are folders with a `+` at their end.
//!
//! An upload is written beside its place as `name#1`, and renamed when it is whole. `#` and `+`
//! are in no encoded name.

use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    GetOptions, GetResultPayload, MultipartUpload, ObjectStore, PutMultipartOptions, PutPayload,
};
use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode,
};
use sha2::Sha256;

use super::{Key, Stored, absent, account, failed, stored};
use crate::config::limits;
use crate::error::{Code, Error};

/// A folder of objects.
pub struct Disk {
    root: PathBuf,
    store: LocalFileSystem,
    mac: Hmac<Sha256>,
}

/// What a URL is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// And HEAD.
    Get,
    Put,
}

/// What a URL says beside its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// Seconds since 1970.
    pub expires: u64,
    pub content_type: Option<String>,
    pub signature: String,
}

impl Disk {
    pub fn new(folder: &FilePath, signing_key: &[u8]) -> Result<Disk, String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("FILES_DIR: cannot keep files in {}: {error}", folder.display())
        };
        fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(&error))?;
        // HMAC takes keys of any length, so this cannot fail.
        let mac = Hmac::<Sha256>::new_from_slice(signing_key)
            .unwrap_or_else(|_| unreachable!("any length will do"));
        // A finished upload survives a power cut: rows will say that it is there.
        Ok(Disk { root: folder.to_owned(), store: store.with_fsync(true), mac })
    }

    pub(super) fn store(&self) -> &LocalFileSystem {
        &self.store
    }

    pub(super) fn url(
        &self,
        base: &str,
        action: Action,
        key: &Key,
        content_type: Option<&str>,
        expires: Duration,
    ) -> String {
        let expires = now() + expires.as_secs();
        let signature = self.mac(action, key, expires, content_type).finalize().into_bytes();
        let path = utf8_percent_encode(key.name(), &KEPT_IN_URLS);
        let mut url = format!("{base}/files/{}/{path}?expires={expires}", key.account());
        if let Some(content_type) = content_type {
            url.push_str("&type=");
            url.extend(utf8_percent_encode(content_type, &KEPT));
        }
        url.push_str("&signature=");
        URL_SAFE_NO_PAD.encode_string(signature, &mut url);
        url
    }

    /// Whether the URL was made here for this action on this object, and is still good. Else the
    /// error is FORBIDDEN.
    pub fn verify(&self, action: Action, key: &Key, signed: &Signed) -> Result<(), Error> {
        let Signed { expires, content_type, signature } = signed;
        let good = URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| {
            let mac = self.mac(action, key, *expires, content_type.as_deref());
            mac.verify_slice(&signature).is_ok()
        });
        if !good {
            let message = "this URL was not signed for this request; ask for one";
            return Err(Error::new(Code::Forbidden, message));
        }
        if *expires <= now() {
            let message = "this URL is no longer good; ask for a new one";
            return Err(Error::new(Code::Forbidden, message));
        }
        Ok(())
    }

    /// Each part is preceded by its length: no two requests are the same bytes.
    fn mac(
        &self,
        action: Action,
        key: &Key,
        expires: u64,
        content_type: Option<&str>,
    ) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        let mut part = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        };
        part(b"cairn file url 1");
        part(match action {
            Action::Get => b"GET",
            Action::Put => b"PUT",
        });
        part(key.account().as_bytes());
        part(key.name().as_bytes());
        part(&expires.to_be_bytes());
        part(&[content_type.is_some().into()]);
        part(content_type.unwrap_or_default().as_bytes());
        mac
    }

    /// Opens an object for reading. Whoever replaces it meanwhile does not disturb.
    pub async fn open(&self, key: &Key) -> Result<Option<(Stored, fs::File)>, Error> {
        let found = match self.store.get_opts(&path(key), GetOptions::default()).await {
            Ok(found) => found,
            Err(error) => return absent(error).map(|()| None),
        };
        match found.payload {
            GetResultPayload::File(file, _) => Ok(Some((stored(&found.meta), file))),
            GetResultPayload::Stream(_) => Err(Error::internal("a local file is no file")),
        }
    }

    /// Begins to write an object. What stands there stays until `Upload::finish`.
    pub async fn upload(&self, key: &Key) -> Result<Upload, Error> {
        let options = PutMultipartOptions::default();
        let parts = self.store.put_multipart_opts(&path(key), options).await.map_err(failed)?;
        Ok(Upload { parts, waiting: Vec::new(), waiting_bytes: 0 })
    }

    /// Removes unfinished uploads of this age.
    pub(super) async fn tidy(&self, age: Duration) -> Result<usize, Error> {
        let root = self.root.clone();
        let removed = tokio::task::spawn_blocking(move || {
            let mut removed = 0;
            for folder in fs::read_dir(&root)?.flatten() {
                if folder.file_name().to_str().and_then(account).is_some() {
                    removed += tidy(&folder.path(), age)?;
                }
            }
            Ok::<_, std::io::Error>(removed)
        });
        removed.await.map_err(Error::internal)?.map_err(Error::internal)
    }
}

fn tidy(folder: &FilePath, age: Duration) -> std::io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What is gone by now was finished or given up.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            removed += tidy(&entry.path(), age)?;
        } else if entry.file_name().to_string_lossy().contains('#')
            && metadata.modified()?.elapsed().is_ok_and(|elapsed| elapsed >= age)
        {
            removed += usize::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    Ok(removed)
}

/// An object that is being written. Dropped before `finish`, it leaves nothing behind.
pub struct Upload {
    parts: Box<dyn MultipartUpload>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

impl Upload {
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        // Tiny pieces come with tiny allocations; neither may gather without bound.
        if self.waiting_bytes < limits::UPLOAD_PART && self.waiting.len() < 1_000 {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.waiting_bytes = 0;
        let part: PutPayload = std::mem::take(&mut self.waiting).into_iter().collect();
        self.parts.put_part(part).await.map_err(failed)
    }

    /// Puts the object in its place, and gives its ETag.
    pub async fn finish(mut self) -> Result<Option<String>, Error> {
        self.flush().await?;
        Ok(self.parts.complete().await.map_err(failed)?.e_tag)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What is left as it is, in file names and in query strings.
const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const KEPT_IN_URLS: AsciiSet = KEPT.remove(b'/');

/// Bytes of a file's name: file systems take 255, and the end of an upload's name comes on top.
const FILE_NAME: usize = 200;

/// Where an object is, below the root.
pub(super) fn path(key: &Key) -> Path {
    let name = percent_encode(key.name().as_bytes(), &KEPT).to_string();
    // Cut from the end, so that the file's own name is a whole portion: never `.` or `..`.
    let mut cuts: Vec<usize> =
        (1..).map(|n| n * FILE_NAME).take_while(|&n| n < name.len()).collect();
    cuts.reverse();
    let mut path = format!("{}/", key.account());
    let mut from = 0;
    for cut in cuts {
        let to = name.len() - cut;
        path.push_str(&name[from..to]);
        path.push_str("+/");
        from = to;
    }
    path.push_str(&name[from..]);
    // Account and encoding leave nothing that a path may not have.
    Path::parse(path).unwrap_or_else(|_| unreachable!("an encoded name is a path"))
}

/// The name of an object, from its path below its account's folder.
pub(super) fn name(path: &str) -> Option<String> {
    let encoded = path.replace("+/", "");
    Some(percent_decode_str(&encoded).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Uuid::nil(), name).expect("a good name")
    }

    fn path_of(name: &str) -> String {
        let path = path(&key(name));
        path.as_ref().strip_prefix(&format!("{}/", Uuid::nil())).expect("a folder").to_owned()
    }

    #[test]
    fn every_name_has_a_path_of_its_own_and_is_found_by_it() {
        assert_eq!(path_of("photo.jpg"), "photo.jpg");
        assert_eq!(path_of("trips/alps.gpx"), "trips%2Falps.gpx");
        assert_eq!(path_of("a+b#1"), "a%2Bb%231");
        let long = format!("{}.", "x".repeat(200));
        assert_eq!(path_of(&long), format!("x+/{}.", "x".repeat(199)));
        for name in ["a%2Fb", "100%", "é", "e\u{301}", " a ", "+/+", ".a", "...", "a/b/c"] {
            assert_eq!(name_of(name), name);
        }
        for length in [66, 67, 133, 134, 199, 200, 201, 255] {
            for repeated in ["x", ".", "+", "x/", "ü", "字"] {
                let text: String = repeated.chars().cycle().take(length - 1).collect();
                let text = format!("{text}e");
                assert_eq!(name_of(&text), text);
            }
        }
    }

    fn name_of(text: &str) -> String {
        let path = path_of(text);
        let parts: Vec<_> = path.split('/').collect();
        let good = |part: &&str| part.len() <= FILE_NAME + 1 && !matches!(*part, "" | "." | "..");
        assert!(parts.iter().all(good), "{path}");
        let (file, folders) = parts.split_last().expect("a file");
        assert!(folders.iter().all(|folder| folder.ends_with('+')), "{path}");
        assert!(!file.ends_with('+'), "{path}");
        name(&path).expect("it is UTF-8")
    }

    #[tokio::test]
    async fn only_old_leftovers_of_uploads_are_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::new(folder.path(), b"key").expect("a store");
        let mut upload = disk.upload(&key("a")).await.expect("it begins");
        upload.write(Bytes::from_static(b"whole")).await.expect("it goes on");
        upload.finish().await.expect("it ends");
        let long = "y".repeat(255);
        for name in ["a", &long] {
            // As if the server was killed.
            std::mem::forget(disk.upload(&key(name)).await.expect("it begins"));
        }
        assert_eq!(disk.tidy(Duration::from_secs(3600)).await, Ok(0));
        assert_eq!(disk.tidy(Duration::ZERO).await, Ok(2));
        assert_eq!(disk.tidy(Duration::ZERO).await, Ok(0));
        assert!(disk.open(&key("a")).await.expect("it can be read").is_some());
    }
}
