//! Files: URLs to upload and download them, and what happens when they are there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use serde_json::{Map, json};
use uuid::Uuid;

use super::app::{self, not_there};
use super::rows::{GPXTrack, MediaItem, Node, Trip, View};
use super::shapes::UpdateMediaItemInput;
use super::shapes::{GPXTrackInput, MediaItemInput, RoutePointInput, UpdateGPXTrackInput};
use super::track::RoutePoints;
use super::types::DateTime;
use super::{Services, caller, public, services, uuid};
use crate::config::limits;
use crate::db;
use crate::error::{Code, Error};
use crate::files::Key as FileKey;
use crate::kinds::{EntityType, parse_id, parse_time};
use crate::sync::file::{self, Arrival, Named};
use crate::sync::row::{self, Key, Row};
use crate::sync::{Role, route, store};

/// What a GPX file is.
const GPX: &str = "application/gpx+xml";

/// URLs for one file. Only one of them is given: the one that was asked for.
#[derive(SimpleObject)]
pub struct PresignedUrlResponse {
    /// Takes the bytes by PUT, with the content type that was named. Empty in an answer that gives a
    /// URL to download.
    pub upload_url: String,
    /// Gives the bytes by GET; null while they are not there.
    pub download_url: Option<String>,
    /// Seconds for which the URL is good.
    pub expires_in: Option<f64>,
    /// What the file is called: give it as objectName to what it belongs to.
    pub object_key: String,
}

#[derive(SimpleObject)]
pub struct FileDownloadUrl {
    pub entity_id: ID,
    pub entity_type: String,
    pub object_name: String,
    pub download_url: String,
    /// Seconds.
    pub expires_in: i32,
}

#[derive(SimpleObject)]
pub struct FileSyncResponse {
    /// For those of the rows whose file is there.
    pub download_urls: Vec<FileDownloadUrl>,
    pub generated_at: DateTime,
}

#[derive(SimpleObject)]
pub struct BulkUploadUrl {
    /// As it was sent.
    pub entity_id: ID,
    pub entity_type: String,
    pub object_name: String,
    pub upload_url: String,
    /// Seconds.
    pub expires_in: i32,
}

#[derive(SimpleObject)]
pub struct BulkUploadResponse {
    pub upload_urls: Vec<BulkUploadUrl>,
    pub generated_at: DateTime,
}

/// A file to be uploaded.
#[derive(InputObject)]
pub struct UploadRequest {
    /// The row that it belongs to. It need not be there yet.
    pub entity_id: ID,
    pub entity_type: String,
    pub object_name: String,
    pub mime_type: String,
}

impl UploadRequest {
    /// The row that is named.
    fn entity(&self) -> Result<row::Key, Error> {
        let kind = kind_of(&self.entity_type)?;
        let id = parse_id(&self.entity_id)
            .ok_or_else(|| Error::bad_input("entityId: must be a UUID"))?;
        Ok((kind, id))
    }
}

#[derive(Default)]
pub struct FileQuery;

#[Object]
impl FileQuery {
    /// A URL to upload a file under a name that is made here.
    async fn get_presigned_upload_url(
        &self,
        ctx: &Context<'_>,
        mime_type: String,
        filename: String,
    ) -> Result<PresignedUrlResponse> {
        upload_url(ctx, &made_name(&filename), Some(mime_type)).await
    }

    /// A URL to download a file of the caller's, or one that a row names which the caller sees.
    async fn get_presigned_download_url(
        &self,
        ctx: &Context<'_>,
        object_key: String,
    ) -> Result<PresignedUrlResponse> {
        let view = View::of(ctx).await?;
        let services = &view.services;
        let found = file::find(
            &services.db,
            &services.files,
            view.account,
            &view.seen,
            &object_key,
            services.quota,
        );
        let found = found.await?;
        let named = found.ok_or_else(|| Error::new(Code::NotFound, "there is no such file"))?;
        let download_url = match named.is_there {
            true => Some(download_url(&view, &named, limits::URL).await?),
            false => None,
        };
        Ok(PresignedUrlResponse {
            upload_url: String::new(),
            download_url,
            expires_in: Some(limits::URL.as_secs_f64()),
            object_key,
        })
    }

