use entity::gpx_track::{Column, Entity};

use entity::Millis;

use super::*;
use crate::config::limits;
use crate::gpx::{Gpx, Packed};

pub(super) fn kind() -> Kind {
    Kind {
        home: Home::Parent("tripId"),
        read_file: Some(read),
        ..super::kind(
            Entity,
            Column::SyncPriority,
            EntityType::GPXTrack,
            "gpxTracks",
            "A recorded track or planned route of a trip.",
            vec![
                parent(Column::TripId, EntityType::Trip, OnDelete::Cascade),
                parent(Column::MemoryId, EntityType::Memory, OnDelete::Unlink)
                    .doc("A memory of the same trip."),
                name(Column::Name),
                text(Column::Description),
                line(Column::GpxFileObjectName).file(None),
                line(Column::OriginalFilename),
                line(Column::Creator).doc("The device or program that recorded it."),
                line(Column::TrackType),
                measured(Column::TotalDistance, 0.0, "In metres."),
                measured(Column::TotalDuration, 0.0, "In seconds."),
                measured(Column::AverageSpeed, 0.0, "In metres per second."),
                measured(Column::MaxSpeed, 0.0, "In metres per second."),
                measured(Column::ElevationGain, 0.0, "In metres."),
                measured(Column::ElevationLoss, 0.0, "In metres."),
                measured(Column::MinElevation, -HUGE, "In metres."),
                measured(Column::MaxElevation, -HUGE, "In metres."),
                int(Column::TotalPoints, 0, i32::MAX as i64).by_server(),
                time(Column::StartTime).by_server(),
                time(Column::EndTime).by_server(),
            ],
        )
    }
}

/// What a GPX file says of its track. The device's own words for creator and type stay.
fn read(bytes: &[u8]) -> Result<FileContent, Invalid> {
    let Gpx { summary, segments } = gpx::read(bytes)?;
    if segments.len() > limits::GPX_SEGMENTS {
        let message = format!("The file has more than {} segments.", limits::GPX_SEGMENTS);
        return Err(Invalid(message));
    }
    let float = |value: Option<f64>| value.map_or(Value::Null, Value::Float);
    let time = |value: Option<Millis>| value.map_or(Value::Null, Value::Time);
    let values = [
        ("totalDistance", Value::Float(summary.distance)),
        ("totalDuration", float(summary.duration)),
        ("averageSpeed", float(summary.average_speed)),
        ("maxSpeed", float(summary.max_speed)),
        ("elevationGain", float(summary.elevation_gain)),
        ("elevationLoss", float(summary.elevation_loss)),
        ("minElevation", float(summary.min_elevation)),
        ("maxElevation", float(summary.max_elevation)),
        ("totalPoints", Value::Int(summary.points)),
        ("startTime", time(summary.start)),
        ("endTime", time(summary.end)),
    ];
    let kind = EntityType::GPXTrack.kind();
    let values = values.into_iter().map(|(name, value)| (kind.field(name), value)).collect();
    // One after the other: each gives its points' memory back.
    let segments = segments.into_iter().map(Packed::from).collect();
    Ok(FileContent { values, segments })
}

/// A figure that the server takes from the file.
fn measured(column: Column, min: f64, unit: &'static str) -> Field {
    float(column, min, HUGE).by_server().doc(unit)
}
