//! Files: bytes under keys, on local disk or in an S3-compatible store.
//!
//! Clients carry the bytes by signed URLs: straight to the S3 store, or to this server's `/files`
//! where they lie on its disk. This module knows no rows and no accounts' rights; whoever asks for
//! a URL has checked them.
//!
//! - [`Key`]: what an object is called.
//! - [`disk`]: a folder, and the signatures of its URLs.
//! - `s3`: an S3-compatible store.

pub mod disk;
mod key;
mod media;
mod s3;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::config::{FilesConfig, limits};
use crate::error::{Code, Error};
use disk::Disk;
use s3::S3;

pub use key::Key;
pub use media::{is_shown, same_type};

/// The file store. Cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<Place>);

/// Where the bytes are.
enum Place {
    Disk(Disk),
    S3(S3),
}

/// What is known about an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// In bytes.
    pub size: u64,
    /// Milliseconds since 1970, by the store's clock.
    pub modified: i64,
    /// As HTTP writes it, with its quotes. Other content has another one.
    pub etag: Option<String>,
}

impl Files {
    /// Opens the store that the settings name. `signing_key` is for the URLs of local files; all
    /// instances need the same one. The error is for the operator.
    pub fn new(config: &FilesConfig, signing_key: &[u8]) -> Result<Files, String> {
        let place = match &config.files_url {
            Some(url) => Place::S3(S3::new(url, config)?),
            None => Place::Disk(Disk::new(&config.files_dir, signing_key)?),
        };
        Ok(Files(Arc::new(place)))
    }

    /// A URL that takes the object by PUT for `expires` (at most seven days). With a content type
    /// only an upload that says so is taken. `base` is how the client reaches this server; the URLs
    /// of local files begin with it.
    ///
    /// The content type must be one, else BAD_USER_INPUT.
    pub async fn upload_url(
        &self,
        base: &str,
        key: &Key,
        content_type: Option<&str>,
        expires: Duration,
    ) -> Result<String, Error> {
        let content_type = content_type.map(media::checked).transpose()?;
        let expires = expires.min(limits::SIGNED_URL);
        match &*self.0 {
            Place::Disk(disk) => Ok(disk.url(base, disk::Action::Put, key, content_type, expires)),
            Place::S3(s3) => s3.upload_url(key, content_type, expires).await,
        }
    }

    /// A URL that gives the object by GET for `expires` (at most seven days), as this content type.
    /// Without one: as a stream of bytes from local disk, as it was uploaded from S3. Browsers are
    /// told to save what is no image, video or sound.
    pub async fn download_url(
        &self,
        base: &str,
        key: &Key,
        content_type: Option<&str>,
        expires: Duration,
    ) -> Result<String, Error> {
        let content_type = content_type.map(media::checked).transpose()?;
        let expires = expires.min(limits::SIGNED_URL);
        match &*self.0 {
            Place::Disk(disk) => Ok(disk.url(base, disk::Action::Get, key, content_type, expires)),
            Place::S3(s3) => s3.download_url(key, content_type, expires).await,
        }
    }

    /// None: it is not there.
    pub async fn head(&self, key: &Key) -> Result<Option<Stored>, Error> {
        match self.store().head(&self.path(key)).await {
            Ok(meta) => Ok(Some(stored(&meta))),
            Err(error) => absent(error).map(|()| None),
        }
    }

    /// The whole object. None: it is not there. More than `limit` bytes: LIMIT, and nothing is
    /// read.
    pub async fn read(&self, key: &Key, limit: u64) -> Result<Option<Bytes>, Error> {
        let found = match self.store().get_opts(&self.path(key), GetOptions::default()).await {
            Ok(found) => found,
            Err(error) => return absent(error).map(|()| None),
        };
        if found.meta.size > limit {
            let message = format!("the file has more than {limit} bytes");
            return Err(Error::new(Code::Limit, message));
        }
        found.bytes().await.map(Some).map_err(failed)
    }