    /// URLs to download the files of these rows. Those that are not there, or not for the caller to
    /// see, are left out.
    async fn generate_batch_download_urls(
        &self,
        ctx: &Context<'_>,
        media_item_ids: Option<Vec<ID>>,
        gpx_track_ids: Option<Vec<ID>>,
        #[graphql(desc = "Seconds: 1 to 604,800; default 3,600.")] expires_in: Option<i32>,
    ) -> Result<FileSyncResponse> {
        let view = View::of(ctx).await?;
        let expires = expiry(expires_in)?;
        let db = view.services.db.pool();
        let mut download_urls = Vec::new();
        for (kind, ids) in
            [(EntityType::MediaItem, media_item_ids), (EntityType::GPXTrack, gpx_track_ids)]
        {
            let ids = ids.unwrap_or_default();
            check_count(ids.len())?;
            let ids: Vec<Uuid> = ids.iter().filter_map(|id| parse_id(id)).collect();
            let rows = view.some(kind, &ids).await?;
            let named = file::named(db, &rows).await?;
            for row in &rows {
                for (at, _) in kind.kind().files().filter(|(_, file)| file.awaited) {
                    let Some(named) = named.get(&(row.id, at)).filter(|named| named.is_there)
                    else {
                        continue;
                    };
                    download_urls.push(FileDownloadUrl {
                        entity_id: row.id.into(),
                        entity_type: kind.name().into(),
                        object_name: named.key.name().to_owned(),
                        download_url: download_url(&view, named, expires).await?,
                        expires_in: expires.as_secs() as i32,
                    });
                }
            }
        }
        let generated_at = DateTime(db::now(db).await.map_err(Error::from)?);
        Ok(FileSyncResponse { download_urls, generated_at })
    }

    /// The points of a trip that were recorded on the way, by their times.
    async fn route_points(&self, ctx: &Context<'_>, trip_id: ID) -> Result<RoutePoints> {
        let trip = uuid(ctx, "tripId", &trip_id)?;
        let view = View::of(ctx).await?;
        if view.row(EntityType::Trip, trip).await?.is_none() {
            return Ok(RoutePoints(Vec::new()));
        }
        let mut found = route::of_trips(view.services.db.pool(), &[trip]).await?;
        Ok(RoutePoints(found.remove(&trip).unwrap_or_default()))
    }
}

#[derive(Default)]
pub struct FileMutation;

#[Object]
impl FileMutation {
    /// A URL to upload a file under a name that is made here. Without a type any is taken.
    async fn create_upload_url(
        &self,
        ctx: &Context<'_>,
        mime_type: Option<String>,
        filename: String,
    ) -> Result<PresignedUrlResponse> {
        upload_url(ctx, &made_name(&filename), mime_type).await
    }

    /// A URL to upload a GPX file, as application/gpx+xml.
    async fn generate_gpx_upload_url(
        &self,
        ctx: &Context<'_>,
        filename: String,
    ) -> Result<PresignedUrlResponse> {
        upload_url(ctx, &made_name(&filename), Some(GPX.into())).await
    }

    /// A URL to upload the cover picture of a trip; assignCoverImageToTrip comes next.
    async fn generate_trip_cover_image_upload_url(
        &self,
        ctx: &Context<'_>,
        content_type: String,
        trip_id: ID,
    ) -> Result<PresignedUrlResponse> {
        let trip = uuid(ctx, "tripId", &trip_id)?;
        let view = View::of(ctx).await?;
        if view.seen.iter().any(|scope| scope.id == trip && !scope.is_visible()) {
            return Err(public(Error::new(Code::Forbidden, "you are no longer a member")));
        }
        if view.row(EntityType::Trip, trip).await?.is_none() {
            return Err(public(not_there(EntityType::Trip)));
        }
        may_write(&view, trip)?;
        upload_url(ctx, &made_name("cover"), Some(content_type)).await
    }

    /// Makes an uploaded file the cover picture of a trip.
    async fn assign_cover_image_to_trip(
        &self,
        ctx: &Context<'_>,
        object_name: String,
        trip_id: ID,
    ) -> Result<Trip> {
        let mut fields = Map::new();
        fields.insert("coverImageObjectName".into(), json!(object_name));
        arrived(ctx, app::update(ctx, &trip_id, fields).await?).await
    }

