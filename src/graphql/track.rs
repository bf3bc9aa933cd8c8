//! Points and segments: of the tracks' files, and recorded on the way.

use std::borrow::Cow;
use std::collections::HashMap;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use entity::{Millis, route_point, track_segment};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ConnectionTrait, EntityTrait, Iterable, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::node::{self, Selected, meta_field, meta_object, raw, selection};
use super::public;
use crate::config::limits;
use crate::db::Db;
use crate::error::{Code, Error};
use crate::gpx;
use crate::sync::change::derive;
use crate::sync::row::Row;
use crate::sync::{route, store};

/// Describes the types of points and segments.
pub fn register(registry: &mut Registry) {
    let point = [
        meta_field("id", "ID!", ""),
        meta_field("latitude", "Float!", "Degrees."),
        meta_field("longitude", "Float!", "Degrees."),
        meta_field("altitude", "Float", "Metres."),
        meta_field("speed", "Float", "Metres per second, as the device recorded it."),
        meta_field("timestamp", "DateTime!", "Where the file has none: when the track was made."),
        meta_field("created_at", "DateTime!", "When the server got it."),
    ];
    let segment = [
        meta_field("id", "ID!", ""),
        meta_field("points", "[RoutePoint!]!", "At most 10,000; the file has all."),
        meta_field("segmentType", "String", "`track` or `route`."),
        meta_field("startDate", "DateTime", ""),
        meta_field("endDate", "DateTime", ""),
        meta_field("distance", "Float", "Metres."),
        meta_field("averageSpeed", "Float", "Metres per second."),
        meta_field("maxSpeed", "Float", "Metres per second."),
        meta_field("originalPointCount", "Int", "Points in the file."),
        meta_field("isCompressed", "Boolean", "Whether points were left out, evenly."),
        meta_field("compressionRatio", "Float", "How many of the file's points are here, 0 to 1."),
        meta_field("qualityLevel", "String", "FULL, or REDUCED where points were left out."),
    ];
    let types = &mut registry.types;
    types
        .entry("RoutePoint".into())
        .or_insert_with(|| meta_object("RoutePoint", "A point of a way.", point));
    let doc = "A stretch of a track without gaps.";
    types.entry("TrackSegment".into()).or_insert_with(|| meta_object("TrackSegment", doc, segment));
}

/// Points of a route, as an answer.
pub struct RoutePoints(pub Vec<route_point::Model>);

impl OutputType for RoutePoints {
    fn type_name() -> Cow<'static, str> {
        "[RoutePoint!]".into()
    }

    fn qualified_type_name() -> String {
        "[RoutePoint!]!".into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        node::register(registry);
        Self::qualified_type_name()
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        let ctx = ctx.with_field(field);
        let mut out = Vec::new();
        list(&mut out, &self.0, &selection(ctx.field()), write_route_point);
        match check_size(ctx.field().name(), out.len()) {
            Ok(()) => Ok(raw(out)),
            Err(error) => Err(ctx.set_error_path(public(error).into_server_error(field.pos))),
        }
    }
}

/// The route points of each trip.
pub async fn route_points(
    db: &Db,
    trips: &[Row],
    selected: &[Selected],
) -> Result<Vec<Vec<u8>>, Error> {
    let ids: Vec<Uuid> = trips.iter().map(|trip| trip.id).collect();
    let points = route::of_trips(db.pool(), &ids).await?;
    let write = |trip: &Row, out: &mut Vec<u8>| {
        let points = points.get(&trip.id).map(Vec::as_slice).unwrap_or_default();
        list(out, points, selected, write_route_point);
    };
    each(trips, "routePoints", write)
}

/// The segments of tracks, for each of `rows`: those of the tracks that are `of` it, track by track.
pub async fn segments(
    db: &Db,
    rows: &[Row],
    tracks: &[Row],
    of: impl Fn(&Row) -> Uuid,
    selected: &Selected,
) -> Result<Vec<Vec<u8>>, Error> {
    use track_segment::{Column, Entity};
    let db = db.pool();
    let ids: Vec<Uuid> = tracks.iter().map(|track| track.id).collect();
    let with_points = selected.children.iter().any(|field| field.name == "points");
    check_segments(db, &ids, with_points).await?;
    let mut segments: HashMap<Uuid, Vec<track_segment::Model>> = HashMap::new();
    for among in store::in_lists(db, Column::TrackId, &ids) {
        let mut select = Entity::find().filter(among);
        if !with_points {
            // All that makes a segment large.
            let rest = Column::iter().filter(|column| !matches!(column, Column::Points));
            let none = Expr::val(Vec::<u8>::new());
            select = select.select_only().columns(rest).expr_as(none, "points");
        }
        let select = select.order_by_asc(Column::TrackId).order_by_asc(Column::Place);
        for segment in select.all(db).await? {
            segments.entry(segment.track_id).or_default().push(segment);
        }
    }
    let mut of_row: HashMap<Uuid, Vec<(&track_segment::Model, Millis)>> = HashMap::new();
    for track in tracks {
        let file = track.kind().files().find_map(|(at, _)| track.content.values[at].as_text());
        // What is left of another file does not count.
        let current = segments.get(&track.id).into_iter().flatten();
        let current = current.filter(|segment| file == Some(&*segment.object_name));
        let current = current.map(|segment| (segment, track.created_at));
        of_row.entry(of(track)).or_default().extend(current);
    }
    let write = |row: &Row, out: &mut Vec<u8>| {
        let segments = of_row.get(&row.id).map(Vec::as_slice).unwrap_or_default();
        list(out, segments, &selected.children, write_segment);
    };
    each(rows, &selected.name, write)
}

