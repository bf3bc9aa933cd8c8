//! `syncAvailable`: pokes as a subscription.

use async_graphql::{Context, Result, SimpleObject, Subscription};
use entity::Millis;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::types::DateTime;
use super::{caller, public, services};
use crate::admission::Requester;
use crate::config::limits;
use crate::error::{Code, Error};
use crate::sync::pull;

/// The account's pokes, given to a subscription by the socket that it comes by.
#[derive(Clone)]
pub struct Marks(pub watch::Receiver<Millis>);

/// Something newer exists.
#[derive(SimpleObject)]
pub struct SyncPoke {
    /// When the server noticed. What was committed before is there to be pulled.
    server_timestamp: DateTime,
}

#[derive(Default)]
pub struct Subscription;

#[Subscription]
impl Subscription {
    /// Tells that there is something newer than the cursor: pull. Never data, and at most one a second.
    /// Without a cursor, and with one that is behind, the first comes at once.
    async fn sync_available(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "nextCursor of the last pull.")] cursor: Option<String>,
    ) -> Result<impl Stream<Item = SyncPoke> + use<>> {
        let account = caller(ctx)?.account;
        let Ok(Marks(mut marks)) = ctx.data::<Marks>().cloned() else {
            let message = "subscribe by the protocol graphql-transport-ws";
            return Err(public(Error::bad_input(message)));
        };
        // From here on every poke is noted; what was committed before is found by the cursor.
        marks.mark_unchanged();
        let services = services(ctx)?;
        let cursor = match cursor.map(|text| services.sealer.open(&text, account)).transpose() {
            // It cannot be continued: the pull says why.
            Err(error) if error.code == Code::ResyncRequired => None,
            opened => opened?,
        };
        let place = services.admission.enter(Requester::Account(account)).await?;
        let at_once = pull::is_behind(&services.db, account, cursor.as_ref()).await?;
        drop(place);
        let not_before = at_once.map(|_| Instant::now() + limits::POKE_EVERY);
        let later = stream::unfold((marks, not_before), async |(mut marks, not_before)| {
            // An error: the socket is gone.
            marks.changed().await.ok()?;
            if let Some(not_before) = not_before {
                sleep_until(not_before).await;
            }
            // All that came meanwhile is this one poke.
            let at = *marks.borrow_and_update();
            Some((at, (marks, Some(Instant::now() + limits::POKE_EVERY))))
        });
        let poke = |at| SyncPoke { server_timestamp: DateTime(at) };
        Ok(stream::iter(at_once).chain(later).map(poke))
    }
}
