//! Everything is tested through the API, on real databases. One file a guarantee or behaviour.

mod support;

mod accounts;
mod app_cycle;
mod app_files;
mod app_quirks;
mod bad_input;
mod console;
mod console_page;
mod decision_table;
mod end_to_end;
mod erase;
mod files_store;
mod g01_nothing_skipped;
mod g04_filters;
mod g05_grant_and_revoke;
mod g06_typed_resync;
mod g07_one_transaction;
mod g08_resend_is_harmless;
mod g10_own_device;
mod g11_disjoint_edits_merge;
mod g12_overlapping_edits_are_kept;
mod g13_resolving_is_a_write;
mod g14_delete_against_update;
mod g15_clocks;
mod g16_attempts;
mod g16_nobody_elses_rows;
mod g17_whole_answers;
mod http;
mod import;
mod migrations;
mod playground;
mod role_matrix;
mod schema;
mod sharing;
mod statements;
