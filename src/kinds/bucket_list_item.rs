use entity::bucket_list_item::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
        created_again: Some(CreatedAgain::Edited),
        relations: vec![Relation {
            name: "memories",
            doc: "The moments in which it was done.",
            target: EntityType::Memory,
            via: Via::Refs("memoryIds"),
            shape: "[_!]",
        }],
        check,
        ..super::kind(
            Entity,
            Column::SyncPriority,
            EntityType::BucketListItem,
            "bucketListItems",
            "Something that its owner wants to see or do.",
            vec![
                name(Column::Name),
                line(Column::Country),
                line(Column::Region),
                line(Column::Type),
                latitude(Column::Latitude1).group("place1"),
                longitude(Column::Longitude1).group("place1"),
                latitude(Column::Latitude2).group("place2"),
                longitude(Column::Longitude2).group("place2"),
                flag(Column::IsDone, false),
                time(Column::CompletedAt),
                refs(Column::MemoryIds, EntityType::Memory).by_server().read_as(&[]),
            ],
        )
    }
}

fn check(item: &Content) -> Result<(), Invalid> {
    check_pair(item, "latitude1", "longitude1")?;
    check_pair(item, "latitude2", "longitude2")
}
