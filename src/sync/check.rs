//! Verifies every invariant of a database, scope by scope. For the operator (`cairn check`), and at
//! the end of every integration test.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use entity::Millis;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::conflict::Conflict;
use super::row::{Key, Revision, Row};
use super::{ConflictStatus, Role, store};
use crate::db::{self, Db};
use crate::error::Error;
use crate::kinds::{self, EntityType, Home};

/// Everything that is wrong, a sentence each. Meant for a database at rest: a push in the middle of
/// the check can look like damage.
pub async fn check(db: &Db, retention: Duration) -> Result<Vec<String>, Error> {
    let now = db::now(db.pool()).await?;
    let mut checker = Checker {
        db,
        remembered: now - retention.as_millis() as Millis,
        conflicts: HashMap::new(),
        problems: Vec::new(),
    };
    checker.conflicts().await?;
    checker.receipts().await?;
    let scopes = entity::scope::Entity::find()
        .order_by_asc(entity::scope::Column::No)
        .all(db.pool())
        .await?;
    let known: HashSet<Uuid> = scopes.iter().map(|scope| scope.id).collect();
    for scope in scopes {
        checker.scope(&scope).await?;
    }
    for kind in kinds::all() {
        let all = store::select(kind);
        for row in store::rows_of(db.pool(), kind, &all).await? {
            if !known.contains(&row.scope) {
                checker.problem(format!(
                    "{} lies in scope {}, which is none",
                    show(row.key()),
                    row.scope
                ));
            }
        }
    }
    Ok(checker.problems)
}

struct Checker<'a> {
    db: &'a Db,
    /// What is younger than this is still remembered.
    remembered: Millis,
    conflicts: HashMap<Uuid, Conflict>,
    problems: Vec<String>,
}

fn show(key: Key) -> String {
    format!("{} {}", key.0.name(), key.1)
}

