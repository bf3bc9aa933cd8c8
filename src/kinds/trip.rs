use entity::trip::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
        home: Home::Itself,
        order: "startDate",
        relations: vec![
            Relation {
                name: "memories",
                doc: "The trip's moments.",
                target: EntityType::Memory,
                via: Via::Children("tripId"),
                shape: "[_!]!",
            },
            Relation {
                name: "gpxTracks",
                doc: "The trip's tracks and routes.",
                target: EntityType::GPXTrack,
                via: Via::Children("tripId"),
                shape: "[_!]!",
            },
        ],
        check,
        ..super::kind(
            Entity,
            Column::SyncPriority,
            EntityType::Trip,
            "trips",
            "A journey, with all that hangs on it. It is what people share.",
            vec![
                name(Column::Name),
                text(Column::TripDescription),
                line(Column::CoverImageObjectName)
                    .picture("coverImageUrl")
                    .doc("The cover picture's object name."),
                text(Column::TravelCompanions),
                text(Column::VisitedCountries),
                time(Column::StartDate).group("dates"),
                time(Column::EndDate).group("dates").doc("Not before the start."),
                flag(Column::IsActive, false),
                float(Column::TotalDistance, 0.0, HUGE).or(Value::Float(0.0)).doc("In metres."),
                flag(Column::GpsTrackingEnabled, true),
            ],
        )
    }
}

fn check(trip: &Content) -> Result<(), Invalid> {
    match (trip.get("startDate").as_time(), trip.get("endDate").as_time()) {
        (Some(start), Some(end)) if end < start => {
            Err(Invalid("endDate: must not be before startDate".into()))
        }
        _ => Ok(()),
    }
}
