//! AWS's presigned URLs, verified from their description alone
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>). It shares no
//! code with the store that makes them.

use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A presigned URL, taken apart.
pub struct Presigned {
    pub host: String,
    /// As it stands in the URL.
    pub path: String,
    /// In the URL's order, decoded.
    pub query: Vec<(String, String)>,
}

impl Presigned {
    pub fn parse(url: &str) -> Presigned {
        let (_, rest) = url.split_once("://").expect("a scheme");
        let (rest, query) = rest.split_once('?').expect("a query");
        let (host, path) = rest.split_once('/').expect("a path");
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8().expect("UTF-8").into_owned()
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        let query = query.split('&').map(pair).collect();
        Presigned { host: host.to_owned(), path: format!("/{path}"), query }
    }

    pub fn get(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(found, _)| found == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// Whether the signature is right for this method and, of the headers that it covers, these.
    pub fn is_right(&self, method: &str, headers: &[(&str, &str)], secret: &str) -> bool {
        assert_eq!(self.get("X-Amz-Algorithm"), "AWS4-HMAC-SHA256");
        let encode = |text: &str| utf8_percent_encode(text, &UNRESERVED).to_string();
        let mut query: Vec<_> = self
            .query
            .iter()
            .filter(|(name, _)| name != "X-Amz-Signature")
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        query.sort();
        let signed_headers = self.get("X-Amz-SignedHeaders");
        let header = |name: &str| {
            let given = headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
            let value = if name == "host" { self.host.as_str() } else { given.map_or("", |g| g.1) };
            format!("{name}:{}\n", value.trim())
        };
        let canonical = [
            method,
            &self.path,
            &query.join("&"),
            &signed_headers.split(';').map(header).collect::<String>(),
            signed_headers,
            "UNSIGNED-PAYLOAD",
        ]
        .join("\n");
        let (_, scope) = self.get("X-Amz-Credential").split_once('/').expect("a scope");
        let to_sign = [
            "AWS4-HMAC-SHA256",
            self.get("X-Amz-Date"),
            scope,
            &hex(&Sha256::digest(canonical.as_bytes())),
        ]
        .join("\n");
        let key = format!("AWS4{secret}").into_bytes();
        let key = scope.split('/').fold(key, |key, part| mac(&key, part));
        hex(&mac(&key, &to_sign)) == self.get("X-Amz-Signature")
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