impl Checker<'_> {
    fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.problem(what());
        }
    }

    async fn conflicts(&mut self) -> Result<(), Error> {
        for model in entity::conflict::Entity::find().all(self.db.pool()).await? {
            let id = model.id;
            let says = model.status.clone();
            match store::read_conflict(model) {
                Err(error) => self.problem(format!("conflict {id} cannot be read: {error}")),
                Ok(conflict) => {
                    self.expect(says == conflict.status().name(), || {
                        format!("conflict {id} says {says}, but its resolution says otherwise")
                    });
                    self.conflicts.insert(id, conflict);
                }
            }
        }
        let mut told: HashSet<Uuid> = HashSet::new();
        for edit in entity::conflict_edit::Entity::find().all(self.db.pool()).await? {
            told.insert(edit.conflict_id);
            let known = self.conflicts.contains_key(&edit.conflict_id);
            self.expect(known || edit.at < self.remembered, || {
                format!("an edit belongs to conflict {}, which is not there", edit.conflict_id)
            });
        }
        let untold: Vec<Uuid> =
            self.conflicts.keys().filter(|id| !told.contains(id)).copied().collect();
        for id in untold {
            self.problem(format!("conflict {id} has no edit in its story"));
        }
        Ok(())
    }

    async fn receipts(&mut self) -> Result<(), Error> {
        for receipt in entity::receipt::Entity::find().all(self.db.pool()).await? {
            let known = receipt.conflict_id.is_none_or(|id| self.conflicts.contains_key(&id));
            self.expect(known, || {
                format!("receipt {} names a conflict that is not there", receipt.operation_id)
            });
            self.expect(EntityType::from_name(&receipt.kind).is_some(), || {
                format!("receipt {} names no kind", receipt.operation_id)
            });
        }
        Ok(())
    }

    async fn scope(&mut self, scope: &entity::scope::Model) -> Result<(), Error> {
        let mut rows: HashMap<Key, Row> = HashMap::new();
        for kind in kinds::all() {
            for row in store::rows_where(self.db.pool(), kind, "scope_id", &[scope.id]).await? {
                rows.insert(row.key(), row);
            }
        }
        self.members(scope, rows.is_empty()).await?;
        self.ticks(scope).await?;
        self.seqs(scope, &rows);
        for row in rows.values() {
            self.content(row);
            self.place(scope, row, &rows);
            self.conflict_of(row);
        }
        self.revisions(&rows).await?;
        self.deletions(scope, &rows).await?;
        self.links(&rows).await?;
        let open: Vec<(Uuid, Key)> = self
            .conflicts
            .values()
            .filter(|c| c.scope == scope.id && c.status() == ConflictStatus::Open)
            .map(|c| (c.id, c.key))
            .collect();
        for (id, key) in open {
            let says = rows.get(&key).map(|row| row.conflict);
            self.expect(says.is_none_or(|conflict| conflict == Some(id)), || {
                format!("conflict {id} is open, but {} does not say so", show(key))
            });
        }
        Ok(())
    }

    async fn members(&mut self, scope: &entity::scope::Model, empty: bool) -> Result<(), Error> {
        use entity::membership::{Column, Entity};
        let members =
            Entity::find().filter(Column::ScopeId.eq(scope.id)).all(self.db.pool()).await?;
        let owners = members
            .iter()
            .filter(|member| member.removed_at.is_none() && member.role == Role::Owner.name())
            .count();
        // The owner of a trip of which nothing is left may be gone.
        self.expect(owners == 1 || (owners == 0 && empty), || {
            format!("scope {} has {owners} owners", scope.id)
        });
        for member in members {
            let ended = member.until_seq.is_some();
            self.expect(ended == member.removed_at.is_some(), || {
                format!("the membership of {} in {} has half ended", member.account_id, scope.id)
            });
            self.expect(member.until_seq.is_none_or(|until| until <= scope.head), || {
                format!(
                    "the membership of {} in {} ended later than the head",
                    member.account_id, scope.id
                )
            });
        }
        Ok(())
    }

    async fn ticks(&mut self, scope: &entity::scope::Model) -> Result<(), Error> {
        use entity::tick::{Column, Entity};
        let ticks = Entity::find()
            .filter(Column::ScopeId.eq(scope.id))
            .order_by_asc(Column::Seq)
            .all(self.db.pool())
            .await?;
        self.expect(ticks.is_sorted_by_key(|tick| tick.at), || {
            format!("the ticks of scope {} fall", scope.id)
        });
        if scope.head > 0 {
            self.expect(ticks.last().is_some_and(|tick| tick.seq == scope.head), || {
                format!("the last tick of scope {} is not its head", scope.id)
            });
        }
        Ok(())
    }

    fn seqs(&mut self, scope: &entity::scope::Model, rows: &HashMap<Key, Row>) {
        let mut taken: BTreeMap<i64, Key> = BTreeMap::new();
        for row in rows.values() {
            let key = row.key();
            self.expect(1 <= row.entered_seq && row.entered_seq <= row.seq, || {
                format!("{} entered at {} and is at {}", show(key), row.entered_seq, row.seq)
            });
            self.expect(row.seq <= scope.head, || {
                format!("{} has seq {}, beyond the head {}", show(key), row.seq, scope.head)
            });
            if let Some(other) = taken.insert(row.seq, key) {
                self.problem(format!("{} and {} share seq {}", show(key), show(other), row.seq));
            }
        }
        self.expect(scope.floor <= scope.head, || {
            format!("scope {} has its floor above its head", scope.id)
        });
    }

    fn content(&mut self, row: &Row) {
        let key = row.key();
        for (field, value) in row.kind().fields.iter().zip(&row.content.values) {
            let json = value.to_json(field.choices());
            let taken = if value.is_null() && field.nullable {
                Ok(value.clone())
            } else {
                field.take(&json)
            };
            self.expect(taken.as_ref() == Ok(value), || {
                format!("{}: {} holds what it should not", show(key), field.name)
            });
        }
        if row.is_live() {
            if let Err(invalid) = (row.kind().check)(&row.content) {
                self.problem(format!("{}: {}", show(key), invalid.0));
            }
        } else {
            self.expect(row.deleted_root.is_some(), || {
                format!("{} is deleted, but not by anything", show(key))
            });
        }
        self.expect(row.version >= 1, || format!("{} has version {}", show(key), row.version));
        for (field, version) in &row.field_versions {
            self.expect((2..=row.version).contains(version), || {
                format!(
                    "{}: {} was changed by version {version}",
                    show(key),
                    row.kind().fields[*field].name
                )
            });
        }
    }

    fn place(&mut self, scope: &entity::scope::Model, row: &Row, rows: &HashMap<Key, Row>) {
        let key = row.key();
        match row.kind().home {
            Home::Account => self.expect(row.created_by == scope.id, || {
                format!("{} does not lie in its owner's scope", show(key))
            }),
            Home::Itself => self.expect(row.id == scope.id, || {
                format!("{} does not lie in its own scope", show(key))
            }),
            Home::Parent(_) => {}
        }
        if !row.is_live() {
            return;
        }
        for (field, parent) in row.kind().parents() {
            let Some(id) = row.parent(field) else { continue };
            let found = rows.get(&(parent, id));
            self.expect(found.is_some_and(Row::is_live), || {
                format!("{} hangs on {}, which is not there", show(key), show((parent, id)))
            });
        }
    }

    fn conflict_of(&mut self, row: &Row) {
        let Some(id) = row.conflict else { return };
        let key = row.key();
        let fits = self.conflicts.get(&id).is_some_and(|c| {
            c.status() == ConflictStatus::Open && c.key == key && c.scope == row.scope
        });
        self.expect(fits, || {
            format!("{} names conflict {id}, which is not its open one", show(key))
        });
    }

    async fn revisions(&mut self, rows: &HashMap<Key, Row>) -> Result<(), Error> {
        let ids: Vec<Uuid> = rows.keys().map(|(_, id)| *id).collect();
        let revisions: HashMap<Key, Vec<Revision>> =
            store::revisions(self.db.pool(), &ids, 0).await?;
        for (key, row) in rows {
            let kept = revisions.get(key).map(Vec::as_slice).unwrap_or_default();
            match kept.last() {
                None => self.expect(row.updated_at < self.remembered, || {
                    format!("{} has no revisions", show(*key))
                }),
                Some(last) => self.expect(last.version == row.version, || {
                    format!(
                        "{} has version {}, but its last revision is {}",
                        show(*key),
                        row.version,
                        last.version
                    )
                }),
            }
            let gapless = kept.windows(2).all(|pair| pair[1].version == pair[0].version + 1);
            self.expect(gapless, || format!("the revisions of {} have a gap", show(*key)));
            for (field, version) in &row.field_versions {
                let wrote = kept.iter().find(|revision| revision.version == *version);
                self.expect(wrote.is_none_or(|revision| revision.wrote(*field)), || {
                    format!(
                        "{}: version {version} is said to have changed {}, its revision says no",
                        show(*key),
                        row.kind().fields[*field].name
                    )
                });
            }
        }
        Ok(())
    }

    async fn deletions(
        &mut self,
        scope: &entity::scope::Model,
        rows: &HashMap<Key, Row>,
    ) -> Result<(), Error> {
        use entity::deletion::{Column, Entity};
        let log = Entity::find().filter(Column::ScopeId.eq(scope.id)).all(self.db.pool()).await?;
        let mut logged: HashMap<Key, i64> = HashMap::new();
        for entry in log {
            let Some(entity_type) = EntityType::from_name(&entry.kind) else {
                self.problem(format!("the deletion log names no kind: {}", entry.kind));
                continue;
            };
            let key = (entity_type, entry.entity_id);
            logged.insert(key, entry.seq);
            self.expect(entry.seq <= scope.head && entry.entered_seq <= entry.seq, || {
                format!("the deletion of {} has impossible seqs", show(key))
            });
            match rows.get(&key) {
                Some(row) => {
                    self.expect(!row.is_live(), || {
                        format!("{} is in the deletion log of the scope that it lies in", show(key))
                    });
                    self.expect(row.seq == entry.seq, || {
                        format!("{} and its deletion differ in seq", show(key))
                    });
                }
                None => {
                    let elsewhere =
                        store::rows_by_id(self.db.pool(), entity_type.kind(), &[key.1]).await?;
                    let buried = entity::buried::Entity::find()
                        .filter(Expr::col(entity::buried::Column::EntityId).eq(key.1))
                        .all(self.db.pool())
                        .await?;
                    self.expect(!elsewhere.is_empty() || !buried.is_empty(), || {
                        format!("{} was deleted, and its id is forgotten", show(key))
                    });
                }
            }
        }
        for (key, row) in rows {
            if !row.is_live() {
                self.expect(logged.contains_key(key) || row.seq <= scope.floor, || {
                    format!("{} is deleted, but not in the deletion log", show(*key))
                });
            }
        }
        Ok(())
    }

    async fn links(&mut self, rows: &HashMap<Key, Row>) -> Result<(), Error> {
        use entity::link::{Column, Entity};
        let ids: Vec<Uuid> = rows
            .values()
            .filter(|row| row.kind().refs().next().is_some())
            .map(|row| row.id)
            .collect();
        let mut stored: HashMap<(String, Uuid), BTreeSet<Uuid>> = HashMap::new();
        for among in store::in_lists(self.db.pool(), Column::SourceId, &ids) {
            for link in Entity::find().filter(among).all(self.db.pool()).await? {
                stored.entry((link.kind, link.source_id)).or_default().insert(link.target_id);
            }
        }
        for row in rows.values() {
            let mut carried: BTreeSet<Uuid> = BTreeSet::new();
            for (field, target) in row.kind().refs().filter(|_| row.is_live()) {
                let ids = row.content.values[field].as_ids();
                carried.extend(ids);
                let found = store::rows_by_id(self.db.pool(), target.kind(), ids).await?;
                let live = found.iter().filter(|row| row.is_live()).count();
                self.expect(live == ids.len(), || {
                    format!("{} carries a {} that is not there", show(row.key()), target.name())
                });
            }
            if row.kind().refs().next().is_some() {
                let source = (row.entity_type().name().to_owned(), row.id);
                let stored = stored.remove(&source).unwrap_or_default();
                self.expect(stored == carried, || {
                    format!("the links of {} are not what it carries", show(row.key()))
                });
            }
        }
        Ok(())
    }
}
