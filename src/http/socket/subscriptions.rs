//! The subscriptions of one socket.

use std::future::poll_fn;
use std::task::Poll;

use async_graphql::Response;
use futures_util::stream::{BoxStream, StreamExt};

/// Few, so that a list will do.
#[derive(Default)]
pub struct Subscriptions {
    running: Vec<(Box<str>, BoxStream<'static, Response>)>,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn has(&self, id: &str) -> bool {
        self.running.iter().any(|(running, _)| **running == *id)
    }

    pub fn add(&mut self, id: &str, answers: BoxStream<'static, Response>) {
        self.running.push((id.into(), answers));
    }

    /// Ends one, if it runs.
    pub fn remove(&mut self, id: &str) {
        self.running.retain(|(running, _)| **running != *id);
    }

    /// The next answer of any of them. None: it has ended, and is removed. Without any, this waits for
    /// ever. Nothing is lost if it is dropped.
    pub async fn next(&mut self) -> (Box<str>, Option<Response>) {
        poll_fn(|context| {
            for at in 0..self.running.len() {
                let Poll::Ready(answer) = self.running[at].1.poll_next_unpin(context) else {
                    continue;
                };
                // The others have their turn first.
                self.running.rotate_left(at + 1);
                let id = match &answer {
                    Some(_) => self.running.last().map(|(id, _)| id.clone()),
                    None => self.running.pop().map(|(id, _)| id),
                };
                // There is one: it has just been polled.
                return Poll::Ready((id.unwrap_or_default(), answer));
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::Value;
    use futures_util::{FutureExt, stream};

    use super::*;

    fn answers(count: usize) -> BoxStream<'static, Response> {
        stream::iter((0..count).map(|number| Response::new(Value::from(number)))).boxed()
    }

    #[tokio::test]
    async fn they_take_turns_and_end_one_by_one() {
        let mut all = Subscriptions::default();
        all.add("a", answers(2));
        all.add("b", answers(1));
        all.add("silent", stream::pending().boxed());
        let mut told = Vec::new();
        for _ in 0..5 {
            let (id, answer) = all.next().await;
            told.push((id.to_string(), answer.map(|answer| answer.data.to_string())));
        }
        let said = |id: &str, answer: Option<&str>| (id.to_owned(), answer.map(str::to_owned));
        assert_eq!(
            told,
            [
                said("a", Some("0")),
                said("b", Some("0")),
                said("a", Some("1")),
                said("b", None),
                said("a", None),
            ]
        );
        assert!(all.has("silent") && all.len() == 1);
        assert!(all.next().now_or_never().is_none());
        all.remove("silent");
        assert_eq!(all.len(), 0);
    }
}
