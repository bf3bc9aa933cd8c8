//! Limits on how often one caller may do something: the generic cell rate algorithm, by the crate
//! governor, in this process's memory.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use uuid::Uuid;

use crate::error::{Code, Error};

/// How often each account, or whatever else the key names, may do one thing.
pub struct Throttle<K: Clone + Eq + Hash = Uuid> {
    /// None: as often as it likes.
    limiter: Option<DefaultKeyedRateLimiter<K>>,
}

/// The limits that settings name.
pub struct Throttles {
    /// Attempts to log in, or to tell a password otherwise, by the account's email address.
    pub passwords: Throttle<String>,
    /// Logins and registrations, by the client's address.
    pub logins_from: Throttle<IpAddr>,
    /// Mutations, by the account.
    pub writes: Throttle,
    /// Mutations, by the client's address.
    pub writes_from: Throttle<IpAddr>,
}

impl<K: Clone + Eq + Hash> Throttle<K> {
    /// As many as `burst` at once, and one more each `period`.
    pub fn new(burst: NonZeroU32, period: Duration) -> Throttle<K> {
        // A period of zero would be no limit; the limits are constants, and have one.
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst));
        Throttle { limiter: Some(DefaultKeyedRateLimiter::keyed(quota.allow_burst(burst))) }
    }

    /// So many a minute, all of them at once if need be. 0: no limit.
    pub fn per_minute(count: u32) -> Throttle<K> {
        match NonZeroU32::new(count) {
            Some(count) => Throttle::new(count, Duration::from_secs(60) / count.get()),
            None => Throttle { limiter: None },
        }
    }

    /// Counts one. RATE_LIMITED, with the seconds to wait, where it is one too many.
    pub fn check(&self, key: &K) -> Result<(), Error> {
        self.check_many(key, NonZeroU32::MIN)
    }

    /// Counts several, or none of them. LIMIT where they would be too many at any time.
    pub fn check_many(&self, key: &K, count: NonZeroU32) -> Result<(), Error> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        // What is forgotten is as good as new, so this frees memory and nothing else.
        if limiter.len() > KEYS {
            limiter.retain_recent();
        }
        let checked = limiter.check_key_n(key, count).map_err(|most| {
            let message = format!("{count} at once, where {} may be; send them in parts", most.0);
            Error::new(Code::Limit, message)
        })?;
        checked.map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Error::rate_limited(wait.as_secs() + 1)
        })
    }
}

/// Keys that are remembered before those that have long been quiet are forgotten.
const KEYS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_told_when_to_come_back_and_nobody_else_is_held_up() {
        let throttle = Throttle::new(NonZeroU32::new(3).expect("3"), Duration::from_secs(60));
        let [ada, bob] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for _ in 0..3 {
            throttle.check(&ada).expect("within the burst");
        }
        let error = throttle.check(&ada).expect_err("one too many");
        assert_eq!(error.code, Code::RateLimited);
        assert!((1..=61).contains(&error.retry_after.expect("when to come back")));
        let two = NonZeroU32::new(2).expect("2");
        throttle.check_many(&bob, two).expect("another account");
        assert_eq!(throttle.check_many(&bob, two).expect_err("too many").code, Code::RateLimited);
        throttle.check(&bob).expect("none of those counted");
        let four = NonZeroU32::new(4).expect("4");
        assert_eq!(throttle.check_many(&ada, four).expect_err("never").code, Code::Limit);
        let none = Throttle::per_minute(0);
        for _ in 0..1_000 {
            none.check(&ada).expect("no limit");
        }
    }
}
