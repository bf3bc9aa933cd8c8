//! What every kind's table has in common.

use sea_orm_migration::{prelude::*, schema::*};

/// Creates a kind's table: the sync columns, `own` columns, the index of the feed, and one index
/// for each column that points to a parent.
pub async fn create_kind(
    manager: &SchemaManager<'_>,
    table: &'static str,
    own: Vec<ColumnDef>,
    parents: &[&'static str],
) -> Result<(), DbErr> {
    let mut create = Table::create();
    create
        .table(table)
        .col(pk_uuid("id"))
        .col(uuid("scope_id"))
        .col(big_integer("seq"))
        .col(big_integer("entered_seq"))
        .col(integer("sync_version"))
        .col(text("field_versions"))
        .col(small_integer("sync_status"))
        .col(big_integer_null("last_sync_attempt"))
        .col(text_null("sync_error_message"))
        .col(uuid_null("conflict_id"))
        .col(uuid("created_by"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .col(big_integer_null("deleted_at"))
        .col(uuid_null("deleted_root"))
        .col(small_integer("sync_priority"));
    for column in own {
        create.col(column);
    }
    manager.create_table(create.take()).await?;
    index(manager, table, &["scope_id", "seq"]).await?;
    for parent in parents {
        index(manager, table, &[parent]).await?;
    }
    Ok(())
}

/// Creates an index named after its table and columns.
pub async fn index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
    let mut index = Index::create();
    index.name(format!("{table}_{}_idx", columns.join("_"))).table(table);
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index.take()).await
}
