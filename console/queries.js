// What the page asks the server.

export const LOGIN = `mutation($input: UserInput!) { login(input: $input) { token } }`;

export const LOGOUT = `mutation { logout }`;

/** Who is there. */
export const ME = `{ getCurrentUser { displayName } }`;

/** What the list can be narrowed to. */
export const NARROW = `{ devices { id } trips { id name } }`;

/** What a list shows of a conflict. */
const SUMMARY = `
  id entityType entityId conflictType operation status timestamp title tripId tripName deviceId
  currentVersion conflictedFields strategies
  editedBy { id displayName }
  resolution { strategy resolvedAt person { id displayName } }`;

const FILTER = `$entityType: EntityType, $status: ConflictStatus, $tripId: ID, $deviceId: ID`;
const FILTERED = `entityType: $entityType, status: $status, tripId: $tripId, deviceId: $deviceId`;

export const INBOX = `query(${FILTER}, $limit: Int, $cursor: String) {
  conflictInbox(${FILTERED}, limit: $limit, cursor: $cursor) {
    conflicts { ${SUMMARY} }
    nextCursor totalCount
    counts { entityType status count }
  }
}`;

/** What tells whether the list is another one; cheap, as it is asked again and again. */
export const INBOX_MARK = `query(${FILTER}) {
  conflictInbox(${FILTERED}, limit: 1) {
    conflicts { id currentVersion }
    totalCount
    counts { entityType status count }
  }
}`;

const DETAIL = `
  ${SUMMARY}
  localVersion remoteVersion localData remoteData baseData currentData mergedData
  serverBy { id displayName } serverDeviceId
  edits { person { displayName } deviceId operation data clientTimestamp timestamp }
  names { entityType id name }
  resolution { resolvedData copyId }
  undone { strategy resolvedAt resolvedBy { displayName } undoneAt undoneBy { displayName } }`;

export const CONFLICT = `query($id: ID!) { conflict(id: $id) { ${DETAIL} } }`;

/** What tells whether a conflict is as it was. */
export const CONFLICT_MARK = `query($id: ID!) {
  conflict(id: $id) { status currentVersion edits { timestamp } strategies }
}`;

export const HISTORY = `query($entityType: EntityType!, $id: ID!, $limit: Int, $before: Int) {
  history(entityType: $entityType, id: $id, limit: $limit, before: $before) {
    version operation person { displayName } deviceId timestamp oldData newData
  }
}`;

export const RESOLVE = `mutation($id: ID!, $strategy: ConflictResolutionStrategy!, $data: String) {
  resolveConflict(conflictId: $id, strategy: $strategy, resolvedData: $data) { conflictId }
}`;

export const RESOLVE_MANY = `mutation($ids: [ID!]!, $strategy: ConflictResolutionStrategy!) {
  resolveConflicts(conflictIds: $ids, strategy: $strategy) { conflictId }
}`;

export const UNDO = `mutation($id: ID!) { undoResolution(conflictId: $id) { id status } }`;
