//! The seven kinds of the travel journal.

use sea_orm_migration::{prelude::*, schema::*};

use crate::synced::create_kind;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_kind(
            manager,
            "tag_category",
            vec![
                string("name"),
                string_null("display_name"),
                string_null("emoji"),
                string_null("color"),
                integer("sort_order"),
                boolean("is_expanded"),
                boolean("is_system_category"),
            ],
            &[],
        )
        .await?;
        create_kind(
            manager,
            "tag",
            vec![
                uuid_null("category_id"),
                string("name"),
                string_null("display_name"),
                string_null("emoji"),
                string_null("color"),
                text_null("tag_description"),
                integer("sort_order"),
                boolean("is_archived"),
                boolean("is_system_tag"),
            ],
            &["category_id"],
        )
        .await?;
        create_kind(
            manager,
            "bucket_list_item",
            vec![
                string("name"),
                string_null("country"),
                string_null("region"),
                string_null("type"),
                double_null("latitude1"),
                double_null("longitude1"),
                double_null("latitude2"),
                double_null("longitude2"),
                boolean("is_done"),
                big_integer_null("completed_at"),
            ],
            &[],
        )
        .await?;
        create_kind(
            manager,
            "trip",
            vec![
                string("name"),
                text_null("trip_description"),
                text_null("cover_image_object_name"),
                text_null("travel_companions"),
                text_null("visited_countries"),
                big_integer("start_date"),
                big_integer_null("end_date"),
                boolean("is_active"),
                double("total_distance"),
                boolean("gps_tracking_enabled"),
            ],
            &[],
        )
        .await?;
        create_kind(
            manager,
            "memory",
            vec![
                uuid("trip_id"),
                string("title"),
                text_null("content"),
                big_integer("date"),
                double_null("latitude"),
                double_null("longitude"),
                text_null("address"),
                text_null("weather_json"),
                text("tag_ids"),
            ],
            &["trip_id"],
        )
        .await?;
        create_kind(
            manager,
            "media_item",
            vec![
                uuid("memory_id"),
                text("object_name"),
                text_null("thumbnail_object_name"),
                string_null("original_filename"),
                string("mime_type"),
                big_integer("timestamp"),
                integer("order"),
                big_integer("file_size"),
                double_null("duration"),
            ],
            &["memory_id"],
        )
        .await?;
        create_kind(
            manager,
            "gpx_track",
            vec![
                uuid("trip_id"),
                uuid_null("memory_id"),
                string("name"),
                text_null("description"),
                text_null("gpx_file_object_name"),
                string_null("original_filename"),
                string_null("creator"),
                string_null("track_type"),
                double_null("total_distance"),
                double_null("total_duration"),
                double_null("average_speed"),
                double_null("max_speed"),
                double_null("elevation_gain"),
                double_null("elevation_loss"),
                double_null("min_elevation"),
                double_null("max_elevation"),
                integer_null("total_points"),
                big_integer_null("start_time"),
                big_integer_null("end_time"),
            ],
            &["trip_id", "memory_id"],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in
            ["tag_category", "tag", "bucket_list_item", "trip", "memory", "media_item", "gpx_track"]
        {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        Ok(())
    }
}