    /// URLs to upload several files under the names that the app gives them.
    async fn generate_batch_upload_urls(
        &self,
        ctx: &Context<'_>,
        upload_requests: Vec<UploadRequest>,
        #[graphql(desc = "Seconds: 1 to 604,800; default 3,600.")] expires_in: Option<i32>,
    ) -> Result<BulkUploadResponse> {
        let view = View::of(ctx).await?;
        let expires = expiry(expires_in)?;
        check_count(upload_requests.len())?;
        let services = &view.services;
        let entities: Vec<_> = upload_requests.iter().map(UploadRequest::entity).collect();
        let mut ids: BTreeMap<EntityType, Vec<Uuid>> = BTreeMap::new();
        for (kind, id) in entities.iter().flatten() {
            ids.entry(*kind).or_default().push(*id);
        }
        let mut scopes: HashMap<row::Key, Uuid> = HashMap::new();
        for (kind, ids) in ids {
            let rows = view.some(kind, &ids).await?;
            scopes.extend(rows.iter().map(|row| (row.key(), row.scope)));
        }
        let mut expected = Vec::with_capacity(upload_requests.len());
        let mut upload_urls = Vec::with_capacity(upload_requests.len());
        for (at, (request, entity)) in upload_requests.into_iter().zip(entities).enumerate() {
            let UploadRequest { entity_id, entity_type, object_name, mime_type } = request;
            let named = |error: Error| Error {
                message: format!("uploadRequests[{at}]: {}", error.message),
                ..error
            };
            if let Some(scope) = scopes.get(&entity.map_err(named)?) {
                may_write(&view, *scope)?;
            }
            let key = FileKey::new(view.account, &object_name).map_err(named)?;
            let url = services.files.upload_url(&view.base, &key, Some(&mime_type), expires);
            upload_urls.push(BulkUploadUrl {
                entity_id,
                entity_type,
                object_name,
                upload_url: url.await.map_err(named)?,
                expires_in: expires.as_secs() as i32,
            });
            expected.push((key, Some(mime_type)));
        }
        file::expect(&services.db, view.account, &view.seen, &expected, services.quota).await?;
        let generated_at = DateTime(db::now(services.db.pool()).await.map_err(Error::from)?);
        Ok(BulkUploadResponse { upload_urls, generated_at })
    }

    /// Tells that a file was uploaded. True, if it is there and is what its row says; then the row
    /// is IN_SYNC. False, if it is not, or not yet: the row's syncErrorMessage says what is wrong.
    /// `entityId` may be an id that only the app knows: then the rows that name the file are meant.
    async fn mark_file_upload_complete(
        &self,
        ctx: &Context<'_>,
        entity_id: ID,
        entity_type: String,
        object_name: String,
    ) -> Result<bool> {
        let view = View::of(ctx).await?;
        let kind = kind_of(&entity_type)?;
        let id = uuid(ctx, "entityId", &entity_id)?;
        let services = &view.services;
        let own = FileKey::new(view.account, &object_name)?;
        let row = view.row(kind, id).await?;
        let names = |row: &Row| {
            let mut files = row.kind().files();
            files.any(|(at, _)| row.content.values[at].as_text() == Some(&object_name))
        };
        if let Some(row) = &row {
            may_write(&view, row.scope)?;
        }
        let rows = match row.filter(names) {
            Some(row) => vec![row],
            // The app may call the row by an id of its own: then the file's name says which it is.
            None => file::naming(services.db.pool(), &view.seen, kind.kind(), &own).await?,
        };
        if rows.is_empty() {
            // Uploaded before any row says so: the row that says so finds it there.
            return Ok(is_there(services, &own).await?);
        }
        let mut there = true;
        for row in rows {
            may_write(&view, row.scope)?;
            let asked = Some(object_name.as_str());
            let arrival = file::arrive(&services.db, &services.files, &row, services.quota, asked);
            there &= arrival.await? == Arrival::There;
        }
        Ok(there)
    }

    /// Adds a photo, film or sound to a memory.
    async fn create_media_item(
        &self,
        ctx: &Context<'_>,
        input: MediaItemInput,
    ) -> Result<MediaItem> {
        arrived(ctx, app::create(ctx, input.0).await?).await
    }

