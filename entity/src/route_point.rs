//! A point of a trip that the app recorded on the way.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "route_point")]
pub struct Model {
    /// Follows from the trip and the point: a point that is sent again is the same.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub trip_id: Uuid,
    /// Degrees.
    pub latitude: f64,
    pub longitude: f64,
    /// Metres.
    pub altitude: Option<f64>,
    /// Metres per second.
    pub speed: Option<f64>,
    pub timestamp: i64,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
