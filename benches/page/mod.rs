//! The page that benches pull: all fields of a memory that devices ask for.

pub const PULL: &str = "
    query Pull {
        enhancedSync(batchSize: 1000) {
            trips { id name startDate syncVersion }
            memories {
                id syncPriority tripId title content date latitude longitude address weatherJSON
                tagIds userId createdAt updatedAt lastSyncAttempt syncErrorMessage syncVersion
                isDirty needsSync syncStatus
            }
            deleted { trips memories }
            hasMore nextCursor totalCount serverTimestamp
        }
    }";
