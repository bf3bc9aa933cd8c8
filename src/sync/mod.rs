//! The engine. What happens to a batch of changes ([`push`]), and what a device gets when it asks
//! what is new ([`pull`]).
//!
//! The core is pure: [`change`] reads items, [`decide`] gives one change its verdict, [`plan`] folds
//! a batch over what the database holds, [`cursor`] is what a device has seen. None of them knows a
//! database, a clock or randomness. The shell around it reads, locks and writes, set by set.

pub mod bury;
pub mod change;
pub mod check;
pub mod conflict;
pub mod cursor;
pub mod decide;
pub mod erase;
pub mod file;
pub mod gc;
pub mod inbox;
pub mod merge;
pub mod plan;
pub mod policy;
pub mod pull;
pub mod push;
pub mod range;
pub mod read;
pub mod resolution;
pub mod resolve;
pub mod restore;
pub mod room;
pub mod route;
pub mod row;
pub mod scope;
pub mod search;
pub mod share;
pub mod store;
pub mod transaction;

use uuid::Uuid;

/// An enum that has one name for each value, the same in SQL and GraphQL.
macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $value:ident = $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum { $($(#[$vdoc])* $value),* }

        impl $enum {
            pub const ALL: &'static [$enum] = &[$($enum::$value),*];

            pub fn name(self) -> &'static str {
                match self { $($enum::$value => $name),* }
            }

            pub fn from_name(name: &str) -> Option<$enum> {
                $enum::ALL.iter().copied().find(|value| value.name() == name)
            }
        }
    };
}

named! {
    /// What a change wants.
    Operation { Create = "CREATE", Update = "UPDATE", Delete = "DELETE" }
}

named! {
    /// A row's state for devices.
    Status {
        InSync = "IN_SYNC",
        NeedsUpload = "NEEDS_UPLOAD",
        NeedsDownload = "NEEDS_DOWNLOAD",
        Uploading = "UPLOADING",
        Downloading = "DOWNLOADING",
        SyncError = "SYNC_ERROR",
        FilesPending = "FILES_PENDING",
        Conflict = "CONFLICT",
    }
}

named! {
    /// Why two edits could not both stand.
    ConflictType {
        VersionMismatch = "VERSION_MISMATCH",
        ConcurrentModification = "CONCURRENT_MODIFICATION",
        Dependency = "DEPENDENCY_CONFLICT",
        Deletion = "DELETION_CONFLICT",
    }
}

named! {
    /// How a conflict is, or was, resolved.
    Strategy {
        LastWriteWins = "LAST_WRITE_WINS",
        FirstWriteWins = "FIRST_WRITE_WINS",
        Manual = "MANUAL_RESOLUTION",
        KeepBoth = "KEEP_BOTH",
        FieldMerge = "FIELD_MERGE",
    }
}

named! {
    /// Whether someone still has to decide.
    ConflictStatus { Open = "OPEN", Resolved = "RESOLVED" }
}

named! {
    /// What a member may do in a scope; each may all that the ones before it may.
    Role { Viewer = "VIEWER", Editor = "EDITOR", Owner = "OWNER" }
}

named! {
    /// Why a change failed, for a program.
    ErrorCode {
        /// A field is missing, malformed or out of range.
        Validation = "VALIDATION",
        /// Nothing there that the caller may see.
        NotFound = "NOT_FOUND",
        /// Seen, but the caller's role may not change it.
        Forbidden = "FORBIDDEN",
        /// What it refers to failed or was skipped in this batch.
        Dependency = "DEPENDENCY",
        /// Claims a version that the server never issued.
        VersionAhead = "VERSION_AHEAD",
        /// clientTimestamp too far in the future.
        ClockSkew = "CLOCK_SKEW",
        /// Same operationId, other content.
        OperationReused = "OPERATION_REUSED",
        Limit = "LIMIT",
    }
}

/// Who sends a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub account: Uuid,
    /// None: not said. Such a sender is never taken for the same device as another.
    pub device: Option<Uuid>,
}

named! {
    /// How soon devices should have a row; the order of `kinds::PRIORITIES`.
    Priority { Low = "LOW", Normal = "NORMAL", High = "HIGH", Critical = "CRITICAL" }
}
