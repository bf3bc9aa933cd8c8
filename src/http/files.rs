//! `/files/<account>/<name>`: the objects on local disk, for whoever holds a signed URL. With an S3
//! store there is nothing here: its URLs lead to the store.

use std::error::Error as StdError;
use std::io::SeekFrom;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use tower_http::timeout::TimeoutError;
use uuid::Uuid;

use super::range::{Wanted, wanted};
use super::{Context, graphql, is_known};
use crate::admission::Requester;
use crate::config::limits;
use crate::error::{Code, Error};
use crate::files::disk::{Action, Disk, Signed};
use crate::files::{Key, is_shown, same_type};
use crate::sync::file;

pub fn routes() -> Router<Context> {
    Router::new().route("/files/{*path}", get(download).put(upload))
}

/// Status and error of an answer without a file.
type Refusal = (StatusCode, Error);

async fn download(State(context): State<Context>, request: Request) -> Response {
    match give(&context, request).await {
        Ok(response) => response,
        Err(refusal) => refused(refusal),
    }
}

async fn give(context: &Context, request: Request) -> Result<Response, Refusal> {
    let disk = disk(context)?;
    let (key, signed) = asked(request.uri())?;
    disk.verify(Action::Get, &key, &signed).map_err(forbidden)?;
    let (stored, file) = disk.open(&key).await.map_err(unavailable)?.ok_or_else(|| {
        (StatusCode::NOT_FOUND, Error::new(Code::NotFound, "the file is not there"))
    })?;

    let content_type = signed.content_type.as_deref().unwrap_or("application/octet-stream");
    let etag = stored.etag.unwrap_or_default();
    let headers = request.headers();
    let mut response = StatusCode::OK.into_response();
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::CACHE_CONTROL, "private");
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // A file may be anything, and is on the server's own origin: it must not act there.
    set(&mut response, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    if is_known(headers, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(&mut response, header::CONTENT_TYPE, content_type);
    if !is_shown(content_type) {
        set(&mut response, header::CONTENT_DISPOSITION, &attachment(&key));
    }
    // A range is of the file that the client knows, or the whole one is sent.
    let same = text(headers, header::IF_RANGE).is_none_or(|known| known == etag);
    let range = text(headers, header::RANGE).filter(|_| same && request.method() == Method::GET);
    let part = match wanted(range, stored.size) {
        Wanted::Whole => 0..stored.size,
        Wanted::Part(part) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let (first, last) = (part.start, part.end - 1);
            let range = format!("bytes {first}-{last}/{}", stored.size);
            set(&mut response, header::CONTENT_RANGE, &range);
            part
        }
        Wanted::Nothing => {
            let error = Error::bad_input(format!("the file has {} bytes", stored.size));
            let mut response = refused((StatusCode::RANGE_NOT_SATISFIABLE, error));
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", stored.size));
            return Ok(response);
        }
    };
    let length = part.end - part.start;
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    if request.method() == Method::GET {
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(part.start))
            .await
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, Error::internal(error)))?;
        let bytes = ReaderStream::with_capacity(file.take(length), limits::DOWNLOAD_PART);
        *response.body_mut() = Body::from_stream(bytes);
    }
    Ok(response)
}

