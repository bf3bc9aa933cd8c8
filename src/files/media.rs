//! Media types, as uploads and downloads name them.

use std::collections::BTreeMap;

use mime::Mime;

use crate::error::Error;

/// The type as it is signed: without space around it.
pub fn checked(content_type: &str) -> Result<&str, Error> {
    let trimmed = content_type.trim();
    match trimmed.parse::<Mime>() {
        // The parser takes a subtype of nothing.
        Ok(media)
            if media.subtype() != ""
                && trimmed.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') =>
        {
            Ok(trimmed)
        }
        _ => Err(Error::bad_input(format!("{content_type:?} is no content type"))),
    }
}

/// Whether two types mean the same. Case does not matter but in the values of parameters, nor does
/// the parameters' order.
pub fn same_type(one: &str, other: &str) -> bool {
    match (one.parse::<Mime>(), other.parse::<Mime>()) {
        (Ok(one), Ok(other)) => {
            one.essence_str().eq_ignore_ascii_case(other.essence_str())
                && parameters(&one) == parameters(&other)
        }
        _ => false,
    }
}

fn parameters(media: &Mime) -> BTreeMap<String, String> {
    let parameter = |(name, value): (mime::Name<'_>, mime::Name<'_>)| {
        let name = name.as_str().to_ascii_lowercase();
        let value = match name.as_str() {
            "charset" => value.as_str().to_ascii_lowercase(),
            _ => value.as_str().to_owned(),
        };
        (name, value)
    };
    media.params().map(parameter).collect()
}

/// Whether a browser may show it where it stands. Anything else is to be saved: it may be active,
/// as SVG is among the images.
pub fn is_shown(content_type: &str) -> bool {
    let Ok(media) = content_type.parse::<Mime>() else { return false };
    match media.type_().as_str() {
        "image" => media.subtype() != "svg",
        "video" | "audio" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_by_what_they_mean() {
        for (one, other) in [
            ("image/jpeg", "image/jpeg"),
            ("image/jpeg", "IMAGE/JPEG"),
            ("text/plain; charset=utf-8", "text/plain;charset=UTF-8"),
            ("text/plain; charset=utf-8", "text/plain; charset=\"utf-8\""),
            ("a/b; x=1; y=2", "a/b;y=2;x=1"),
        ] {
            assert!(same_type(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("image/jpeg", "image/png"),
            ("image/jpeg", "image/jpeg2"),
            ("image/jpeg", "image/jpeg; q=1"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("a/b; x=a", "a/b; x=A"),
            ("image/jpeg", ""),
            ("image/jpeg", "image/jpeg, text/html"),
        ] {
            assert!(!same_type(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_content_type_is_one() {
        assert_eq!(checked(" application/gpx+xml "), Ok("application/gpx+xml"));
        for bad in ["", "jpeg", "image/", "image/jp eg", "a/b\r\nX: y", "a/é", "a/b; x=\u{7}"] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_may_be_active_is_saved() {
        for shown in ["image/jpeg", "IMAGE/HEIC", "video/mp4; codecs=avc1", "audio/mpeg"] {
            assert!(is_shown(shown), "{shown}");
        }
        for saved in ["image/svg+xml", "image/svg", "text/html", "application/pdf", "x", ""] {
            assert!(!is_shown(saved), "{saved}");
        }
    }
}
