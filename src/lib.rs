//! Cairn: a self-hosted GraphQL sync backend for offline-first mobile apps.
//!
//! ARCHITECTURE.md is the map. In short, arrows point one way: [`http`] → [`graphql`] → [`sync`] →
//! the entities; [`kinds`] says what a row of each kind holds.

pub mod admission;
pub mod allocator;
pub mod app;
pub mod auth;
pub mod cache;
pub mod config;
pub mod db;
pub mod error;
pub mod files;
pub mod gather;
pub mod gpx;
pub mod graphql;
pub mod http;
pub mod import;
pub mod kinds;
pub mod poke;
pub mod redis;
pub mod sync;
pub mod throttle;
pub mod tls;
