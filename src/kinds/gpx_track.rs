use entity::gpx_track::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
        home: Home::Parent("tripId"),
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
                line(Column::GpxFileObjectName).file(None, true),
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

/// A figure that the server takes from the file.
fn measured(column: Column, min: f64, unit: &'static str) -> Field {
    float(column, min, HUGE).by_server().doc(unit)
}
