//! A stretch of a track without gaps, as its file has it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "track_segment")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub track_id: Uuid,
    /// The file that it was read from: what is left of another file does not count.
    pub object_name: String,
    /// Its place in the file.
    pub place: i32,
    /// `track` or `route`.
    pub segment_type: String,
    pub start_date: Option<i64>,
    pub end_date: Option<i64>,
    /// Metres.
    pub distance: f64,
    /// Metres per second.
    pub average_speed: Option<f64>,
    pub max_speed: Option<f64>,
    pub point_count: i32,
    /// See `gpx::encode_points`.
    pub points: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
