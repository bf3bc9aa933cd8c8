//! The points of a trip that the app records on the way. They are no kind: nobody edits them, and
//! devices do not sync them one by one. They belong to their trip, and go with it.

use std::collections::HashMap;

use entity::route_point::{Column, Entity, Model};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder,
};
use uuid::Uuid;

use super::change::derive;
use super::plan::{World, plan_nudge};
use super::push::write;
use super::row::Row;
use super::scope::{self, ToLock};
use super::transaction::{self, Failure, Held, Step, Work};
use super::{Role, Sender, store};
use crate::config::limits;
use crate::db::Db;
use crate::error::{Code, Error};
use crate::kinds::{EntityType, Invalid};

/// A point, as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub latitude: f64,
    pub longitude: f64,
    pub altitude: Option<f64>,
    pub speed: Option<f64>,
    pub timestamp: i64,
}

impl Point {
    fn check(&self) -> Result<(), Invalid> {
        let within = |value: f64, bound: f64| value.is_finite() && value.abs() <= bound;
        let fail = |what: &str| Err(Invalid(what.to_owned()));
        if !within(self.latitude, 90.0) {
            return fail("latitude: must be a number from -90 to 90");
        }
        if !within(self.longitude, 180.0) {
            return fail("longitude: must be a number from -180 to 180");
        }
        if ![self.altitude, self.speed].into_iter().flatten().all(|value| within(value, 1e12)) {
            return fail("altitude and speed: must be numbers from -1e12 to 1e12");
        }
        Ok(())
    }

    /// Follows from the trip and the point, so that one that is sent again is the same.
    fn id(&self, trip: Uuid) -> Uuid {
        let float = |value: Option<f64>| value.map_or([0xff; 8], f64::to_be_bytes);
        derive(&[
            b"point",
            trip.as_bytes(),
            &self.timestamp.to_be_bytes(),
            &float(Some(self.latitude)),
            &float(Some(self.longitude)),
            &float(self.altitude),
            &float(self.speed),
        ])
    }
}

/// Adds points to a trip, and gives them back as they are stored. Those that it has already stay.
pub async fn add(
    db: &Db,
    account: Uuid,
    trip: Uuid,
    points: &[Point],
) -> Result<Vec<Model>, Error> {
    if points.len() > limits::ROUTE_POINTS {
        let message = format!("at most {} points at once", limits::ROUTE_POINTS);
        return Err(Error::new(Code::Limit, message));
    }
    for (at, point) in points.iter().enumerate() {
        point.check().map_err(|Invalid(what)| Error::bad_input(format!("points[{at}].{what}")))?;
    }
    let scopes = ToLock { named: [trip].into(), ..ToLock::default() };
    transaction::run(db, account, scopes, &Add { account, trip, points }).await
}

/// The points of trips, each trip's in the order of their times. LIMIT, if they are more than an
/// answer may have.
pub async fn of_trips<C: ConnectionTrait>(
    db: &C,
    trips: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Model>>, Error> {
    let mut count = 0;
    for among in store::in_lists(db, Column::TripId, trips) {
        count += Entity::find().filter(among).count(db).await?;
    }
    check_points(count)?;
    let mut found: HashMap<Uuid, Vec<Model>> = HashMap::new();
    for among in store::in_lists(db, Column::TripId, trips) {
        let points = Entity::find()
            .filter(among)
            .order_by_asc(Column::TripId)
            .order_by_asc(Column::Timestamp)
            .order_by_asc(Column::Id)
            .all(db)
            .await?;
        for point in points {
            found.entry(point.trip_id).or_default().push(point);
        }
    }
    Ok(found)
}

/// Refuses to read more points than one field of an answer may have.
pub fn check_points(count: u64) -> Result<(), Error> {
    match count <= limits::POINTS {
        true => Ok(()),
        false => Err(Error::new(
            Code::Limit,
            format!("more than {} points; ask for fewer trips or tracks", limits::POINTS),
        )),
    }
}

struct Add<'a> {
    account: Uuid,
    trip: Uuid,
    points: &'a [Point],
}

impl Work for Add<'_> {
    type Done = Vec<Model>;

    async fn attempt(
        &self,
        tx: &DatabaseTransaction,
        held: Held,
    ) -> Result<Step<Vec<Model>>, Failure> {
        let kind = EntityType::Trip;
        let seen = scope::seen_by(tx, self.account).await?;
        let membership = seen.iter().find(|scope| scope.id == self.trip);
        let found = store::rows_by_id(tx, kind.kind(), &[self.trip]).await?;
        match membership {
            Some(scope) if scope.is_visible() && found.iter().any(Row::is_live) => {
                if scope.role < Role::Editor {
                    let message = "your role allows to read, not to change";
                    return Err(Error::new(Code::Forbidden, message).into());
                }
            }
            Some(scope) if !scope.is_visible() => {
                return Err(Error::new(Code::Forbidden, "you are no longer a member").into());
            }
            _ => {
                let message = format!("there is no such {}", kind.name());
                return Err(Error::new(Code::NotFound, message).into());
            }
        }
        let model = |point: &Point| Model {
            id: point.id(self.trip),
            trip_id: self.trip,
            latitude: point.latitude,
            longitude: point.longitude,
            altitude: point.altitude,
            speed: point.speed,
            timestamp: point.timestamp,
            created_at: held.now,
        };
        let mut models: Vec<Model> = self.points.iter().map(model).collect();
        models.sort_by_key(|model| (model.timestamp, model.id));
        models.dedup_by_key(|model| model.id);
        let mut added = 0;
        for mut insert in store::inserts::<Entity>(&models) {
            insert.on_conflict(OnConflict::column(Column::Id).do_nothing().to_owned());
            added += tx.execute(&insert).await?.rows_affected();
        }
        if added == 0 {
            return Ok(Step::Done(models));
        }
        // Counted when those that were there already have been told apart.
        let all = Entity::find().filter(Column::TripId.eq(self.trip)).count(tx).await?;
        if all > limits::TRIP_POINTS {
            let message = format!("a trip may have {} points", limits::TRIP_POINTS);
            return Err(Error::new(Code::Limit, message).into());
        }
        // What is shown of the trip changed, though none of its rows did.
        let sender = Sender { account: self.account, device: None };
        let mut world = World::empty(sender, held.now, &seen);
        world.scopes = held.scopes;
        let plan = plan_nudge(world, [self.trip]);
        match write(tx, sender, held.now, &plan, &[self.trip]).await? {
            true => Ok(Step::Done(models)),
            false => Ok(Step::Again),
        }
    }
}
