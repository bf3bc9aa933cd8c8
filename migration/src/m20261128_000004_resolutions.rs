//! What resolutions did, so that they can be undone, and where rows lay when they were changed.

use sea_orm_migration::{prelude::*, schema::*};

use crate::synced::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in
            [("revision", uuid_null("scope_id")), ("conflict", text_null("effect"))]
        {
            let alter = Table::alter().table(table).add_column(column).take();
            manager.alter_table(alter).await?;
        }
        let undone = Table::create()
            .table("undone")
            .col(uuid("conflict_id"))
            .col(big_integer("at"))
            .col(uuid("account_id"))
            .col(string("strategy"))
            .col(text_null("resolved_data"))
            .col(big_integer("resolved_at"))
            .col(uuid("resolved_by"))
            .primary_key(Index::create().col("conflict_id").col("at"))
            .take();
        manager.create_table(undone).await?;
        index(manager, "conflict", &["status", "resolved_at"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut index = Index::drop();
        index.name("conflict_status_resolved_at_idx").table("conflict");
        manager.drop_index(index).await?;
        manager.drop_table(Table::drop().table("undone").take()).await?;
        for (table, column) in [("revision", "scope_id"), ("conflict", "effect")] {
            manager.alter_table(Table::alter().table(table).drop_column(column).take()).await?;
        }
        Ok(())
    }
}
