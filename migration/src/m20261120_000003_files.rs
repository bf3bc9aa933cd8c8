//! Files and which rows name them, live route points, and the segments of tracks.

use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{prelude::*, schema::*};

use crate::synced::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// All or nothing, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Postgres {
            // What waits and works here is the whole of a table, not a request.
            for setting in ["statement_timeout = 0", "lock_timeout = '60s'"] {
                manager
                    .get_connection()
                    .execute_unprepared(&format!("SET LOCAL {setting}"))
                    .await?;
            }
        }
        let tables = [
            Table::create()
                .table("file")
                .col(uuid("account_id"))
                .col(string("name"))
                .col(string_null("content_type"))
                .col(big_integer_null("size"))
                .col(text_null("etag"))
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
        manager.alter_table(memories).await?;
        let db = manager.get_connection();
        // Rows that name files already: who made them has named them.
        for (kind, table, field, column) in [
            ("Trip", "trip", "coverImageObjectName", "cover_image_object_name"),
            ("MediaItem", "media_item", "objectName", "object_name"),
            ("MediaItem", "media_item", "thumbnailObjectName", "thumbnail_object_name"),
            ("GPXTrack", "gpx_track", "gpxFileObjectName", "gpx_file_object_name"),
        ] {
            db.execute_unprepared(&format!(
                "INSERT INTO attachment (entity_id, field, name, kind, account_id, at) \
                 SELECT id, '{field}', {column}, '{kind}', created_by, updated_at FROM {table} \
                 WHERE {column} IS NOT NULL"
            ))
            .await?;
        }
        // Ids are unique within a kind, and from now on more than one kind carries others.
        match manager.get_database_backend() {
            DbBackend::Postgres => {
                for statement in [
                    "ALTER TABLE link ADD COLUMN kind varchar NOT NULL DEFAULT 'Memory'",
                    "ALTER TABLE link DROP CONSTRAINT link_pkey",
                    "ALTER TABLE link ADD PRIMARY KEY (source_id, target_id, kind)",
                ] {
                    db.execute_unprepared(statement).await?;
                }
                Ok(())
            }
            _ => rebuild_link(manager, Some("kind")).await,
        }
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
        let db = manager.get_connection();
        db.execute_unprepared("DELETE FROM link WHERE kind <> 'Memory'").await?;
        match manager.get_database_backend() {
            DbBackend::Postgres => {
                for statement in [
                    "ALTER TABLE link DROP CONSTRAINT link_pkey",
                    "ALTER TABLE link DROP COLUMN kind",
                    "ALTER TABLE link ADD PRIMARY KEY (source_id, target_id)",
                ] {
                    db.execute_unprepared(statement).await?;
                }
            }
            _ => rebuild_link(manager, None).await?,
        }
        let memories = Table::alter().table("bucket_list_item").drop_column("memory_ids").take();
        manager.alter_table(memories).await
    }
}

/// SQLite cannot change a primary key: the table is written anew, with one more column in the key or
/// without.
async fn rebuild_link(
    manager: &SchemaManager<'_>,
    column: Option<&'static str>,
) -> Result<(), DbErr> {
    manager.rename_table(Table::rename().table("link", "link_before").take()).await?;
    let mut key = Index::create();
    key.col("source_id").col("target_id");
    let mut link = Table::create();
    link.table("link").col(uuid("source_id")).col(uuid("target_id"));
    if let Some(column) = column {
        link.col(string(column).default("Memory"));
        key.col(column);
    }
    manager.create_table(link.primary_key(&mut key).take()).await?;
    let db = manager.get_connection();
    db.execute_unprepared(
        "INSERT INTO link (source_id, target_id) SELECT source_id, target_id FROM link_before",
    )
    .await?;
    manager.drop_table(Table::drop().table("link_before").take()).await?;
    // Not by the name of the one before: another connection of the pool may still know that one, and
    // refuse it.
    index(manager, "link", &["target_id", column.unwrap_or("source_id")]).await
}