    async fn update_media_item(
        &self,
        ctx: &Context<'_>,
        id: String,
        input: UpdateMediaItemInput,
    ) -> Result<MediaItem> {
        arrived(ctx, app::update(ctx, &id, input.0).await?).await
    }

    /// Adds a track to a trip. Its file is read, if it is there.
    async fn create_gpx_track(&self, ctx: &Context<'_>, input: GPXTrackInput) -> Result<GPXTrack> {
        arrived(ctx, app::create(ctx, input.0).await?).await
    }

    async fn update_gpx_track(
        &self,
        ctx: &Context<'_>,
        id: ID,
        input: UpdateGPXTrackInput,
    ) -> Result<GPXTrack> {
        arrived(ctx, app::update(ctx, &id, input.0).await?).await
    }

    /// Makes a track of an uploaded GPX file, or reads the file of the trip's track once more that
    /// names it.
    async fn process_gpx_file(
        &self,
        ctx: &Context<'_>,
        track_name: String,
        trip_id: ID,
        object_name: String,
    ) -> Result<GPXTrack> {
        let trip = uuid(ctx, "tripId", &trip_id)?;
        let view = View::of(ctx).await?;
        let kind = GPXTrack::KIND;
        let tracks = view.list(kind, Some(trip)).await?;
        let names =
            |row: &Row| row.content.get("gpxFileObjectName").as_text() == Some(&object_name);
        if let Some(row) = tracks.into_iter().find(names) {
            may_write(&view, row.scope)?;
            return arrived(ctx, Node { view, row }).await;
        }
        let mut fields = Map::new();
        fields.insert("name".into(), json!(track_name));
        fields.insert("tripId".into(), json!(trip));
        fields.insert("gpxFileObjectName".into(), json!(object_name));
        arrived(ctx, app::create(ctx, fields).await?).await
    }

    /// Adds points that were recorded on the way. One that is there already stays.
    async fn create_route_points(
        &self,
        ctx: &Context<'_>,
        points: Vec<RoutePointInput>,
        trip_id: ID,
    ) -> Result<RoutePoints> {
        let trip = uuid(ctx, "tripId", &trip_id)?;
        let account = caller(ctx)?.account;
        let mut read = Vec::with_capacity(points.len());
        for (at, RoutePointInput(fields)) in points.into_iter().enumerate() {
            let float = |name: &str| fields.get(name).and_then(|value| value.as_f64());
            let time = fields.get("timestamp").and_then(|time| parse_time(time.as_str()?));
            let (Some(latitude), Some(longitude), Some(timestamp)) =
                (float("latitude"), float("longitude"), time)
            else {
                let message = format!("points[{at}].timestamp: must be an RFC 3339 date and time");
                return Err(public(Error::bad_input(message)));
            };
            let (altitude, speed) = (float("altitude"), float("speed"));
            read.push(route::Point { latitude, longitude, altitude, speed, timestamp });
        }
        Ok(RoutePoints(route::add(&services(ctx)?.db, account, trip, &read).await?))
    }
}

/// Looks at the files that a row names, and gives the row as it is then. The row is written already:
/// a store that does not answer now is asked again later.
async fn arrived<const KIND: usize>(ctx: &Context<'_>, node: Node<KIND>) -> Result<Node<KIND>> {
    let services = &node.view.services;
    let looked = file::arrive(&services.db, &services.files, &node.row, services.quota, None).await;
    if let Err(error) = looked {
        tracing::warn!(error = error.message, id = %node.row.id, "a file was not looked at");
        return Ok(node);
    }
    let id = node.row.id;
    let node = Node::read(View::of(ctx).await?, id).await?;
    node.ok_or_else(|| public(not_there(Node::<KIND>::KIND)))
}

