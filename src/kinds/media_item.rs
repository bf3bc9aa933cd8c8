use entity::media_item::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
        home: Home::Parent("memoryId"),
        label: "originalFilename",
        order: "order",
        relations: vec![Relation {
            name: "memory",
            doc: "The moment that it shows.",
            target: EntityType::Memory,
            via: Via::Parent("memoryId"),
            shape: "_!",
        }],
        ..super::kind(
            Entity,
            Column::SyncPriority,
            EntityType::MediaItem,
            "mediaItems",
            "A photo, film or sound of a memory.",
            vec![
                parent(Column::MemoryId, EntityType::Memory, OnDelete::Cascade),
                name(Column::ObjectName)
                    .file(Some("fileSize"))
                    .read_as(&["s3Key", "filename"])
                    .doc("The name under which the bytes are stored."),
                line(Column::ThumbnailObjectName)
                    .picture("thumbnailUrl")
                    .read_as(&["thumbnailS3Key"]),
                line(Column::OriginalFilename),
                name(Column::MimeType),
                time(Column::Timestamp).or_client_time(),
                int(Column::Order, 0, i32::MAX as i64)
                    .or(Value::Int(0))
                    .doc("Its place among the memory's media."),
                int(Column::FileSize, 0, i32::MAX as i64).doc("In bytes."),
                float(Column::Duration, 0.0, HUGE).doc("In seconds."),
            ],
        )
    }
}
