//! `syncAvailable`: pokes as a subscription.

use async_graphql::{Context, Result, SimpleObject, Subscription};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use super::types::DateTime;
use super::{caller, public, services};
use crate::admission::Requester;
use crate::config::limits;
use crate::error::{Code, Error};
use crate::poke::Marks;
use crate::sync::pull;

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
        // Given by the socket that it comes by.
        let Ok(mut marks) = ctx.data::<Marks>().cloned() else {
            let message = "subscribe by the protocol graphql-transport-ws";
            return Err(public(Error::bad_input(message)));
        };
        // From here on every poke is noted; what was committed before is found by the cursor.
        marks.take();
        let services = services(ctx)?;
        let cursor = match cursor.map(|text| services.sealer.open(&text, account)).transpose() {
            // It cannot be continued: the pull says why.
            Err(error) if error.code == Code::ResyncRequired => None,
            opened => opened?,
        };
        // What is over soon does not take room for as long as the subscription is there.
        let at_once = Box::pin(async {
            let _place = services.admission.enter(Requester::Account(account)).await?;
            pull::is_behind(&services.db, account, cursor.as_ref()).await
        });
        let at_once = at_once.await?;
        let not_before = at_once.map(|_| Instant::now() + limits::POKE_EVERY);
        let later = stream::unfold((marks, not_before), async |(mut marks, not_before)| {
            marks.wait().await;
            if let Some(not_before) = not_before {
                sleep_until(not_before).await;
            }
            // All that came meanwhile is this one poke.
            let at = marks.take();
            Some((at, (marks, Some(Instant::now() + limits::POKE_EVERY))))
        });
        let poke = |at| SyncPoke { server_timestamp: DateTime(at) };
        Ok(stream::iter(at_once).chain(later).map(poke))
    }
}
