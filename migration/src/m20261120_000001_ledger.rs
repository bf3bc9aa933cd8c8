//! Accounts, and what the engine keeps about the rows of the kinds.

use sea_orm_migration::{prelude::*, schema::*};

use crate::synced::index;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            Table::create()
                .table("setting")
                .col(string("name").primary_key())
                .col(text("value"))
                .take(),
            Table::create()
                .table("account")
                .col(pk_uuid("id"))
                .col(string("email").unique_key())
                .col(string("username"))
                .col(string("password_hash"))
                .col(string_null("first_name"))
                .col(string_null("last_name"))
                .col(text_null("profile_image_url"))
                .col(boolean("is_active"))
                .col(boolean("is_email_verified"))
                .col(big_integer_null("last_login_at"))
                .col(big_integer("created_at"))
                .col(big_integer("updated_at"))
                .take(),
            Table::create()
                .table("session")
                .col(pk_uuid("id"))
                .col(uuid("account_id"))
                .col(big_integer("created_at"))
                .col(big_integer("expires_at"))
                .take(),
            Table::create()
                .table("device")
                .col(uuid("account_id"))
                .col(uuid("id"))
                .col(big_integer("last_seen_at"))
                .primary_key(Index::create().col("account_id").col("id"))
                .take(),
            Table::create()
                .table("scope")
                .col(big_integer("no").auto_increment().primary_key())
                .col(uuid("id").unique_key())
                .col(big_integer("head"))
                .col(big_integer("head_at"))
                .col(big_integer("floor"))
                .take(),
            Table::create()
                .table("membership")
                .col(uuid("scope_id"))
                .col(uuid("account_id"))
                .col(string("role"))
                .col(big_integer("granted_at"))
                .col(big_integer("since_seq"))
                .col(big_integer_null("until_seq"))
                .col(big_integer_null("removed_at"))
                .primary_key(Index::create().col("scope_id").col("account_id"))
                .take(),
            Table::create()
                .table("tick")
                .col(uuid("scope_id"))
                .col(big_integer("seq"))
                .col(big_integer("at"))
                .primary_key(Index::create().col("scope_id").col("seq"))
                .take(),
            Table::create()
                .table("deletion")
                .col(uuid("scope_id"))
                .col(string("kind"))
                .col(uuid("entity_id"))
                .col(big_integer("seq"))
                .col(big_integer("entered_seq"))
                .col(big_integer("at"))
                .primary_key(Index::create().col("scope_id").col("kind").col("entity_id"))
                .take(),
            Table::create()
                .table("buried")
                .col(string("kind"))
                .col(uuid("entity_id"))
                .col(uuid("scope_id"))
                .col(big_integer("entered_seq"))
                .col(integer("sync_version"))
                .col(uuid("created_by"))
                .col(big_integer("deleted_at"))
                .primary_key(Index::create().col("entity_id").col("kind"))
                .take(),
            Table::create()
                .table("revision")
                .col(string("kind"))
                .col(uuid("entity_id"))
                .col(integer("version"))
                .col(uuid("account_id"))
                .col(uuid_null("device_id"))
                .col(big_integer("at"))
                .col(big_integer("client_time"))
                .col(big_integer("seq"))
                .col(text("old"))
                .primary_key(Index::create().col("entity_id").col("version").col("kind"))
                .take(),
            Table::create()
                .table("receipt")
                .col(pk_uuid("id"))
                .col(uuid("account_id"))
                .col(uuid("device_id"))
                .col(string("operation_id"))
                .col(uuid("content_hash"))
                .col(string("kind"))
                .col(uuid("entity_id"))
                .col(integer("version"))
                .col(uuid_null("conflict_id"))
                .col(big_integer("at"))
                .take(),
            Table::create()
                .table("conflict")
                .col(pk_uuid("id"))
                .col(string("kind"))
                .col(uuid("entity_id"))
                .col(uuid("scope_id"))
                .col(string("conflict_type"))
                .col(string("operation"))
                .col(string("operation_id"))
                .col(uuid_null("device_id"))
                .col(uuid("account_id"))
                .col(integer("local_version"))
                .col(integer("remote_version"))
                .col(text("local_data"))
                .col(text("remote_data"))
                .col(text_null("base_data"))
                .col(text("fields"))
                .col(big_integer("at"))
                .col(string("status"))
                .col(string_null("strategy"))
                .col(text_null("resolved_data"))
                .col(big_integer_null("resolved_at"))
                .col(uuid_null("resolved_by"))
                .take(),
            Table::create()
                .table("conflict_edit")
                .col(uuid("conflict_id"))
                .col(uuid("account_id"))
                .col(string("operation_id"))
                .col(uuid("device_id"))
                .col(string("operation"))
                .col(integer("remote_version"))
                .col(text("remote_data"))
                .col(big_integer("client_time"))
                .col(big_integer("at"))
                .primary_key(
                    Index::create()
                        .col("conflict_id")
                        .col("account_id")
                        .col("device_id")
                        .col("operation_id"),
                )
                .take(),
            Table::create()
                .table("link")
                .col(string("kind"))
                .col(uuid("source_id"))
                .col(uuid("target_id"))
                .primary_key(Index::create().col("source_id").col("target_id").col("kind"))
                .take(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        for (table, columns) in [
            ("session", &["account_id"][..]),
            ("membership", &["account_id"]),
            ("tick", &["scope_id", "at"]),
            ("deletion", &["scope_id", "seq"]),
            ("deletion", &["at"]),
            ("revision", &["at"]),
            ("receipt", &["at"]),
            ("conflict", &["scope_id", "at"]),
            ("conflict", &["entity_id"]),
            ("link", &["target_id"]),
        ] {
            index(manager, table, columns).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            "setting",
            "account",
            "session",
            "device",
            "scope",
            "membership",
            "tick",
            "deletion",
            "buried",
            "revision",
            "receipt",
            "conflict",
            "conflict_edit",
            "link",
        ] {
            manager.drop_table(Table::drop().table(table).take()).await?;
        }
        Ok(())
    }
}
