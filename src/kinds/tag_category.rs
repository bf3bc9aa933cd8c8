use entity::tag_category::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
        created_again: Some(CreatedAgain::Stays),
        order: "sortOrder",
        relations: vec![Relation {
            name: "tags",
            doc: "The tags that lie in it.",
            target: EntityType::Tag,
            via: Via::Children("categoryId"),
            shape: "[_!]!",
        }],
        ..super::kind(
            Entity,
            Column::SyncPriority,
            EntityType::TagCategory,
            "tagCategories",
            "A drawer for tags.",
            vec![
                name(Column::Name),
                line(Column::DisplayName),
                line(Column::Emoji),
                color(Column::Color),
                int(Column::SortOrder, i32::MIN as i64, i32::MAX as i64).or(Value::Int(0)),
                flag(Column::IsExpanded, true),
                flag(Column::IsSystemCategory, false).by_server(),
            ],
        )
    }
}
