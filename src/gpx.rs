//! GPX files: what a track or a planned route says, and its points.
//!
//! The crate `gpx` reads each point: its coordinates, elevation and time. It is not given the file
//! as a whole. It would hold 376 bytes a point, where 64 are needed, and as much for empty tracks
//! and links, so that a file of 20 MB could take a gigabyte; it bounds neither nesting nor lengths;
//! and it refuses files that people have, for an element of GPX 1.0 that it does not know, an empty
//! `<time/>` or a blank around a number. So [`read`] walks the file with the XML reader that the
//! crate itself is built on, keeps to what counts, and hands the crate one point after the other.
//! The walk is the only reading of the file, so nothing can hide from its checks.
//!
//! The figures, and where they are not those of Python's gpxpy, with which the tests compare them:
//!
//! - Distance: the sum of the great-circle legs within segments, in two dimensions, on a sphere of
//!   the earth's mean radius. gpxpy takes the radius at the equator, which makes 0.11 % more.
//! - Gain and loss: the raw sums of the differences of elevation within segments, both positive.
//!   Points without elevation are passed over. gpxpy smooths over three points first, which makes
//!   less.
//! - Start, end and duration: the earliest and the latest time in all segments, breaks included.
//!   gpxpy's bounds are the first and the last time, its duration the sum over the segments.
//! - Average speed: distance by duration. Maximum: the fastest leg between neighbours that both
//!   have a time, the later point with the later time. gpxpy leaves out the fastest legs, and those
//!   of unusual length.
//! - A `<speed>` that the device recorded, of the point or in its extensions, stands at the point
//!   and goes into no figure: only GPX 1.0 says what it means. Negative is "unknown" and left out,
//!   as are elevations that are no number.
//! - Routes count only where no track has a point. gpxpy has no figures of routes in a file's.
//! - Waypoints are checked like all points, and count for nothing.

use entity::Millis;
use gpx::errors::GpxError;
use xml::attribute::OwnedAttribute;
use xml::common::Position;
use xml::escape::{escape_str_attribute, escape_str_pcdata};
use xml::reader::{EventReader, ParserConfig2, XmlEvent};

use crate::config::limits;
use crate::kinds::{FIRST_TIME, Invalid, LAST_TIME};

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpx {
    pub summary: Summary,
    /// In the file's order, without empty ones. Tracks, or routes where there are no tracks.
    pub segments: Vec<Segment>,
}

/// What a file says, summed up. None where it has no times or no elevations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// In metres.
    pub distance: f64,
    /// In seconds.
    pub duration: Option<f64>,
    /// In metres per second, like `max_speed`.
    pub average_speed: Option<f64>,
    pub max_speed: Option<f64>,
    /// In metres, like all elevations.
    pub elevation_gain: Option<f64>,
    pub elevation_loss: Option<f64>,
    pub min_elevation: Option<f64>,
    pub max_elevation: Option<f64>,
    pub points: i64,
    pub start: Option<Millis>,
    pub end: Option<Millis>,
    /// One line of at most 255 characters, like `track_type`: the program or device that wrote it.
    pub creator: Option<String>,
    /// What the first track that says so is: "running", say.
    pub track_type: Option<String>,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub segment_type: SegmentType,
    pub points: Vec<Point>,
    /// In metres.
    pub distance: f64,
    /// In metres per second, like `max_speed`.
    pub average_speed: Option<f64>,
    pub max_speed: Option<f64>,
    pub start: Option<Millis>,
    pub end: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentType {
    Track,
    Route,
}

impl SegmentType {
    pub fn name(self) -> &'static str {
        match self {
            SegmentType::Track => "track",
            SegmentType::Route => "route",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// In degrees, −90 to 90.
    pub latitude: f64,
    /// In degrees, −180 to 180.
    pub longitude: f64,
    /// In metres.
    pub altitude: Option<f64>,
    /// As recorded, in metres per second; see the module.
    pub speed: Option<f64>,
    pub time: Option<Millis>,
}

/// Reads a file. What is wrong with it is said in one sentence.
pub fn read(bytes: &[u8]) -> Result<Gpx, Invalid> {
    if bytes.len() > limits::GPX_BYTES {
        let most = limits::GPX_BYTES / (1024 * 1024);
        return fail(format!("The file is larger than {most} MiB."));
    }
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    if text.is_empty() {
        return fail("The file is empty.");
    }
    // UTF-16 and UTF-32 are full of zero bytes, and no other text has any.
    if bytes.contains(&0) {
        return fail("This is no GPX file, or it is not written in UTF-8.");
    }
    if text[0] != b'<' {
        return fail("This is no GPX file: it does not begin with an XML element.");
    }
    let Walk { mut segments, creator, track_type, .. } = Walk::new(bytes).run()?;
    if segments.iter().any(|segment| segment.segment_type == SegmentType::Track) {
        segments.retain(|segment| segment.segment_type == SegmentType::Track);
    }
    Ok(Gpx { summary: Summary { creator, track_type, ..summary(&segments) }, segments })
}

fn fail<T>(sentence: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(sentence.into()))
}

// ---- from the file to points

/// The deepest nesting: GPX needs 5, and extensions a few more.
const DEPTH: usize = 64;
/// Bytes of an attribute; lists of schema locations take a few thousand.
const ATTRIBUTE_BYTES: usize = 64 * 1024;
/// Bytes of a text or comment: people paste whole pages into descriptions.
const TEXT_BYTES: usize = 1024 * 1024;
/// Bytes of an element's or attribute's name.
const NAME_BYTES: usize = 1024;
const ATTRIBUTES: usize = 64;
/// Namespaces in force, counted again at each element, where the XML reader copies them. Ordinary
/// files of GPX_BYTES need 4 million; this many take seconds.
const NAMESPACES: usize = 20_000_000;

/// What an open element is to the walk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    Gpx,
    Track,
    Route,
    TrackSegment,
    Point,
    /// The extensions of a point, and all in them but a speed.
    Extensions,
    /// An element whose text counts.
    Leaf(Leaf),
    /// Nothing in it counts.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaf {
    Elevation,
    Time,
    Speed,
    Type,
}

