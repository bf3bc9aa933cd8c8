use entity::memory::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
        home: Home::Parent("tripId"),
        label: "title",
        order: "date",
        relations: vec![
            Relation {
                name: "mediaItems",
                doc: "Photos, films and sounds.",
                target: EntityType::MediaItem,
                via: Via::Children("memoryId"),
                shape: "[_!]!",
            },
            Relation {
                name: "tags",
                doc: "The tags that it carries, other members' tags included.",
                target: EntityType::Tag,
                via: Via::Refs("tagIds"),
                shape: "[_!]!",
            },
            Relation {
                name: "gpxTrack",
                doc: "The first track that belongs to it.",
                target: EntityType::GPXTrack,
                via: Via::Children("memoryId"),
                shape: "_",
            },
        ],
        check: |memory| check_pair(memory, "latitude", "longitude"),
        ..super::kind(
            Entity,
            Column::SyncPriority,
            EntityType::Memory,
            "memories",
            "A moment of a trip.",
            vec![
                parent(Column::TripId, EntityType::Trip, OnDelete::Cascade),
                name(Column::Title),
                text(Column::Content).read_as(&["content", "text"]),
                time(Column::Date).or_client_time().read_as(&["date", "timestamp"]),
                latitude(Column::Latitude)
                    .group("place")
                    .reads_zero()
                    .doc("Degrees; 0 where the place is not known: `location` is null then."),
                longitude(Column::Longitude).group("place").reads_zero(),
                text(Column::Address).read_as(&["address", "locationName"]),
                text(Column::WeatherJson).named("weatherJSON"),
                refs(Column::TagIds, EntityType::Tag),
            ],
        )
    }
}
