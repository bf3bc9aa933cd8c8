use entity::tag::{Column, Entity};

use super::*;

pub(super) fn kind() -> Kind {
    Kind {
        created_again: Some(CreatedAgain::Stays),
        order: "sortOrder",
        relations: vec![
            Relation {
                name: "category",
                doc: "The drawer that it lies in.",
                target: EntityType::TagCategory,
                via: Via::Parent("categoryId"),
                shape: "_",
            },
            Relation {
                name: "relatedTags",
                doc: "The owner's other tags on the memories that carry this one.",
                target: EntityType::Tag,
                via: Via::Together,
                shape: "[_!]",
            },
        ],
        ..super::kind(
            Entity,
            Column::SyncPriority,
            EntityType::Tag,
            "tags",
            "A label that its owner puts on memories.",
            vec![
                parent(Column::CategoryId, EntityType::TagCategory, OnDelete::Unlink).reads_text(),
                name(Column::Name),
                line(Column::DisplayName),
                line(Column::Emoji),
                color(Column::Color),
                text(Column::TagDescription),
                int(Column::SortOrder, i32::MIN as i64, i32::MAX as i64).or(Value::Int(0)),
                flag(Column::IsArchived, false),
                flag(Column::IsSystemTag, false).by_server(),
            ],
        )
    }
}