/// What an element is, by its local name and where it stands. `own` says that it is of the same
/// namespace as the one that it stands in. Elements in places where none of their kind may be are
/// an error: passing over them would lose points.
fn element(parent: Option<Element>, name: &str, own: bool) -> Option<Element> {
    use Element::*;
    let Some(parent) = parent else { return (name == "gpx").then_some(Gpx) };
    Some(match (parent, name) {
        (Gpx, "trk") => Track,
        (Gpx, "rte") => Route,
        (Track, "trkseg") => TrackSegment,
        (TrackSegment, "trkpt") | (Route, "rtept") | (Gpx, "wpt") => Point,
        (Other | Leaf(_), _) => Other,
        (Extensions, "speed") => Leaf(self::Leaf::Speed),
        (Extensions, _) | (Point, "extensions") => Extensions,
        (_, "trk" | "rte" | "trkseg" | "trkpt" | "rtept" | "wpt") => return None,
        (Point, "ele") if own => Leaf(self::Leaf::Elevation),
        (Point, "time") if own => Leaf(self::Leaf::Time),
        (Point, "speed") if own => Leaf(self::Leaf::Speed),
        (Track | Route, "type") if own => Leaf(self::Leaf::Type),
        _ => Other,
    })
}

/// Goes through a file from its beginning to its end.
struct Walk<'a> {
    reader: EventReader<&'a [u8]>,
    /// The open elements, each with its namespace.
    open: Vec<(Element, Option<String>)>,
    namespaces: usize,
    /// The text of the open leaf.
    text: String,
    draft: Draft,
    /// The points of the open track segment or route.
    points: Vec<Point>,
    /// How many more there may be.
    points_left: usize,
    segments: Vec<Segment>,
    creator: Option<String>,
    track_type: Option<String>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Walk<'a> {
        let config = ParserConfig2::new()
            .cdata_to_characters(true)
            .allow_multiple_root_elements(false)
            // Nothing is ever expanded but `&amp;` and its like.
            .max_entity_expansion_depth(0)
            .max_entity_expansion_length(0)
            .max_name_length(NAME_BYTES)
            .max_attributes(ATTRIBUTES)
            .max_attribute_length(ATTRIBUTE_BYTES)
            .max_data_length(TEXT_BYTES)
            // Read as ISO-8859-1; `declared` says which are let through.
            .ignore_invalid_encoding_declarations(true);
        Walk {
            reader: EventReader::new_with_config(bytes, config),
            open: Vec::new(),
            namespaces: 0,
            text: String::new(),
            draft: Draft::default(),
            points: Vec::new(),
            points_left: limits::GPX_POINTS,
            segments: Vec::new(),
            creator: None,
            track_type: None,
        }
    }

    fn run(mut self) -> Result<Walk<'a>, Invalid> {
        loop {
            let event = self.reader.next();
            // The reader knows of it as soon as it begins, and lets no other come later.
            if self.reader.doctype().is_some() {
                return fail(
                    "The file has a DOCTYPE; GPX files need none, and none is accepted here.",
                );
            }
            match event {
                Ok(XmlEvent::StartDocument { encoding, .. }) => check_encoding(&encoding)?,
                Ok(XmlEvent::StartElement { name, attributes, namespace }) => {
                    if self.open.len() == DEPTH {
                        return fail(format!("The file is nested deeper than {DEPTH} elements."));
                    }
                    self.namespaces += namespace.0.len();
                    if self.namespaces > NAMESPACES {
                        return fail("The file has too many elements with too many namespaces.");
                    }
                    self.start(&name.local_name, name.namespace, attributes)?;
                }
                Ok(XmlEvent::Characters(text)) => {
                    if let Some((Element::Leaf(_), _)) = self.open.last() {
                        self.text.push_str(&text);
                    }
                }
                Ok(XmlEvent::EndElement { .. }) => self.end()?,
                Ok(XmlEvent::EndDocument) => return Ok(self),
                Ok(_) => {}
                Err(_) => return fail(self.malformed()),
            }
        }
    }

    /// Why the reader stopped. Its own words are for programmers.
    fn malformed(&self) -> String {
        let line = self.line();
        if self.reader.source().is_empty() {
            return format!("The file is not complete: it ends in the middle, in line {line}.");
        }
        format!("The file is not well-formed XML, or a text in it is too long, near line {line}.")
    }

    fn line(&self) -> u64 {
        self.reader.position().row + 1
    }

    fn start(
        &mut self,
        name: &str,
        namespace: Option<String>,
        attributes: Vec<OwnedAttribute>,
    ) -> Result<(), Invalid> {
        let parent = self.open.last();
        let own = parent.is_none_or(|(_, of_parent)| *of_parent == namespace);
        let Some(element) = element(parent.map(|(element, _)| *element), name, own) else {
            let name: String = name.chars().take(32).collect();
            return fail(if self.open.is_empty() {
                format!("This is no GPX file: its root element is <{name}>.")
            } else {
                format!("There is a <{name}> where none belongs, in line {}.", self.line())
            });
        };
        let line = self.line();
        match element {
            Element::Gpx => self.creator = attribute(&attributes, "creator").and_then(one_line),
            Element::Point => {
                self.draft = Draft {
                    line,
                    latitude: attribute(&attributes, "lat"),
                    longitude: attribute(&attributes, "lon"),
                    ..Draft::default()
                };
            }
            Element::Leaf(_) => self.text.clear(),
            _ => {}
        }
        self.open.push((element, namespace));
        Ok(())
    }

    fn end(&mut self) -> Result<(), Invalid> {
        let Some((element, _)) = self.open.pop() else { return Ok(()) };
        match element {
            Element::Leaf(leaf) => self.leaf(leaf),
            Element::Point => {
                let point = self.draft.read()?;
                // In the root element it is a waypoint.
                if self.open.len() > 1 {
                    let Some(left) = self.points_left.checked_sub(1) else {
                        let most = limits::GPX_POINTS;
                        return fail(format!("The file has more than {most} points."));
                    };
                    self.points_left = left;
                    self.points.push(point);
                }
            }
            Element::TrackSegment => self.close(SegmentType::Track),
            Element::Route => self.close(SegmentType::Route),
            _ => {}
        }
        Ok(())
    }

    fn leaf(&mut self, leaf: Leaf) {
        let text = self.text.trim();
        if text.is_empty() {
            return;
        }
        match leaf {
            Leaf::Elevation => self.draft.elevation = Some(text.into()),
            Leaf::Time => self.draft.time = Some(text.into()),
            Leaf::Speed => {
                let speed = text.parse().ok().filter(|speed| (0.0..=HIGHEST).contains(speed));
                self.draft.speed = self.draft.speed.or(speed);
            }
            Leaf::Type if self.track_type.is_none() => self.track_type = one_line(text),
            Leaf::Type => {}
        }
    }

    fn close(&mut self, segment_type: SegmentType) {
        if !self.points.is_empty() {
            let mut points = std::mem::take(&mut self.points);
            points.shrink_to_fit();
            self.segments.push(segment(segment_type, points));
        }
    }
}

