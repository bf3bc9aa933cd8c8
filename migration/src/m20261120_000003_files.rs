//! Files and which rows name them, live route points, and the segments of tracks.

use sea_orm_migration::{prelude::*, schema::*};

use crate::synced::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            Table::create()
                .table("file")
                .col(uuid("account_id"))
                .col(string("name"))
                .col(string_null("content_type"))
                .col(big_integer_null("size"))
                .col(big_integer("requested_at"))
                .col(big_integer_null("uploaded_at"))
                .primary_key(Index::create().col("account_id").col("name"))
                .take(),
            Table::create()
                .table("attachment")
                .col(uuid("entity_id"))
                .col(string("field"))
                .col(string("name"))
                .col(string("kind"))
                .col(uuid("account_id"))
                .col(big_integer("at"))
                .primary_key(Index::create().col("entity_id").col("field").col("name"))
                .take(),
            Table::create()
                .table("route_point")
                .col(pk_uuid("id"))
                .col(uuid("trip_id"))
                .col(double("latitude"))
                .col(double("longitude"))
                .col(double_null("altitude"))
                .col(double_null("speed"))
                .col(big_integer("timestamp"))
                .col(big_integer("created_at"))
                .take(),
            Table::create()
                .table("track_segment")
                .col(pk_uuid("id"))
                .col(uuid("track_id"))
                .col(string("object_name"))
                .col(integer("place"))
                .col(string("segment_type"))
                .col(big_integer_null("start_date"))
                .col(big_integer_null("end_date"))
                .col(double("distance"))
                .col(double_null("average_speed"))
                .col(double_null("max_speed"))
                .col(integer("point_count"))
                .col(blob("points"))
                .take(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        for (table, columns) in [
            ("file", &["requested_at"][..]),
            ("attachment", &["account_id", "name"]),
            ("attachment", &["name"]),
            ("attachment", &["at"]),
            ("route_point", &["trip_id", "timestamp"]),
            ("track_segment", &["track_id"]),
            ("buried", &["scope_id"]),
            ("membership", &["scope_id", "granted_at"]),
        ] {
            index(manager, table, columns).await?;
        }
        let memories = Table::alter()
            .table("bucket_list_item")
            .add_column(text("memory_ids").default("[]"))
            .take();
        manager.alter_table(memories).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["file", "attachment", "route_point", "track_segment"] {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        for (table, name) in [
            ("buried", "buried_scope_id_idx"),
            ("membership", "membership_scope_id_granted_at_idx"),
        ] {
            manager.drop_index(Index::drop().table(table).name(name).to_owned()).await?;
        }
        let memories = Table::alter().table("bucket_list_item").drop_column("memory_ids").take();
        manager.alter_table(memories).await
    }
}
