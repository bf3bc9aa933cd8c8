//! Objects in an S3-compatible store: `[prefix/]<account>/<name>`, so that other tools find them by
//! their names. Clients carry the bytes to and from it themselves, by presigned URLs
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::signer::{HeaderValue, Method, SignedUrlOptions, Signer};
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::{Key, failed, is_shown};
use crate::config::{FilesConfig, limits};
use crate::error::Error;
use crate::tls;

pub struct S3 {
    store: AmazonS3,
    root: Option<Path>,
}

impl S3 {
    pub fn new(url: &str, config: &FilesConfig) -> Result<S3, String> {
        let (bucket, root) = parse(url)?;
        tls::provide();

        let FilesConfig {
            files_dir: _,
            files_url: _,
            files_quota: _,
            files_grace_hours: _,
            public_url: _,
            aws_endpoint_url,
            aws_region,
            aws_access_key_id,
            aws_secret_access_key,
            aws_allow_http,
            aws_virtual_hosted_style_request,
        } = config;
        use AmazonS3ConfigKey as Setting;
        let seconds = |time: Duration| format!("{} seconds", time.as_secs());
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(*aws_virtual_hosted_style_request)
            // Not every store knows how to delete several at once, and there is no hurry.
            .with_disable_bulk_delete(true)
            .with_config(Setting::Client(ClientConfigKey::AllowHttp), aws_allow_http.to_string())
            .with_config(
                Setting::Client(ClientConfigKey::ConnectTimeout),
                seconds(limits::S3_CONNECT),
            )
            .with_config(Setting::Client(ClientConfigKey::Timeout), seconds(limits::S3_REQUEST))
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: limits::S3_RETRIES,
                retry_timeout: limits::S3_REQUEST,
            });
        for (setting, value) in [
            (Setting::Endpoint, aws_endpoint_url),
            (Setting::Region, aws_region),
            (Setting::AccessKeyId, aws_access_key_id),
            (Setting::SecretAccessKey, aws_secret_access_key),
        ] {
            if let Some(value) = value {
                builder = builder.with_config(setting, value);
            }
        }
        let endpoint = builder
            .get_config_value(&Setting::S3Endpoint)
            .or_else(|| builder.get_config_value(&Setting::Endpoint));
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http:")) {
            if !aws_allow_http {
                let message = "the S3 store's address begins with http: nobody on the way is kept \
                               from reading. Set AWS_ALLOW_HTTP=true if that is meant";
                return Err(message.into());
            }
            // Without TLS no certificates are needed, and a machine may have none.
            let none = Setting::Client(ClientConfigKey::NoSystemCertificates);
            builder = builder.with_config(none, "true");
        }
        let store = builder.build().map_err(|error| format!("FILES_URL: {error}"))?;
        Ok(S3 { store, root })
    }

    pub fn store(&self) -> &dyn ObjectStore {
        &self.store
    }

    pub fn root(&self) -> Option<&Path> {
        self.root.as_ref()
    }

    pub fn path(&self, key: &Key) -> Path {
        let path = match &self.root {
            Some(root) => format!("{root}/{key}"),
            None => key.to_string(),
        };
        // A key's name is stricter than a path.
        Path::parse(path).unwrap_or_else(|_| unreachable!("a key is a path"))
    }

    pub async fn upload_url(
        &self,
        key: &Key,
        content_type: Option<&str>,
        expires: Duration,
    ) -> Result<String, Error> {
        let mut options = SignedUrlOptions::new();
        if let Some(content_type) = content_type {
            let value = HeaderValue::from_str(content_type).map_err(Error::internal)?;
            options = options.with_signed_header(axum::http::header::CONTENT_TYPE, value);
        }
        self.signed(Method::PUT, key, expires, &options).await
    }

    pub async fn download_url(
        &self,
        key: &Key,
        content_type: Option<&str>,
        expires: Duration,
    ) -> Result<String, Error> {
        let mut options = SignedUrlOptions::new();
        if let Some(content_type) = content_type {
            options = options.with_query([("response-content-type", content_type)]);
        }
        if !content_type.is_some_and(is_shown) {
            options = options.with_query([("response-content-disposition", "attachment")]);
        }
        self.signed(Method::GET, key, expires, &options).await
    }

    async fn signed(
        &self,
        method: Method,
        key: &Key,
        expires: Duration,
        options: &SignedUrlOptions,
    ) -> Result<String, Error> {
        let path = self.path(key);
        let url = self.store.signed_url_opts(method, &path, expires, options).await;
        url.map(String::from).map_err(failed)
    }
}

/// Bucket and prefix of `s3://bucket[/prefix]`.
fn parse(url: &str) -> Result<(&str, Option<Path>), String> {
    let wrong = || format!("FILES_URL: {url:?} must be s3://bucket or s3://bucket/prefix");
    let rest = url.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if bucket.is_empty() || !bucket.chars().all(fits) {
        return Err(wrong());
    }
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        return Ok((bucket, None));
    }
    let good = prefix.len() <= limits::FILES_PREFIX
        && prefix
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.chars().all(fits));
    if !good {
        return Err(format!(
            "FILES_URL: the prefix {prefix:?} must have at most {} letters, digits, `-`, `.`, `_` \
             and `/`",
            limits::FILES_PREFIX
        ));
    }
    Ok((bucket, Some(Path::parse(prefix).map_err(|_| wrong())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_bucket_and_perhaps_a_prefix() {
        let root = |url| parse(url).map(|(bucket, root)| (bucket, root.map(String::from)));
        assert_eq!(root("s3://photos"), Ok(("photos", None)));
        assert_eq!(root("s3://photos/"), Ok(("photos", None)));
        assert_eq!(root("s3://photos/cairn/test/"), Ok(("photos", Some("cairn/test".into()))));
        let long = format!("s3://photos/{}", "x".repeat(81));
        for bad in [
            "",
            "photos",
            "s3://",
            "s3:///x",
            "gs://photos",
            "s3://a b",
            "s3://a@b",
            "s3://a/../b",
            "s3://a//b",
            "s3://a/b?c",
            "S3://a",
            &long,
        ] {
            assert!(root(bad).is_err(), "{bad}");
        }
    }
}