fn attribute(attributes: &[OwnedAttribute], name: &str) -> Option<String> {
    let is_it = |attribute: &&OwnedAttribute| {
        attribute.name.local_name == name && attribute.name.prefix.is_none()
    };
    attributes.iter().find(is_it).map(|attribute| attribute.value.clone())
}

/// Those of one byte are read as ISO-8859-1: what counts is ASCII in all of them, and in
/// Windows-1252 only some signs of a creator's name come out wrong.
fn check_encoding(name: &str) -> Result<(), Invalid> {
    let known = ["UTF-8", "US-ASCII", "ASCII", "ISO-8859-1", "ISO-8859-15", "Windows-1252"];
    if known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    fail("The file is in an encoding that is not read here: save it as UTF-8.")
}

/// A text as a row's field can hold it.
fn one_line(text: impl AsRef<str>) -> Option<String> {
    let words: Vec<_> =
        text.as_ref().split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let line: String = words.join(" ").chars().take(255).collect();
    Some(line.trim_end().to_owned()).filter(|line| !line.is_empty())
}

/// No elevation or speed is beyond; it keeps every sum finite.
const HIGHEST: f64 = 1e6;

/// A point's texts, before they are read.
#[derive(Default)]
struct Draft {
    line: u64,
    latitude: Option<String>,
    longitude: Option<String>,
    elevation: Option<String>,
    speed: Option<f64>,
    time: Option<String>,
}

impl Draft {
    fn read(&self) -> Result<Point, Invalid> {
        let Draft { line, latitude, longitude, elevation, speed, time } = self;
        let fail = |what: &str| fail(format!("The point in line {line} {what}."));
        let (Some(latitude), Some(longitude)) = (latitude, longitude) else {
            return fail("has no latitude or no longitude");
        };
        // The crate turns every time to UTC, and panics where that goes beyond the year 9999. A
        // sign would lead to years of more digits.
        if time
            .as_ref()
            .is_some_and(|time| time.starts_with(['+', '-']) || time.starts_with("9999"))
        {
            return fail("has a time that is too early or too late");
        }
        let (latitude, longitude) = (latitude.trim(), longitude.trim());
        // GPX counts longitudes from −180 to just below 180, people and rows up to 180.
        let east = longitude.parse() == Ok(180.0);
        let longitude = if east { "-180" } else { longitude };

        let mut piece = String::with_capacity(192);
        piece.push_str("<gpx version=\"1.1\"><wpt lat=\"");
        piece.push_str(&escape_str_attribute(latitude));
        piece.push_str("\" lon=\"");
        piece.push_str(&escape_str_attribute(longitude));
        piece.push_str("\">");
        for (name, text) in [("ele", elevation), ("time", time)] {
            if let Some(text) = text {
                let text = escape_str_pcdata(text);
                piece.extend(["<", name, ">", &text, "</", name, ">"]);
            }
        }
        piece.push_str("</wpt></gpx>");

        let waypoint = match gpx::read(piece.as_bytes()).map(|gpx| gpx.waypoints) {
            Ok(mut waypoints) if waypoints.len() == 1 => waypoints.remove(0),
            Err(GpxError::LonLatOutOfBoundsError(..)) => {
                return fail("has a latitude beyond ±90° or a longitude beyond ±180°");
            }
            Err(GpxError::Iso8601Error(_)) => return fail("has a time that cannot be read"),
            _ => return fail("has a coordinate or an elevation that is no number"),
        };
        let altitude = waypoint.elevation.filter(|elevation| elevation.is_finite());
        if altitude.is_some_and(|altitude| altitude.abs() > HIGHEST) {
            return fail("has an elevation that cannot be");
        }
        let time = waypoint.time.map(|time| {
            let nanos = time::OffsetDateTime::from(time).unix_timestamp_nanos();
            nanos.div_euclid(1_000_000) as Millis
        });
        if time.is_some_and(|time| !(FIRST_TIME..=LAST_TIME).contains(&time)) {
            return fail("has a time that is too early or too late");
        }
        Ok(Point {
            latitude: waypoint.point().y(),
            longitude: if east { 180.0 } else { waypoint.point().x() },
            altitude,
            speed: *speed,
            time,
        })
    }
}

// ---- figures

/// The mean radius of the earth, in metres (IUGG).
const EARTH_RADIUS: f64 = 6_371_008.8;

/// The great-circle distance by the haversine formula, in metres.
fn leg(from: &Point, to: &Point) -> f64 {
    let (from_lat, to_lat) = (from.latitude.to_radians(), to.latitude.to_radians());
    let lat = ((to_lat - from_lat) / 2.0).sin();
    let lon = ((to.longitude - from.longitude).to_radians() / 2.0).sin();
    let a = lat * lat + from_lat.cos() * to_lat.cos() * lon * lon;
    2.0 * EARTH_RADIUS * a.min(1.0).sqrt().asin()
}

fn segment(segment_type: SegmentType, points: Vec<Point>) -> Segment {
    let (mut distance, mut max_speed) = (0.0, None);
    for pair in points.windows(2) {
        let metres = leg(&pair[0], &pair[1]);
        distance += metres;
        if let (Some(from), Some(to)) = (pair[0].time, pair[1].time)
            && let Some(speed) = speed(metres, seconds(from, to))
        {
            max_speed = Some(speed.max(max_speed.unwrap_or(0.0)));
        }
    }
    let (start, end) = bounds(points.iter().filter_map(|point| point.time));
    let average_speed =
        start.zip(end).and_then(|(start, end)| speed(distance, seconds(start, end)));
    Segment { segment_type, points, distance, average_speed, max_speed, start, end }
}