async fn upload(State(context): State<Context>, request: Request) -> Response {
    let expects = request.headers().contains_key(header::EXPECT);
    let (parts, mut body) = {
        let (parts, body) = request.into_parts();
        (parts, body.into_data_stream())
    };
    let taken = match may_upload(&context, &parts.uri, &parts.headers).await {
        Ok((disk, key, most)) => take(&context, disk, &key, most, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    match taken {
        Ok(etag) => {
            let mut response = StatusCode::OK.into_response();
            set(&mut response, header::ETAG, &etag);
            response
        }
        Err(refusal) => {
            // A client that is still sending when the connection closes may never see the answer,
            // and try again for ever. One that waits to be asked has sent nothing.
            if !expects {
                let mut read = 0;
                while let Some(Ok(bytes)) = body.next().await {
                    read += bytes.len();
                    if read > limits::BODY {
                        break;
                    }
                }
            }
            refused(refusal)
        }
    }
}

async fn may_upload<'a>(
    context: &'a Context,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(&'a Disk, Key, u64), Refusal> {
    let disk = disk(context)?;
    let (key, signed) = asked(uri)?;
    disk.verify(Action::Put, &key, &signed).map_err(forbidden)?;
    if let Some(expected) = &signed.content_type
        && !text(headers, header::CONTENT_TYPE).is_some_and(|given| same_type(given, expected))
    {
        let message = format!("this URL takes {expected}; send that as Content-Type");
        return Err(forbidden(Error::new(Code::Forbidden, message)));
    }
    let length = text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let services = &context.services;
    let _place =
        services.admission.enter(Requester::Account(key.account())).await.map_err(unavailable)?;
    let room = file::room(&services.db, &key, services.quota).await.map_err(unavailable)?;
    let most = room.min(limits::FILE_BYTES);
    if length.is_some_and(|length: u64| length > most) {
        return Err(too_large(most));
    }
    Ok((disk, key, most))
}

/// Writes the body, and gives its ETag.
async fn take(
    context: &Context,
    disk: &Disk,
    key: &Key,
    most: u64,
    body: &mut axum::body::BodyDataStream,
) -> Result<String, Refusal> {
    let mut upload = disk.upload(key).await.map_err(unavailable)?;
    let mut size = 0;
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| unread(&error))?;
        size += bytes.len() as u64;
        if size > most {
            return Err(too_large(most));
        }
        upload.write(bytes).await.map_err(unavailable)?;
    }
    let etag = upload.finish().await.map_err(unavailable)?.unwrap_or_default();
    file::received(&context.services.db, key, size).await.map_err(unavailable)?;
    Ok(etag)
}

fn disk(context: &Context) -> Result<&Disk, Refusal> {
    context.services.files.disk().ok_or_else(|| {
        (StatusCode::NOT_FOUND, Error::new(Code::NotFound, "files are kept elsewhere"))
    })
}

/// What a URL names and says.
fn asked(uri: &Uri) -> Result<(Key, Signed), Refusal> {
    let bad = |error| (StatusCode::BAD_REQUEST, error);
    let path = uri.path().strip_prefix("/files/").unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8();
    let (account, name) = path
        .as_deref()
        .ok()
        .and_then(|path| path.split_once('/'))
        .and_then(|(account, name)| Some((Uuid::try_parse(account).ok()?, name)))
        .ok_or_else(|| bad(Error::bad_input("this is no file's address")))?;
    let key = Key::new(account, name).map_err(bad)?;

    let mut signed = Signed::default();
    let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri);
    for (name, value) in parameters.map(|Query(parameters)| parameters).unwrap_or_default() {
        // Of one that stands twice the last counts; the signature is of one.
        match name.as_str() {
            "expires" => signed.expires = value.parse().unwrap_or_default(),
            "type" => signed.content_type = Some(value),
            "signature" => signed.signature = value,
            _ => {}
        }
    }
    Ok((key, signed))
}

/// To be saved, under the last part of its name.
fn attachment(key: &Key) -> String {
    let name = key.name().rsplit('/').next().unwrap_or_default();
    format!("attachment; filename*=UTF-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn forbidden(error: Error) -> Refusal {
    (StatusCode::FORBIDDEN, error)
}

fn unavailable(error: Error) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, error)
}

fn too_large(most: u64) -> Refusal {
    let message = format!("this file may have {most} bytes");
    (StatusCode::PAYLOAD_TOO_LARGE, Error::new(Code::Limit, message))
}

/// Why a body could not be read.
fn unread(error: &axum::Error) -> Refusal {
    let mut causes = std::iter::successors(Some(error as &dyn StdError), |&error| error.source());
    if causes.any(|cause| cause.is::<TimeoutError>()) {
        (StatusCode::REQUEST_TIMEOUT, Error::bad_input("the file stopped coming; send it again"))
    } else {
        (StatusCode::BAD_REQUEST, Error::bad_input("the file did not come whole; send it again"))
    }
}

fn refused((status, error): Refusal) -> Response {
    graphql::refusal(graphql::JSON, status, error)
}
