use entity::bucket_list_item::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
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
            ],
        )
    }
}

fn check(item: &Content) -> Result<(), Invalid> {
    check_pair(item, "latitude1", "longitude1")?;
    check_pair(item, "latitude2", "longitude2")
}