/// The file's figures; creator and type are not here.
fn summary(segments: &[Segment]) -> Summary {
    // Not `sum()`: of nothing it is −0.
    let distance = segments.iter().fold(0.0, |metres, segment| metres + segment.distance);
    let ends = segments.iter().flat_map(|segment| [segment.start, segment.end]).flatten();
    let (start, end) = bounds(ends);
    let duration = start.zip(end).map(|(start, end)| seconds(start, end));

    let mut climbed: Option<(f64, f64)> = None;
    let (mut min_elevation, mut max_elevation) = (None::<f64>, None::<f64>);
    for segment in segments {
        let mut before = None;
        for altitude in segment.points.iter().filter_map(|point| point.altitude) {
            let (gain, loss) = climbed.get_or_insert_default();
            let difference = altitude - before.unwrap_or(altitude);
            *gain += difference.max(0.0);
            *loss += (-difference).max(0.0);
            before = Some(altitude);
            min_elevation = Some(altitude.min(min_elevation.unwrap_or(altitude)));
            max_elevation = Some(altitude.max(max_elevation.unwrap_or(altitude)));
        }
    }
    Summary {
        distance,
        duration,
        average_speed: duration.and_then(|duration| speed(distance, duration)),
        max_speed: segments.iter().filter_map(|segment| segment.max_speed).reduce(f64::max),
        elevation_gain: climbed.map(|(gain, _)| gain),
        elevation_loss: climbed.map(|(_, loss)| loss),
        min_elevation,
        max_elevation,
        points: segments.iter().map(|segment| segment.points.len() as i64).sum(),
        start,
        end,
        creator: None,
        track_type: None,
    }
}

fn seconds(from: Millis, to: Millis) -> f64 {
    (to - from) as f64 / 1000.0
}

/// None where no time passed, or it ran backwards.
fn speed(metres: f64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| metres / seconds)
}

fn bounds(times: impl Iterator<Item = Millis>) -> (Option<Millis>, Option<Millis>) {
    times.fold((None, None), |(start, end), time| {
        (Some(start.map_or(time, |start: Millis| start.min(time))), end.max(Some(time)))
    })
}

// ---- points in the database

/// The first byte of every blob. Another form gets another number, and this one stays readable.
const POINTS_FORM: u8 = 1;

/// A point as it is stored: its time as the distance from the point before.
type Stored = (f64, f64, Option<f64>, Option<f64>, Option<i64>);

/// A segment as the database keeps it: its points take half the memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    pub segment_type: SegmentType,
    pub point_count: usize,
    /// What [`decode_points`] reads.
    pub points: Vec<u8>,
    pub distance: f64,
    pub average_speed: Option<f64>,
    pub max_speed: Option<f64>,
    pub start: Option<Millis>,
    pub end: Option<Millis>,
}

impl From<Segment> for Packed {
    fn from(segment: Segment) -> Packed {
        let Segment { segment_type, points, distance, average_speed, max_speed, start, end } =
            segment;
        Packed {
            segment_type,
            point_count: points.len(),
            points: encode_points(&points),
            distance,
            average_speed,
            max_speed,
            start,
            end,
        }
    }
}

/// Points as bytes for the database: at most 39 a point, 29 where a device recorded elevation and
/// time. What [`decode_points`] reads is exactly what was given.
pub fn encode_points(points: &[Point]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + points.len() * 30);
    bytes.push(POINTS_FORM);
    let mut before: Millis = 0;
    for Point { latitude, longitude, altitude, speed, time } in points {
        let passed = time.map(|time| time.wrapping_sub(before));
        before = time.unwrap_or(before);
        let stored: Stored = (*latitude, *longitude, *altitude, *speed, passed);
        bytes = postcard::to_extend(&stored, bytes).expect("numbers can be written to memory");
    }
    bytes.shrink_to_fit();
    bytes
}