/// Refuses to read more segments, or points of theirs, than one field of an answer may have.
async fn check_segments<C: ConnectionTrait>(
    db: &C,
    tracks: &[Uuid],
    with_points: bool,
) -> Result<(), Error> {
    let (mut segments, mut points) = (0, 0);
    for among in store::in_lists(db, "track_id", tracks) {
        let select = Query::select()
            .expr(Expr::col("id").count())
            .expr(Expr::col("point_count").sum().cast_as("bigint"))
            .from("track_segment")
            .and_where(among)
            .to_owned();
        if let Some(row) = db.query_one(&select).await? {
            segments += row.try_get_by_index::<i64>(0)?;
            points += row.try_get_by_index::<Option<i64>>(1)?.unwrap_or(0);
        }
    }
    if segments as u64 > limits::SEGMENTS {
        let message = format!("more than {} segments; ask for fewer rows", limits::SEGMENTS);
        return Err(Error::new(Code::Limit, message));
    }
    match with_points {
        true => route::check_points(points as u64),
        false => Ok(()),
    }
}

/// Writes for each row, within the limit for nested data.
fn each(
    rows: &[Row],
    name: &str,
    write: impl Fn(&Row, &mut Vec<u8>),
) -> Result<Vec<Vec<u8>>, Error> {
    let mut written = Vec::with_capacity(rows.len());
    let mut size = 0;
    for row in rows {
        let mut out = Vec::new();
        write(row, &mut out);
        size += out.len();
        check_size(name, size)?;
        written.push(out);
    }
    Ok(written)
}

fn check_size(name: &str, size: usize) -> Result<(), Error> {
    match size <= limits::NESTED_BYTES {
        true => Ok(()),
        false => Err(Error::new(
            Code::Limit,
            format!("{name}: is more than {} bytes; ask for fewer rows", limits::NESTED_BYTES),
        )),
    }
}

/// Writes a list. It stops where that is more than a field may have, which is then refused.
fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    selected: &[Selected],
    write: impl Fn(&mut Vec<u8>, T, &[Selected]),
) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if out.len() > limits::NESTED_BYTES {
            return;
        }
        if at > 0 {
            out.push(b',');
        }
        write(out, item, selected);
    }
    out.push(b']');
}

fn write_route_point(out: &mut Vec<u8>, point: &route_point::Model, selected: &[Selected]) {
    let at = gpx::Point {
        latitude: point.latitude,
        longitude: point.longitude,
        altitude: point.altitude,
        speed: point.speed,
        time: Some(point.timestamp),
    };
    write_point(out, &at, || point.id, point.created_at, selected);
}

fn write_point(
    out: &mut Vec<u8>,
    point: &gpx::Point,
    id: impl Fn() -> Uuid,
    created_at: Millis,
    selected: &[Selected],
) {
    node::object(out, selected.iter().map(|field| (field, &field.name)), |out, name| {
        match name.as_str() {
            "id" => node::uuid(out, id()),
            "latitude" => node::json(out, &point.latitude),
            "longitude" => node::json(out, &point.longitude),
            "altitude" => node::json(out, &point.altitude),
            "speed" => node::json(out, &point.speed),
            "timestamp" => node::time(out, point.time.unwrap_or(created_at)),
            "created_at" => node::time(out, created_at),
            _ => node::text(out, "RoutePoint"),
        }
    });
}

fn write_segment(
    out: &mut Vec<u8>,
    (segment, created_at): &(&track_segment::Model, Millis),
    selected: &[Selected],
) {
    let all = segment.point_count as usize;
    // Every so-manieth, and the last.
    let step = all.div_ceil(limits::SEGMENT_POINTS).max(1);
    let kept = if step == 1 {
        all
    } else {
        all.div_ceil(step) + usize::from(!(all - 1).is_multiple_of(step))
    };
    node::object(out, selected.iter().map(|field| (field, field)), |out, field| {
        match field.name.as_str() {
            "id" => node::uuid(out, segment.id),
            "points" => {
                let points = gpx::decode_points(&segment.points).enumerate();
                let shown = points.filter(|(at, _)| at % step == 0 || at + 1 == all);
                list(out, shown, &field.children, |out, (at, point), selected| {
                    let id = || derive(&[b"point", segment.id.as_bytes(), &at.to_be_bytes()]);
                    write_point(out, &point, id, *created_at, selected);
                });
            }
            "segmentType" => node::text(out, &segment.segment_type),
            "startDate" => node::optional(out, segment.start_date, node::time),
            "endDate" => node::optional(out, segment.end_date, node::time),
            "distance" => node::json(out, &segment.distance),
            "averageSpeed" => node::json(out, &segment.average_speed),
            "maxSpeed" => node::json(out, &segment.max_speed),
            "originalPointCount" => node::number(out, all),
            "isCompressed" => node::boolean(out, step > 1),
            "compressionRatio" => node::json(out, &(kept as f64 / all.max(1) as f64)),
            "qualityLevel" => node::text(out, if step > 1 { "REDUCED" } else { "FULL" }),
            _ => node::text(out, "TrackSegment"),
        }
    });
}
