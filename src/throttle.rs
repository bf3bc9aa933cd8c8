//! Limits on how often one caller may do something: the generic cell rate algorithm, by the crate
//! governor, in this process's memory.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use uuid::Uuid;

use crate::error::Error;

/// How often each account may do one thing.
pub struct Throttle {
    limiter: DefaultKeyedRateLimiter<Uuid>,
}

impl Throttle {
    /// As many as `burst` at once, and one more each `period`.
    pub fn new(burst: NonZeroU32, period: Duration) -> Throttle {
        // A period of zero would be no limit; the limits are constants, and have one.
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst));
        Throttle { limiter: DefaultKeyedRateLimiter::keyed(quota.allow_burst(burst)) }
    }

    /// Counts one. RATE_LIMITED, with the seconds to wait, where it is one too many.
    pub fn check(&self, account: Uuid) -> Result<(), Error> {
        // What is forgotten is as good as new, so this frees memory and nothing else.
        if self.limiter.len() > KEYS {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&account).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Error::rate_limited(wait.as_secs() + 1)
        })
    }
}

/// Accounts that are remembered before those that have long been quiet are forgotten.
const KEYS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn one_too_many_is_told_when_to_come_back_and_nobody_else_is_held_up() {
        let throttle = Throttle::new(NonZeroU32::new(3).expect("3"), Duration::from_secs(60));
        let [ada, bob] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for _ in 0..3 {
            throttle.check(ada).expect("within the burst");
        }
        let error = throttle.check(ada).expect_err("one too many");
        assert_eq!(error.code, Code::RateLimited);
        assert!((1..=61).contains(&error.retry_after.expect("when to come back")));
        throttle.check(bob).expect("another account");
    }
}