/// The points that [`encode_points`] wrote, one after the other: all of them would take twice the
/// memory. Ends where the bytes are not such.
pub fn decode_points(bytes: &[u8]) -> impl Iterator<Item = Point> {
    let mut rest = match bytes.split_first() {
        Some((&POINTS_FORM, rest)) => rest,
        _ => &[],
    };
    let mut before: Millis = 0;
    std::iter::from_fn(move || {
        let (stored, after) = postcard::take_from_bytes::<Stored>(rest).ok()?;
        let (latitude, longitude, altitude, speed, passed) = stored;
        let time = passed.map(|passed| before.wrapping_add(passed));
        before = time.unwrap_or(before);
        rest = after;
        Some(Point { latitude, longitude, altitude, speed, time })
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn data(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/gpx").join(name)
    }

    /// The files that others published, by name.
    fn files() -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(data(""))
            .expect("the files are there")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "gpx"))
            .map(|path| {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                (name, std::fs::read(path).expect("a file"))
            })
            .collect();
        files.sort();
        assert_eq!(files.len(), 20);
        files
    }

    fn gpx(inside: &str) -> Result<Gpx, Invalid> {
        read(format!("<gpx version=\"1.1\" creator=\"test\">{inside}</gpx>").as_bytes())
    }

    /// A track of one segment.
    fn track(points: &str) -> Result<Gpx, Invalid> {
        gpx(&format!("<trk><trkseg>{points}</trkseg></trk>"))
    }

    fn summary_of(inside: &str) -> Summary {
        gpx(inside).expect("a valid file").summary
    }

    fn close(ours: f64, theirs: f64) -> bool {
        (ours - theirs).abs() <= 0.01 * theirs.abs()
    }

    #[test]
    fn the_figures_of_every_file_are_gpxpys_within_a_percent() {
        let expected = std::fs::read(data("expected.json")).expect("written by expected.py");
        let expected: Json = serde_json::from_slice(&expected).expect("JSON");
        for (name, bytes) in files() {
            let Gpx { summary, segments } =
                read(&bytes).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            let theirs = &expected[&name];
            let Summary {
                distance,
                duration,
                average_speed,
                max_speed,
                elevation_gain,
                elevation_loss,
                min_elevation,
                max_elevation,
                points,
                start,
                end,
                creator,
                track_type: _,
            } = summary;
            for (figure, ours) in [
                ("distance", Some(distance)),
                ("duration", duration),
                ("average_speed", average_speed),
                ("max_speed", max_speed),
                ("elevation_gain", elevation_gain),
                ("elevation_loss", elevation_loss),
                ("min_elevation", min_elevation),
                ("max_elevation", max_elevation),
            ] {
                match (ours, theirs[figure].as_f64()) {
                    (None, None) => {}
                    (Some(ours), Some(theirs)) if close(ours, theirs) => {}
                    (ours, theirs) => panic!("{name}: {figure} is {ours:?}, not {theirs:?}"),
                }
            }
            assert_eq!(theirs["points"], points, "{name}");
            assert_eq!(theirs["segments"], segments.len(), "{name}");
            assert_eq!(theirs["start"].as_i64(), start, "{name}");
            assert_eq!(theirs["end"].as_i64(), end, "{name}");
            assert_eq!(theirs["creator"].as_str(), creator.as_deref(), "{name}");
            for segment in segments {
                assert_eq!(theirs["type"], segment.segment_type.name(), "{name}");
            }
        }
    }

    #[test]
    fn the_points_of_every_file_are_those_that_the_crate_reads_in_one_go() {
        let mut refused = vec![];
        for (name, bytes) in files() {
            let Ok(whole) = ::gpx::read(bytes.as_slice()) else {
                refused.push(name);
                continue;
            };
            let tracks = whole.tracks.iter().flat_map(|track| &track.segments);
            let mut all: Vec<_> = tracks.map(|segment| &segment.points).collect();
            if all.iter().all(|points| points.is_empty()) {
                all = whole.routes.iter().map(|route| &route.points).collect();
            }
            all.retain(|points| !points.is_empty());
            let segments = read(&bytes).expect("a valid file").segments;
            assert_eq!(segments.len(), all.len(), "{name}");
            for (segment, points) in segments.iter().zip(all) {
                assert_eq!(segment.points.len(), points.len(), "{name}");
                for (ours, theirs) in segment.points.iter().zip(points) {
                    let place = (theirs.point().y(), theirs.point().x());
                    assert_eq!((ours.latitude, ours.longitude), place, "{name}");
                    assert_eq!(ours.altitude, theirs.elevation, "{name}");
                    let time = theirs.time.map(time::OffsetDateTime::from);
                    let seconds = time.map(|time| time.unix_timestamp());
                    assert_eq!(ours.time.map(|time| time.div_euclid(1000)), seconds, "{name}");
                }
            }
        }
        // For what stands beside the points: a <name> in the root element, say.
        assert_eq!(refused, ["ashland.gpx", "fells_loop.gpx"]);
    }

    #[test]
    fn all_tracks_and_segments_count_and_nothing_between_them() {
        let summary = summary_of(
            r#"<trk><type>running</type>
                <trkseg>
                  <trkpt lat="0" lon="0"><ele>10</ele><time>2026-01-01T10:00:00Z</time></trkpt>
                  <trkpt lat="0" lon="1"/>
                  <trkpt lat="0" lon="2"><ele>30</ele><time>2026-01-01T12:00:00Z</time></trkpt>
                </trkseg>
                <trkseg/>
                <trkseg>
                  <trkpt lat="60" lon="0"><ele>100</ele><time>2026-01-01T09:00:00.5Z</time></trkpt>
                  <trkpt lat="60" lon="1"><ele>95</ele><time>2026-01-01T09:00:10.5Z</time></trkpt>
                </trkseg>
              </trk>
              <trk><type>cycling</type><trkseg><trkpt lat="-5" lon="-5"/></trkseg></trk>"#,
        );
        // A degree of a great circle, and one at 60° north, a little less than half of it.
        let degree = 111_195.08;
        assert!((summary.distance - 2.0 * degree - 55_595.4).abs() < 5.0, "{summary:?}");
        assert_eq!((summary.elevation_gain, summary.elevation_loss), (Some(20.0), Some(5.0)));
        assert_eq!((summary.min_elevation, summary.max_elevation), (Some(10.0), Some(100.0)));
        assert_eq!((summary.points, summary.duration), (6, Some(10_799.5)));
        assert_eq!(summary.start, crate::kinds::parse_time("2026-01-01T09:00:00.500Z"));
        assert_eq!(summary.end, crate::kinds::parse_time("2026-01-01T12:00:00Z"));
        assert_eq!(summary.average_speed, Some(summary.distance / 10_799.5));
        // Only one leg has times at both ends.
        assert!(summary.max_speed.is_some_and(|speed| (speed - 5_559.5).abs() < 1.0));
        assert_eq!(summary.track_type.as_deref(), Some("running"));
        assert_eq!(summary.creator.as_deref(), Some("test"));
    }

    #[test]
    fn what_is_not_in_the_file_is_none() {
        let summary = summary_of(
            r#"<trk><trkseg><trkpt lat="1" lon="1"/><trkpt lat="1" lon="2"/></trkseg></trk>"#,
        );
        let Summary { distance, points, creator, .. } = summary.clone();
        assert!(distance > 100_000.0);
        assert_eq!(summary, Summary { distance, points, creator, ..Summary::default() });
        assert_eq!(points, 2);

        let once =
            r#"<trkpt lat="1" lon="1"><ele>5</ele><time>2026-01-01T10:00:00Z</time></trkpt>"#;
        let summary = track(&once.repeat(2)).expect("a valid file").summary;
        assert_eq!((summary.duration, summary.average_speed), (Some(0.0), None));
        assert_eq!((summary.max_speed, summary.elevation_gain), (None, Some(0.0)));
    }

    #[test]
    fn time_that_runs_backwards_makes_no_speed() {
        let summary = summary_of(
            r#"<trk><trkseg>
                 <trkpt lat="0" lon="0"><time>2026-01-01T10:00:00Z</time></trkpt>
                 <trkpt lat="0" lon="0.001"><time>2026-01-01T10:00:10Z</time></trkpt>
                 <trkpt lat="0" lon="1"><time>2026-01-01T09:59:50Z</time></trkpt>
               </trkseg></trk>"#,
        );
        assert_eq!(summary.duration, Some(20.0));
        assert!(summary.max_speed.is_some_and(|speed| (speed - 11.12).abs() < 0.01), "{summary:?}");
    }

    #[test]
    fn routes_count_where_no_track_has_a_point() {
        let route =
            r#"<rte><type>hiking</type><rtept lat="0" lon="0"/><rtept lat="0" lon="1"/></rte>"#;
        let only = gpx(&format!("{route}<trk><trkseg/></trk>")).expect("a valid file");
        assert_eq!((only.summary.points, only.segments.len()), (2, 1));
        assert_eq!(only.segments[0].segment_type, SegmentType::Route);
        assert_eq!(only.segments[0].distance, only.summary.distance);
        assert!((only.summary.distance - 111_195.08).abs() < 1.0);

        let point = r#"<trk><trkseg><trkpt lat="5" lon="5"/></trkseg></trk>"#;
        let both = gpx(&format!("{route}{point}")).expect("a valid file");
        assert_eq!((both.summary.points, both.summary.distance), (1, 0.0));
        assert_eq!(both.segments[0].segment_type.name(), "track");
    }

    #[test]
    fn a_file_may_have_nothing_to_count() {
        for inside in ["", "<wpt lat=\"1\" lon=\"2\"><name>Hut</name></wpt>", "<trk/>", "<rte/>"] {
            let Gpx { summary, segments } = gpx(inside).expect("a valid file");
            let creator = Some("test".into());
            assert_eq!(summary, Summary { creator, ..Summary::default() });
            assert!(summary.distance.is_sign_positive() && segments.is_empty());
        }
    }

    #[test]
    fn files_of_any_program_are_read() {
        // GPX 1.0, with what the crate refuses, and a foreign namespace in the midst of a point.
        let file = r#"<?xml version='1.0' standalone='no'?><!-- made by hand --><?style none?>
            <g:gpx xmlns:g="http://www.topografix.com/GPX/1/0" xmlns:x="urn:x" version="1.0">
              <g:time/><g:bounds/><x:y/>
              <g:trk><g:url>u</g:url><g:name/><g:type><![CDATA[ a &  b ]]></g:type><g:trkseg>
                <g:trkpt lat=" 1.5" lon="180.0">
                  <g:ele> 7.25
                  </g:ele><g:time> 2026-01-01T12:00:00.1239+02:00 </g:time>
                  <g:course>12</g:course><g:speed>2.5</g:speed><g:magvar>1</g:magvar>
                  <x:ele>99</x:ele><x:time>never</x:time><x:speed>9</x:speed>
                </g:trkpt>
                <g:trkpt lat="1.5" lon="-180"><g:ele>NaN</g:ele><g:time/><g:speed>-1</g:speed>
                  <g:extensions><x:a><x:speed>3</x:speed><x:trkpt>not this</x:trkpt></x:a>
                  </g:extensions></g:trkpt>
              </g:trkseg></g:trk>
            </g:gpx>"#;
        let Gpx { summary, segments } = read(file.as_bytes()).expect("a valid file");
        assert_eq!((summary.creator, summary.track_type), (None, Some("a & b".into())));
        let time = crate::kinds::parse_time("2026-01-01T10:00:00.123Z");
        assert_eq!(
            segments[0].points,
            [
                Point {
                    latitude: 1.5,
                    longitude: 180.0,
                    altitude: Some(7.25),
                    speed: Some(2.5),
                    time,
                },
                Point {
                    latitude: 1.5,
                    longitude: -180.0,
                    altitude: None,
                    speed: Some(3.0),
                    time: None,
                },
            ]
        );
        assert!(summary.distance < 0.001, "the same place");
    }

    #[test]
    fn times_without_offset_are_utc_and_those_before_1970_are_cut_downwards() {
        let one = |time: &str| {
            track(&format!("<trkpt lat=\"0\" lon=\"0\"><time>{time}</time></trkpt>"))
                .map(|gpx| gpx.summary.start)
        };
        assert_eq!(one("1970-01-01T00:00:01"), Ok(Some(1000)));
        assert_eq!(one("1969-12-31T23:59:59.9995Z"), Ok(Some(-1)));
        assert_eq!(one("0001-01-01T00:00:00Z"), Ok(Some(FIRST_TIME)));
        for bad in ["0000-12-31T23:00:00Z", "9999-12-31T23:59:59-01:00", "+009999-12-31T23:59-01"] {
            assert!(one(bad).is_err_and(|e| e.0.contains("too early or too late")), "{bad}");
        }
        for bad in ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "12", "2026-01-01T25:00:00Z"]
        {
            assert!(one(bad).is_err_and(|e| e.0.contains("time that cannot be read")), "{bad}");
        }
    }

    #[test]
    fn text_is_utf8_or_of_one_byte() {
        let with = |encoding: &str, creator: &[u8]| {
            let head = format!("<?xml version=\"1.0\" encoding=\"{encoding}\"?><gpx creator=\"");
            read(&[head.as_bytes(), creator, b"\"/>"].concat()).map(|gpx| gpx.summary.creator)
        };
        let zoe = Ok(Some("Zo\u{eb}".to_owned()));
        assert_eq!(with("UTF-8", "Zo\u{eb}".as_bytes()), zoe);
        assert_eq!(with("iso-8859-1", b"Zo\xEB"), zoe);
        assert_eq!(with("windows-1252", b"Zo\xEB"), zoe);
        assert!(with("utf-8", b"Zo\xEB").is_err());
        for unknown in ["UTF-7", "UTF-16", "cp037", "Shift_JIS", "", "x"] {
            assert!(with(unknown, b"").is_err(), "{unknown}");
        }
        assert_eq!(
            read("\u{feff}<gpx creator=' a\tb\n'/>".as_bytes()).unwrap().summary.creator,
            Some("a b".into())
        );
        let long = format!("<gpx creator=\"{}\"/>", "\u{e9}".repeat(300));
        let creator = read(long.as_bytes()).expect("a valid file").summary.creator;
        assert_eq!(creator.map(|creator| creator.chars().count()), Some(255));
    }

    /// Also in the encodings that could hide them from a look at the bytes.
    #[test]
    fn declarations_are_refused_however_they_are_written() {
        let rest = "<gpx version='1.1'/>";
        let mut bomb = String::from("<!DOCTYPE gpx [<!ENTITY a \"aaaaaaaaaa\">");
        for (this, next) in ('a'..'i').zip('b'..) {
            bomb += &format!("<!ENTITY {next} \"{}\">", format!("&{this};").repeat(10));
        }
        bomb += "]><gpx creator='&i;'/>";
        for file in [
            format!("<!DOCTYPE gpx>{rest}"),
            format!(
                "<?xml version='1.0'?>\n<!-- x -->\n<!DOCTYPE gpx SYSTEM 'file:///etc/passwd'>{rest}"
            ),
            format!("<!DOCTYPE gpx [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>{rest}"),
            format!("<!DOCTYPE gpx [<!ENTITY % x 'y'> %x; %x;]>{rest}"),
            format!("\u{feff}<!DOCTYPE gpx [{rest}"),
            bomb,
        ] {
            let refused = read(file.as_bytes()).expect_err("a DOCTYPE");
            assert!(refused.0.contains("DOCTYPE"), "{refused:?}: {file}");
            for utf16 in [u16::to_le_bytes, u16::to_be_bytes] {
                let bytes: Vec<u8> = file.encode_utf16().flat_map(utf16).collect();
                assert!(read(&bytes).is_err());
                let mark = utf16(0xFEFF);
                assert!(read(&[&mark[..], &bytes].concat()).is_err());
            }
        }
        assert!(gpx("<!DOCTYPE gpx>").is_err());
        assert!(gpx("<!ENTITY a 'b'>").is_err());
        assert!(gpx("<trk><type>&a;</type></trk>").is_err());
        // Text is only text.
        assert!(gpx("<!-- <!DOCTYPE gpx> --><desc><![CDATA[<!DOCTYPE html>]]></desc>").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_in_a_sentence() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "is empty"),
            (b" \n\t ", "is empty"),
            (b"\xEF\xBB\xBF", "is empty"),
            (b"PK\x03\x04 and more", "no GPX file"),
            (b"PK\x00\x04", "UTF-8"),
            (b"{\"type\": \"FeatureCollection\"}", "no GPX file"),
            (b"<", "ends in the middle"),
            (b"<gpx>", "ends in the middle"),
            (b"<gpx><trk><trkseg><trkpt lat=\"1\" lon=", "ends in the middle, in line 1"),
            (b"<gpx>\n<trk></gpx>\n", "not well-formed XML"),
            (b"<gpx></gpx><gpx></gpx> ", "not well-formed XML"),
            (b"<gpx></gpx>rest ", "not well-formed XML"),
            (b"<gpx><a b='1' b='2'/></gpx>", "not well-formed XML"),
            (b"<x:gpx/> ", "not well-formed XML"),
            (b"<gpx>\xFF\xFF\xFF\xFF</gpx>", "not well-formed XML"),
            (b"<html><body/></html>", "its root element is <html>"),
            (b"<gpx><trk><trkpt lat='1' lon='1'/></trk></gpx>", "<trkpt> where none belongs"),
            (b"<gpx><trk>\n<trk/></trk></gpx>", "<trk> where none belongs, in line 2"),
        ];
        for (bytes, expected) in cases {
            let Invalid(sentence) = read(bytes).expect_err("an invalid file");
            assert!(sentence.contains(expected), "{sentence:?}, not {expected:?}");
        }
        let beyond = "has a latitude beyond ±90° or a longitude beyond ±180°";
        let number = "has a coordinate or an elevation that is no number";
        for (point, expected) in [
            ("lat='90.1' lon='1'/>", beyond),
            ("lat='-91' lon='1'/>", beyond),
            ("lat='1' lon='180.01'/>", beyond),
            ("lat='1' lon='-1e3'/>", beyond),
            ("lat='NaN' lon='1'/>", beyond),
            ("lat='1' lon='inf'/>", beyond),
            ("lat='' lon='1'/>", number),
            ("lat='1,5' lon='1'/>", number),
            ("lat='&lt;' lon='&quot;'/>", number),
            ("lat='1' lon='1'><ele>&lt;/ele&gt;</ele></trkpt>", number),
            ("lat='1' lon='1'><ele>1e9</ele></trkpt>", "has an elevation that cannot be"),
            ("lon='1'/>", "has no latitude or no longitude"),
        ] {
            let Invalid(sentence) = track(&format!("\n<trkpt {point}")).expect_err("a bad point");
            assert_eq!(sentence, format!("The point in line 2 {expected}."));
        }
        assert!(gpx("<wpt lat='91' lon='0'/>").is_err());
    }

    #[test]
    fn everything_that_grows_is_bounded() {
        let depth = |depth: usize| gpx(&format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth)));
        assert!(depth(DEPTH - 1).is_ok());
        assert!(depth(DEPTH).is_err_and(|e| e.0.contains("nested deeper")));
        assert!(depth(1_000_000).is_err());
        let long = |bytes: usize| "a".repeat(bytes);
        assert!(gpx(&format!("<a b='{}'/>", long(ATTRIBUTE_BYTES))).is_ok());
        assert!(gpx(&format!("<a b='{}'/>", long(2 * ATTRIBUTE_BYTES))).is_err());
        assert!(gpx(&format!("<desc>{}</desc>", long(TEXT_BYTES))).is_ok());
        assert!(gpx(&format!("<desc>{}</desc>", long(2 * TEXT_BYTES))).is_err());
        assert!(gpx(&format!("<{}/>", long(2 * NAME_BYTES))).is_err());
        let attributes: String = (0..=ATTRIBUTES).map(|n| format!(" a{n}=''")).collect();
        assert!(gpx(&format!("<a{attributes}/>")).is_err());

        let file = b"<gpx><rte><rtept lat='1' lon='1'/><rtept lat='1' lon='1'/></rte></gpx>";
        assert!(Walk { points_left: 2, ..Walk::new(file) }.run().is_ok());
        let refused = Walk { points_left: 1, ..Walk::new(file) }.run().err().expect("too many");
        assert_eq!(refused.0, "The file has more than 600000 points.");
        assert!(Walk { namespaces: NAMESPACES, ..Walk::new(file) }.run().is_err());

        let large = vec![b' '; limits::GPX_BYTES + 1];
        assert_eq!(read(&large), fail("The file is larger than 24 MiB."));
        assert_eq!(read(&large[1..]), fail("The file is empty."));
    }

    /// The server may take 200 MB in all with a file of 20 MB; without one it takes 40.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_of_20_megabytes_takes_little_memory() {
        if let Some(path) = std::env::var_os(FILE) {
            return read_one_file(&path);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("large.gpx");
        // Half is recorded by a watch, half is the most points that usual digits can make.
        let mut file = String::from("<gpx version=\"1.1\"><trk><trkseg>\n");
        for n in 0.. {
            let (lat, lon) = (48.0 + f64::from(n) * 1e-6, 11.0 - f64::from(n) * 1e-6);
            if file.len() < 10_000_000 {
                let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
                file += &format!(
                    "  <trkpt lat=\"{lat:.7}\" lon=\"{lon:.7}\">\n    <ele>{:.1}</ele>\n    \
                     <time>2026-01-01T{hour:02}:{minute:02}:{second:02}Z</time>\n    \
                     <extensions><hr>120</hr><cad>80</cad></extensions>\n  </trkpt>\n",
                    500.0 + f64::from(n % 100),
                );
            } else {
                file += &format!("<trkpt lat=\"{lat:.6}\" lon=\"{lon:.6}\"/>");
            }
            if file.len() >= 20_000_000 {
                break;
            }
        }
        file += "</trkseg></trk></gpx>\n";
        std::fs::write(&path, &file).expect("a file");

        // A fresh process: this one's peak may come from another test.
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "gpx::tests::a_file_of_20_megabytes_takes_little_memory"])
            .arg("--nocapture")
            .env(FILE, &path)
            .output()
            .expect("the child runs");
        let output = String::from_utf8_lossy(&output.stdout);
        let number = |name: &str| -> u64 {
            let after = output.split_once(name).unwrap_or_else(|| panic!("{output}")).1;
            after.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
        };
        assert!(number("points: ") > 250_000, "{output}");
        assert!(number("VmHWM:") < 120_000, "kB at most: {output}");
    }

    /// Names the file that the child reads.
    #[cfg(target_os = "linux")]
    const FILE: &str = "CAIRN_TEST_GPX_FILE";

    /// What the child does: it reads, packs, and says how much memory that took.
    #[cfg(target_os = "linux")]
    fn read_one_file(path: &std::ffi::OsStr) {
        let bytes = std::fs::read(path).expect("a file");
        let Gpx { summary, segments } = read(&bytes).expect("a valid file");
        let blobs: Vec<_> = segments.iter().map(|segment| encode_points(&segment.points)).collect();
        assert!(blobs.iter().map(Vec::len).sum::<usize>() < bytes.len());
        let status = std::fs::read_to_string("/proc/self/status").expect("this process");
        println!("points: {} \n{status}", summary.points);
    }

    #[test]
    fn stored_points_of_every_file_come_back() {
        for (name, bytes) in files() {
            for Segment { points, .. } in read(&bytes).expect("a valid file").segments {
                let blob = encode_points(&points);
                assert!(blob.len() <= 1 + 39 * points.len(), "{name}");
                assert!(decode_points(&blob).eq(points), "{name}");
            }
        }
        assert_eq!(decode_points(&encode_points(&[])).count(), 0);
        // The form is stable: this is what older versions wrote.
        let point = Point {
            latitude: 1.0,
            longitude: -2.0,
            altitude: Some(0.5),
            speed: None,
            time: Some(-1),
        };
        let blob = b"\x01\0\0\0\0\0\0\xF0\x3F\0\0\0\0\0\0\0\xC0\x01\0\0\0\0\0\0\xE0\x3F\0\x01\x01";
        assert_eq!(encode_points(&[point]), blob);
        assert!(decode_points(blob).eq([point]));
        for bad in [&b""[..], b"\x02", b"\0", &blob[..blob.len() - 1], b"\x01\0"] {
            assert_eq!(decode_points(bad).count(), 0);
        }
    }

    fn any_point() -> impl Strategy<Value = Point> {
        let number = prop_oneof![any::<f64>(), -180.0..180.0];
        let time = prop_oneof![any::<i64>(), 0..4_000_000_000_000i64];
        let option = |number: BoxedStrategy<f64>| proptest::option::of(number);
        let number = number.boxed();
        (
            number.clone(),
            number.clone(),
            option(number.clone()),
            option(number),
            proptest::option::of(time),
        )
            .prop_map(|(latitude, longitude, altitude, speed, time)| Point {
                latitude,
                longitude,
                altitude,
                speed,
                time,
            })
    }

    /// A part of a file is replaced by something else.
    #[derive(Clone, Debug)]
    struct Mutation {
        place: prop::sample::Index,
        removed: usize,
        inserted: Vec<u8>,
    }

    fn mutation() -> impl Strategy<Value = Mutation> {
        let words = prop::sample::select(vec![
            "<trk>",
            "</trkseg>",
            "<trkpt lat='1' lon='2'>",
            "<rte>",
            "<ele>1e999</ele>",
            "&lt;",
            "<time>9999-12-31T23:59:59-23:59</time>",
            "<![CDATA[",
            "]]>",
            "<!--",
            "<!DOCTYPE g [",
            "<?x",
            "\"",
            "=",
            ">",
            "/",
            "&#0;",
            "&#x110000;",
            "xmlns:a='b' ",
            "\0",
            "\u{feff}",
        ]);
        let inserted = prop_oneof![
            words.prop_map(|word| word.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..8),
        ];
        (any::<prop::sample::Index>(), 0..40usize, inserted)
            .prop_map(|(place, removed, inserted)| Mutation { place, removed, inserted })
    }

    proptest! {
        #[test]
        fn stored_points_come_back_bit_by_bit(
            points in proptest::collection::vec(any_point(), 0..20)
        ) {
            let back: Vec<Point> = decode_points(&encode_points(&points)).collect();
            let bits = |point: &Point| {
                let Point { latitude, longitude, altitude, speed, time } = *point;
                let coordinates = [latitude.to_bits(), longitude.to_bits()];
                (coordinates, altitude.map(f64::to_bits), speed.map(f64::to_bits), time)
            };
            let bits = |points: &[Point]| points.iter().map(bits).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back), bits(&points));
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[b"<gpx><trk><trkseg><trkpt ", &bytes[..], b"</gpx>"].concat());
            decode_points(&bytes).for_each(drop);
            decode_points(&[&[POINTS_FORM], &bytes[..]].concat()).for_each(drop);
        }

        #[test]
        fn any_time_is_answered(
            time in "[+-]?[0-9]{0,3}(0001|9999|2026)(-?(W?[0-9]{2}-?[0-9]|[0-9]{2,3}|12-31))?T?[0-9:,.]{0,9}(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
        ) {
            let file = format!("<trkpt lat='1' lon='1'><time>{time}</time></trkpt>");
            if let Ok(gpx) = track(&file) {
                prop_assert!(gpx.summary.start.is_none_or(|time| (FIRST_TIME..=LAST_TIME).contains(&time)));
            }
        }

        #[test]
        fn any_change_of_a_real_file_is_answered(
            file in any::<prop::sample::Index>(),
            mutations in proptest::collection::vec(mutation(), 1..6),
        ) {
            // The small ones hold every shape, and are read at once.
            let mut files = files();
            files.retain(|(_, bytes)| bytes.len() < 4_000);
            let (_, mut bytes) = file.get(&files).clone();
            for Mutation { place, removed, inserted } in mutations {
                let from = place.index(bytes.len() + 1);
                let to = (from + removed).min(bytes.len());
                bytes.splice(from..to, inserted);
            }
            match read(&bytes) {
                Ok(Gpx { summary, .. }) => prop_assert!(summary.distance.is_finite()),
                Err(Invalid(sentence)) => {
                    prop_assert!(sentence.ends_with('.') && sentence.len() < 200, "{}", sentence);
                }
            }
        }
    }
}
