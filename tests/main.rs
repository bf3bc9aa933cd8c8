//! Everything is tested through the API, on real databases. One file a guarantee or behaviour.

mod support;

mod g11_disjoint_edits_merge;
mod schema;
mod statements;