    /// Puts a file of this machine into the store, whole or not at all.
    pub async fn put(&self, key: &Key, file: &std::path::Path) -> Result<(), Error> {
        let unreadable =
            |error: std::io::Error| Error::bad_input(format!("it cannot be read: {error}"));
        let mut file = tokio::fs::File::open(file).await.map_err(unreadable)?;
        let path = self.path(key);
        let mut part = BytesMut::with_capacity(limits::STORE_PART);
        let read = async |file: &mut tokio::fs::File, part: &mut BytesMut| {
            while part.len() < limits::STORE_PART && file.read_buf(part).await? > 0 {}
            Ok::<_, std::io::Error>(part.len() == limits::STORE_PART)
        };
        let mut more = read(&mut file, &mut part).await.map_err(unreadable)?;
        if !more {
            return self.store().put(&path, part.freeze().into()).await.map(drop).map_err(failed);
        }
        let parts = self.store().put_multipart(&path).await.map_err(failed)?;
        let mut upload = WriteMultipart::new(parts);
        loop {
            upload.wait_for_capacity(1).await.map_err(failed)?;
            upload.put(part.split().freeze());
            if !more {
                return upload.finish().await.map(drop).map_err(failed);
            }
            more = read(&mut file, &mut part).await.map_err(unreadable)?;
        }
    }

    /// Removes the object, if it is there.
    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.store().delete(&self.path(key)).await.or_else(absent)
    }

    /// The accounts that have had objects, in no order.
    pub async fn accounts(&self) -> Result<Vec<Uuid>, Error> {
        let root = self.root();
        let found = self.store().list_with_delimiter(root).await.map_err(failed)?;
        let account = |path: &Path| path.filename().and_then(account);
        Ok(found.common_prefixes.iter().filter_map(account).collect())
    }

    /// All objects of an account, in no order; a thousand at a time are in memory.
    pub fn list(
        &self,
        account: Uuid,
    ) -> impl Stream<Item = Result<(Key, Stored), Error>> + Send + 'static {
        let files = self.clone();
        let folder = self.folder(account);
        let found = self.store().list(Some(&folder)).map_err(failed);
        found.try_filter_map(move |meta| {
            // What cannot be named was not put there by this server.
            let named = files.key(account, &meta.location).map(|key| (key, stored(&meta)));
            async move { Ok(named) }
        })
    }

    /// Removes what killed servers left of uploads, and gives how many.
    pub async fn tidy(&self) -> Result<usize, Error> {
        match &*self.0 {
            Place::Disk(disk) => disk.tidy(limits::STALE_UPLOAD).await,
            Place::S3(_) => Ok(0),
        }
    }

    /// The local disk, for the routes under `/files`; None with an S3 store, which has its own.
    pub fn disk(&self) -> Option<&Disk> {
        match &*self.0 {
            Place::Disk(disk) => Some(disk),
            Place::S3(_) => None,
        }
    }

    fn store(&self) -> &dyn ObjectStore {
        match &*self.0 {
            Place::Disk(disk) => disk.store(),
            Place::S3(s3) => s3.store(),
        }
    }

    /// What all paths begin with.
    fn root(&self) -> Option<&Path> {
        match &*self.0 {
            Place::Disk(_) => None,
            Place::S3(s3) => s3.root(),
        }
    }

    fn folder(&self, account: Uuid) -> Path {
        self.root().cloned().unwrap_or_default().join(account.to_string())
    }

    fn path(&self, key: &Key) -> Path {
        match &*self.0 {
            Place::Disk(_) => disk::path(key),
            Place::S3(s3) => s3.path(key),
        }
    }

    /// The key of a listed path.
    fn key(&self, account: Uuid, path: &Path) -> Option<Key> {
        let folder = self.folder(account);
        let rest = path.as_ref().strip_prefix(folder.as_ref())?.strip_prefix('/')?;
        match &*self.0 {
            Place::Disk(_) => Key::new(account, &disk::name(rest)?).ok(),
            Place::S3(_) => Key::new(account, rest).ok(),
        }
    }
}

/// The account whose folder has this name.
fn account(folder: &str) -> Option<Uuid> {
    Uuid::try_parse(folder).ok().filter(|account| account.to_string() == folder)
}

fn stored(meta: &ObjectMeta) -> Stored {
    Stored {
        size: meta.size,
        modified: meta.last_modified.timestamp_millis(),
        etag: meta.e_tag.clone(),
    }
}

/// Lets pass that an object is not there.
fn absent(error: object_store::Error) -> Result<(), Error> {
    match error {
        object_store::Error::NotFound { .. } => Ok(()),
        error => Err(failed(error)),
    }
}

/// The disk is full, the store is away, a key is wrong: the operator's to mend, and trying again
/// may help.
fn failed(error: object_store::Error) -> Error {
    tracing::error!(cause = %error, "the file store failed");
    Error::new(Code::Unavailable, "the file store does not answer; try again in a moment")
}
