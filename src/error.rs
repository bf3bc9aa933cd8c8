//! The one error that leaves the server: a code for programs, a sentence for people. The cause, if
//! there is one, is logged where the error is made and goes no further.

use std::fmt;

use sea_orm::DbErr;
use serde_json::Value as Json;
use uuid::Uuid;

/// What kind of error it is, for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Unauthenticated,
    Forbidden,
    NotFound,
    BadUserInput,
    ConflictAlreadyResolved,
    InvalidCursor,
    ResyncRequired,
    Limit,
    RateLimited,
    Unavailable,
    Internal,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::BadUserInput => "BAD_USER_INPUT",
            Code::ConflictAlreadyResolved => "CONFLICT_ALREADY_RESOLVED",
            Code::InvalidCursor => "INVALID_CURSOR",
            Code::ResyncRequired => "RESYNC_REQUIRED",
            Code::Limit => "LIMIT",
            Code::RateLimited => "RATE_LIMITED",
            Code::Unavailable => "UNAVAILABLE",
            Code::Internal => "INTERNAL",
        }
    }
}

/// Why a device has to start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResyncReason {
    /// The database was restored from a backup, or replaced.
    Epoch,
    /// The device was away longer than deletions are remembered.
    BelowFloor,
    /// The cursor has seen more than this database ever held.
    Ahead,
    /// The cursor belongs to another filter.
    FilterChanged,
    /// The cursor belongs to another user.
    OtherUser,
}

impl ResyncReason {
    pub fn name(self) -> &'static str {
        match self {
            ResyncReason::Epoch => "EPOCH",
            ResyncReason::BelowFloor => "BELOW_FLOOR",
            ResyncReason::Ahead => "AHEAD",
            ResyncReason::FilterChanged => "FILTER_CHANGED",
            ResyncReason::OtherUser => "OTHER_USER",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            ResyncReason::Epoch => "the server's data was restored since this cursor was made",
            ResyncReason::BelowFloor => {
                "this cursor is older than the deletions that the server remembers"
            }
            ResyncReason::Ahead => "this cursor has seen more than the server holds",
            ResyncReason::FilterChanged => "this cursor belongs to another filter",
            ResyncReason::OtherUser => "this cursor belongs to another user",
        }
    }
}

/// A public error. What it says is safe to show to anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
    pub reason: Option<ResyncReason>,
    /// Seconds to wait before trying again.
    pub retry_after: Option<u64>,
    /// What else a program should know, with the name under which it stands in the extensions.
    pub details: Option<(&'static str, Json)>,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), reason: None, retry_after: None, details: None }
    }

    pub fn bad_input(message: impl Into<String>) -> Error {
        Error::new(Code::BadUserInput, message)
    }

    pub fn unauthenticated() -> Error {
        Error::new(Code::Unauthenticated, "log in, and send the token as `Authorization: Bearer …`")
    }

    pub fn resync(reason: ResyncReason) -> Error {
        Error {
            code: Code::ResyncRequired,
            message: format!(
                "{}; keep unsent edits, drop the cursor and pull from the beginning",
                reason.sentence()
            ),
            reason: Some(reason),
            retry_after: None,
            details: None,
        }
    }

    pub fn rate_limited(seconds: u64) -> Error {
        Error {
            retry_after: Some(seconds),
            ..Error::new(Code::RateLimited, format!("too often; try again in {seconds} s"))
        }
    }

    /// For whom there is no room at the moment.
    pub fn overloaded(seconds: u64) -> Error {
        Error { retry_after: Some(seconds), ..Error::unavailable() }
    }

    pub fn unavailable() -> Error {
        Error::new(Code::Unavailable, "the server is too busy; try again in a moment")
    }

    /// As the GraphQL library writes it, where no field could have it.
    pub fn into_server_error(self) -> async_graphql::ServerError {
        let error: async_graphql::Error = self.into();
        error.into_server_error(async_graphql::Pos::default())
    }

    /// For what should not happen. The cause goes to the log, never to the client.
    pub fn internal(cause: impl fmt::Display) -> Error {
        tracing::error!(%cause, "internal error");
        Error::new(Code::Internal, "something went wrong on the server; it has been logged")
    }
}

/// 1 to 10 seconds: those who are turned away together are not to come back together.
pub fn spread() -> u64 {
    1 + Uuid::new_v4().as_u64_pair().0 % 10
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Error {
        if crate::db::is_busy(&error) {
            tracing::warn!(cause = %error, "the database is busy or away");
            return Error::unavailable();
        }
        Error::internal(error)
    }
}