/// Reads the files of rows that were pushed and whose files are there already. Nobody waits for it:
/// the rows are delivered again when it is done. What is not come to is found by `file::arrive_all`.
pub fn read_later(services: Arc<Services>, unread: Vec<Key>) {
    if unread.is_empty() {
        return;
    }
    tokio::spawn(async move {
        for (kind, id) in unread {
            let done = async {
                let db = &services.db;
                for row in store::rows_by_id(db.pool(), kind.kind(), &[id]).await? {
                    file::arrive(db, &services.files, &row, services.quota, None).await?;
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = done.await {
                tracing::warn!(error = error.message, %id, "a file will be read later");
            }
        }
    });
}

async fn upload_url(
    ctx: &Context<'_>,
    name: &str,
    content_type: Option<String>,
) -> Result<PresignedUrlResponse> {
    let view = View::of(ctx).await?;
    let services = &view.services;
    let key = FileKey::new(view.account, name)?;
    let url = services.files.upload_url(&view.base, &key, content_type.as_deref(), limits::URL);
    let upload_url = url.await?;
    let expected = [(key, content_type)];
    file::expect(&services.db, view.account, &view.seen, &expected, services.quota).await?;
    Ok(PresignedUrlResponse {
        upload_url,
        download_url: None,
        expires_in: Some(limits::URL.as_secs_f64()),
        object_key: name.to_owned(),
    })
}

async fn download_url(view: &View, named: &Named, expires: Duration) -> Result<String, Error> {
    let Named { key, content_type, .. } = named;
    view.services.files.download_url(&view.base, key, content_type.as_deref(), expires).await
}

async fn is_there(services: &Services, key: &FileKey) -> Result<bool, Error> {
    let found = file::look(&services.db, &services.files, key, services.quota).await?;
    Ok(found.is_some())
}

fn may_write(view: &View, scope: Uuid) -> Result<(), Error> {
    match view.role(scope) {
        Some(role) if role >= Role::Editor => Ok(()),
        _ => Err(Error::new(Code::Forbidden, "your role allows to read, not to change")),
    }
}

/// A name that no other upload has, which still says what the file was called.
fn made_name(filename: &str) -> String {
    let last = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String =
        last.chars().filter(|c| c.is_alphanumeric() || "-_. ()".contains(*c)).take(100).collect();
    let plain = plain.trim_matches(['.', ' ']);
    let plain = if plain.is_empty() { "file" } else { plain };
    format!("{}/{plain}", Uuid::now_v7())
}

fn expiry(seconds: Option<i32>) -> Result<Duration, Error> {
    match seconds {
        None => Ok(limits::URL),
        Some(seconds) => u64::try_from(seconds)
            .ok()
            .map(Duration::from_secs)
            .filter(|expires| (1..=limits::SIGNED_URL.as_secs()).contains(&expires.as_secs()))
            .ok_or_else(|| {
                let most = limits::SIGNED_URL.as_secs();
                Error::bad_input(format!("expiresIn: must be from 1 to {most} seconds"))
            }),
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    match count <= limits::URLS {
        true => Ok(()),
        false => {
            Err(Error::new(Code::Limit, format!("at most {} files in one request", limits::URLS)))
        }
    }
}

/// A kind by its name, in any case and however the words are joined.
fn kind_of(name: &str) -> Result<EntityType, Error> {
    let plain = |name: &str| name.replace(['_', '-', ' '], "").to_lowercase();
    let found = EntityType::ALL.iter().find(|kind| plain(kind.name()) == plain(name));
    found.copied().ok_or_else(|| Error::bad_input(format!("entityType: there is no {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_name_keeps_what_is_harmless() {
        for (given, kept) in [
            ("IMG 1.jpg", "IMG 1.jpg"),
            ("../../etc/passwd", "passwd"),
            ("C:\\photos\\a.png", "a.png"),
            ("..", "file"),
            ("", "file"),
            ("a\u{0}b\n.gpx", "ab.gpx"),
            ("Überlingen.gpx", "Überlingen.gpx"),
        ] {
            let name = made_name(given);
            assert_eq!(name.split_once('/').map(|(_, rest)| rest), Some(kept), "{given:?}");
            assert!(FileKey::new(Uuid::nil(), &name).is_ok());
        }
    }

    #[test]
    fn kinds_are_known_by_their_names_in_any_case() {
        for name in ["MediaItem", "mediaItem", "media_item", "MEDIA-ITEM"] {
            assert_eq!(kind_of(name).expect("known"), EntityType::MediaItem);
        }
        assert_eq!(kind_of("gpxTrack").expect("known"), EntityType::GPXTrack);
        assert!(kind_of("Photo").is_err());
    }
}
