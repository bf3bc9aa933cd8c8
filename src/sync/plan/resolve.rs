//! Decisions about open conflicts, and taking them back. A decision is a write like any other: it
//! gives rows new versions, and all devices get it.

use super::*;
use crate::sync::merge;
use crate::sync::resolution::{self, Case, Manual, Wish};

/// What someone decides about a conflict.
#[derive(Clone, Debug)]
pub struct Resolving {
    pub conflict: Uuid,
    pub strategy: Strategy,
    /// Given, and needed, for `MANUAL_RESOLUTION`.
    pub manual: Option<Manual>,
}

/// Why one of several conflicts cannot be decided like that.
#[derive(Clone, Debug, PartialEq)]
pub struct Unresolved {
    pub conflict: Uuid,
    pub refusal: Refusal,
}

/// Decides conflicts, parents first. An error names the first that cannot be decided like that, and
/// then nothing counts.
pub fn plan_resolutions(world: World, mut decisions: Vec<Resolving>) -> Result<Plan, Unresolved> {
    let mut planner = Planner::new(world);
    planner.is_resolution = true;
    let place: HashMap<Uuid, Key> =
        planner.world.open.iter().map(|(key, (conflict, _))| (conflict.id, *key)).collect();
    decisions.sort_by_key(|decision| place.get(&decision.conflict).copied());
    for decision in decisions {
        let conflict = decision.conflict;
        planner.resolve(decision).map_err(|refusal| Unresolved { conflict, refusal })?;
    }
    Ok(planner.finish())
}

/// Takes a resolution back: the rows go back as far as nobody has changed them since, and the
/// conflict is open again.
pub fn plan_undo(world: World, conflict: Conflict) -> Result<Plan, Refusal> {
    let mut planner = Planner::new(world);
    planner.is_resolution = true;
    planner.undo(conflict)?;
    Ok(planner.finish())
}

impl World {
    /// Forgets what rows of conflicts were where not everyone can look whose edits are in them: they
    /// started from nothing that lay there, and are not to be told of it by what comes out.
    pub fn forget_elsewhere(&mut self, conflicts: &[Conflict]) {
        let (caller, memberships) = (self.sender.account, &self.memberships);
        for conflict in conflicts {
            let Some(row) = self.rows.get(&conflict.key) else { continue };
            let Some(revisions) = self.revisions.get_mut(&conflict.key) else { continue };
            let mut story = self.stories.get(&conflict.id).into_iter().flatten();
            let is_own = story.all(|edit| edit.account == caller);
            let is_member = |id: &Uuid| memberships.get(id).is_some_and(|m| m.until.is_none());
            let may_be_told = |id: &Uuid| *id == row.scope || (is_own && is_member(id));
            revisions.retain(|revision| revision.scope.as_ref().is_none_or(may_be_told));
        }
    }
}

/// What a conflict depends on, of a world in which it is open.
pub fn case<'a>(world: &'a World, conflict: &'a Conflict) -> Case<'a> {
    let key = conflict.key;
    let gone_at = match world.rows.get(&key) {
        Some(row) if !row.is_live() => deleted_at(world, key),
        _ => parents_deleted_at(world, conflict),
    };
    Case {
        conflict,
        story: world.stories.get(&conflict.id).map(Vec::as_slice).unwrap_or_default(),
        row: world.rows.get(&key).filter(|_| !world.buried.contains(&key)),
        revisions: world.revisions.get(&key).map(Vec::as_slice).unwrap_or_default(),
        gone_at,
        below_at: None,
    }
}

/// When a row was deleted, by the clock of who did it; by the server's where that is forgotten.
fn deleted_at(world: &World, key: Key) -> Option<Millis> {
    let at = world.rows.get(&key)?.deleted_at?;
    let revisions = world.revisions.get(&root_of(world, key)).map(Vec::as_slice);
    let mut revisions = revisions.unwrap_or_default().iter();
    let deletion = revisions.find(|r| r.at == at && r.life == Some(Life::Ended));
    Some(deletion.map_or(at, |revision| revision.client_time))
}

/// When the last of the deleted rows was deleted that the conflict's edit wants to hang on.
fn parents_deleted_at(world: &World, conflict: &Conflict) -> Option<Millis> {
    let kind = conflict.key.0.kind();
    let edit = resolution::recall(conflict.key.0, &conflict.remote);
    kind.parents()
        .filter_map(|(field, parent)| Some((parent, edit.get(&field)?.as_id()?)))
        .filter_map(|parent| deleted_at(world, parent))
        .max()
}

/// The row whose deletion took a row along.
fn root_of(world: &World, key: Key) -> Key {
    let Some(row) = world.rows.get(&key) else { return key };
    let Some(root) = row.deleted_root.filter(|root| *root != key.1) else { return key };
    // Roots are known by their ids alone; a row goes with what it hangs on.
    let parents = row.kind().parents();
    let mut above = parents.filter_map(|(field, kind)| Some((kind, row.parent(field)?)));
    let with_it = above.find(|parent| {
        let parent = world.rows.get(parent);
        parent.is_some_and(|parent| !parent.is_live() && parent.deleted_root == Some(root))
    });
    with_it.map_or(key, |parent| root_of(world, parent))
}

impl Planner {
    fn resolve(&mut self, decision: Resolving) -> Result<(), Refusal> {
        let Resolving { conflict: id, strategy, manual } = decision;
        let found = self.world.open.iter().find(|(_, (conflict, _))| conflict.id == id);
        let Some((key, (conflict, _))) = found else {
            return refuse(ErrorCode::NotFound, "there is no such conflict");
        };
        let (key, conflict) = (*key, conflict.clone());
        let below = self.below(key);
        let below = below.iter().filter_map(|key| self.world.rows.get(key));
        let below_at = below.map(|row| row.updated_at).max();
        let case = Case { below_at, ..case(&self.world, &conflict) };
        let wish = match &manual {
            Some(manual) => manual.wish(&case)?,
            None => resolution::wish(&case, strategy),
        };
        let made = match &wish {
            Wish::Live(values) if case.row.is_none() => {
                Some(resolution::made(&case, values.clone())?)
            }
            _ => None,
        };
        self.is_manual = manual.is_some();
        self.lend(&conflict, &wish);
        // From here on it is not open: what happens to the row is no news to it.
        self.world.open.remove(&key);
        let effect = match (wish, made) {
            (Wish::Keep, _) => Effect::new(Did::Kept, self.confirm(&conflict)),
            (Wish::Delete, _) => {
                self.must_own(key, "delete")?;
                Effect::new(Did::Deleted, self.delete(key, self.world.now))
            }
            (Wish::Live(_), Some(content)) => self.make(&conflict, content)?,
            (Wish::Live(values), None) => self.keep_alive(key, values)?,
            (Wish::Copy(content), _) => self.copy(&conflict, content)?,
        };
        self.close(conflict, strategy, effect);
        Ok(())
    }

    /// All live rows that would go with a row.
    fn below(&self, key: Key) -> Vec<Key> {
        let mut seen = HashSet::from([key]);
        let mut found = vec![key];
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            at += 1;
            for (child, _, on_delete) in self.children_of(parent) {
                if on_delete == OnDelete::Cascade && seen.insert(child) {
                    found.push(child);
                }
            }
        }
        found.split_off(1)
    }

    /// Lets the row carry what the one sees whose edit is taken.
    fn lend(&mut self, conflict: &Conflict, wish: &Wish) {
        let story = self.world.stories.get(&conflict.id).into_iter().flatten();
        let accounts: HashSet<Uuid> =
            story.map(|edit| edit.account).chain([conflict.account]).collect();
        let told = resolution::recall(conflict.key.0, &conflict.remote);
        if matches!(wish, Wish::Keep | Wish::Delete) {
            return;
        }
        for (field, target) in conflict.key.0.kind().refs() {
            for id in told.get(&field).map(Value::as_ids).unwrap_or_default() {
                let row = self.world.rows.get(&(target, *id));
                if row.is_some_and(|row| row.is_live() && accounts.contains(&row.scope)) {
                    self.lent.insert((target, *id));
                }
            }
        }
    }

    /// A row that stays as it is says so with a new version. Returns that; 0 where there is no row.
    fn confirm(&mut self, conflict: &Conflict) -> i32 {
        let key = conflict.key;
        if self.world.buried.contains(&key) || !self.world.rows.contains_key(&key) {
            self.nudged.insert(conflict.scope);
            return 0;
        }
        self.bump(key, self.world.now, None)
    }

    /// Only the owner deletes a trip, or brings it back.
    fn must_own(&self, key: Key, what: &str) -> Result<(), Refusal> {
        let sight = self.world.rows.get(&key).map(|row| self.sight(row));
        match (key.0.kind().home, sight) {
            (Home::Itself, Some(Sight::Member(Role::Owner))) => Ok(()),
            (Home::Itself, _) => {
                let name = key.0.name();
                refuse(ErrorCode::Forbidden, format!("only the owner may {what} a {name}"))
            }
            _ => Ok(()),
        }
    }

    /// Makes a row that waits in a conflict. Where only the id of a row is left, the edit becomes
    /// another row: an id that was deleted so long ago is never given away again.
    fn make(&mut self, conflict: &Conflict, content: Content) -> Result<Effect, Refusal> {
        let is_buried = self.world.buried.contains(&conflict.key);
        let mut effect = Effect::new(Did::Made, 1);
        let key = match is_buried {
            true => self.copy_key(conflict),
            false => conflict.key,
        };
        let mut restored = Vec::new();
        self.create_for(conflict, key, content, None, true, &mut restored)?;
        if is_buried {
            self.nudged.insert(conflict.scope);
            effect.copy = Some(key.1);
        }
        effect.restored = named(&restored);
        Ok(effect)
    }

    /// Puts a copy beside the row, which stays as it is.
    fn copy(&mut self, conflict: &Conflict, content: Content) -> Result<Effect, Refusal> {
        let key = self.copy_key(conflict);
        let original = self.world.rows.get(&conflict.key).cloned();
        let content = labelled_as_copy(content, original.as_ref().map(|row| &row.content));
        // It hangs where the row hangs, and carries what the row carries.
        let beside = original.filter(|row| row.scope != row.id && row.is_live());
        let waits_for_parent = conflict.conflict_type == ConflictType::Dependency;
        let mut restored = Vec::new();
        self.create_for(conflict, key, content, beside, waits_for_parent, &mut restored)?;
        let mut effect = Effect::new(Did::Copied, self.confirm(conflict));
        effect.copy = Some(key.1);
        effect.restored = named(&restored);
        Ok(effect)
    }

    fn copy_key(&self, conflict: &Conflict) -> Key {
        let undone = self.world.undone.get(&conflict.id).copied().unwrap_or_default();
        (conflict.key.0, copy_id(conflict.id, undone))
    }

    /// Creates a row out of a conflict's edit; what it hangs on comes back, if that `may_restore`.
    fn create_for(
        &mut self,
        conflict: &Conflict,
        key: Key,
        content: Content,
        beside: Option<Row>,
        may_restore: bool,
        restored: &mut Vec<Key>,
    ) -> Result<(), Refusal> {
        let mut content = self.without_strays(content, beside.as_ref());
        if !may_restore {
            self.clear_dead_links(&mut content);
        }
        self.check(&content)?;
        let is_without_place = matches!(
            self.place(key, content.clone(), beside.as_ref()),
            Err(Trouble::ParentDeleted(_))
        );
        if is_without_place && !may_restore {
            let message = "what it hangs on is deleted, too: a copy has no place there";
            return refuse(ErrorCode::Dependency, message);
        }
        let (content, scope) = self.placed(key, content, beside.as_ref(), restored)?;
        if key != conflict.key {
            self.copies.insert(key, conflict.key.1);
        }
        let now = self.world.now;
        let is_theirs = matches!(key.0.kind().home, Home::Parent(_));
        let past = Past {
            created_by: is_theirs.then_some(conflict.account),
            created_at: now,
            updated_at: now,
        };
        let change = Change {
            entity_type: key.0,
            id: key.1,
            operation: Operation::Create,
            base_version: 0,
            client_time: now,
            is_blind: false,
            past: Some(past),
            edit: BTreeMap::new(),
        };
        self.create(key, content, scope, &change);
        Ok(())
    }

    /// Clears the links to rows that are deleted, where links may be absent: as it was done to those
    /// that lived when that happened.
    fn clear_dead_links(&self, content: &mut Content) {
        let kind = content.kind.kind();
        for (field, parent) in kind.parents().filter(|(field, _)| kind.fields[*field].nullable) {
            let id = content.values[field].as_id();
            let is_live = |id| self.world.rows.get(&(parent, id)).is_some_and(Row::is_live);
            if id.is_some_and(|id| !is_live(id)) {
                content.values[field] = Value::Null;
            }
        }
    }

    /// Where content belongs; a deleted parent comes back with what had gone with it.
    fn placed(
        &mut self,
        key: Key,
        content: Content,
        current: Option<&Row>,
        restored: &mut Vec<Key>,
    ) -> Result<(Content, Uuid), Refusal> {
        match self.place(key, content.clone(), current) {
            Ok(placed) => return Ok(placed),
            Err(Trouble::Refused(refusal)) => return Err(refusal),
            Err(Trouble::ParentDeleted(_)) => self.revive_parents(&content, false, restored)?,
        }
        match self.place(key, content, current) {
            Ok(placed) => Ok(placed),
            Err(Trouble::Refused(refusal)) => Err(refusal),
            Err(Trouble::ParentDeleted(_)) => {
                refuse(ErrorCode::Dependency, "what it hangs on is deleted")
            }
        }
    }

    /// Brings back the deleted rows that content hangs on; if `only_needed`, not those whose link may
    /// be absent.
    fn revive_parents(
        &mut self,
        content: &Content,
        only_needed: bool,
        restored: &mut Vec<Key>,
    ) -> Result<(), Refusal> {
        let kind = content.kind.kind();
        for (field, parent) in kind.parents() {
            let Some(id) = content.values[field].as_id() else { continue };
            if !only_needed || !kind.fields[field].nullable {
                self.revive((parent, id), restored)?;
            }
        }
        Ok(())
    }

    /// Makes sure that a row lives, with what it hangs on.
    fn revive(&mut self, key: Key, restored: &mut Vec<Key>) -> Result<(), Refusal> {
        let name = key.0.name();
        if self.world.buried.contains(&key) {
            let message = format!("the {name} that it hangs on was deleted too long ago");
            return refuse(ErrorCode::Dependency, message);
        }
        let Some(row) = self.world.rows.get(&key) else {
            let message =
                format!("the {name} that it hangs on is not there; decide about it first");
            return refuse(ErrorCode::Dependency, message);
        };
        if row.is_live() {
            return Ok(());
        }
        if !matches!(self.sight(row), Sight::Member(Role::Editor | Role::Owner)) {
            return refuse(ErrorCode::Forbidden, format!("you may not restore the {name}"));
        }
        let root = root_of(&self.world, key);
        self.must_own(root, "restore")?;
        if let Some(content) = self.world.rows.get(&root).map(|row| row.content.clone()) {
            self.revive_parents(&content, true, restored)?;
        }
        self.restore(root)?;
        restored.push(root);
        Ok(())
    }

    /// Gives a row values, and life where it is deleted.
    fn keep_alive(&mut self, key: Key, values: BTreeMap<usize, Value>) -> Result<Effect, Refusal> {
        let Some(row) = self.world.rows.get(&key) else {
            return refuse(ErrorCode::NotFound, "there is no such row");
        };
        let is_dead = !row.is_live();
        // First what may be refused.
        self.check(&merge::with(&row.content, &values))?;
        let mut restored = Vec::new();
        if is_dead {
            self.come_back(key, &values, &mut restored)?;
        }
        let version = self.rewritten(key, &values, self.world.now, &mut restored)?;
        let did = if is_dead { Did::Restored } else { Did::Edited };
        let mut effect = Effect::new(did, version);
        effect.restored = named(&restored);
        Ok(effect)
    }

    /// Makes a deleted row live again, with what it hangs on, or where its new values put it.
    fn come_back(
        &mut self,
        key: Key,
        values: &BTreeMap<usize, Value>,
        restored: &mut Vec<Key>,
    ) -> Result<(), Refusal> {
        let root = root_of(&self.world, key);
        let moves = match key.0.kind().home {
            Home::Parent(home) => values.contains_key(&key.0.kind().field(home)),
            _ => false,
        };
        if root != key && !moves {
            return self.revive(key, restored);
        }
        self.must_own(key, "restore")?;
        if root != key {
            // It leaves the others that went with it, and takes along what hangs on it.
            self.part(key, root.1);
        }
        let content = self.world.rows.get(&key).map(|row| merge::with(&row.content, values));
        if let Some(content) = content {
            self.revive_parents(&content, true, restored)?;
        }
        self.raise(key, values)?;
        restored.push(key);
        Ok(())
    }

    /// Makes a row that went with another a root of its own.
    fn part(&mut self, key: Key, root: Uuid) {
        let own = key.1;
        let mut parted = vec![key];
        while let Some(key) = parted.pop() {
            self.touch(key);
            if let Some(row) = self.world.rows.get_mut(&key) {
                row.deleted_root = Some(own);
            }
            let below = self.world.rows.values().filter(|row| {
                let mut parents = row.kind().parents();
                row.deleted_root == Some(root)
                    && parents.any(|(at, kind)| kind == key.0 && row.parent(at) == Some(key.1))
            });
            parted.extend(below.map(Row::key).collect::<Vec<_>>());
        }
    }

    /// Puts values on a live row. It gets a new version even if it has them already.
    fn rewritten(
        &mut self,
        key: Key,
        values: &BTreeMap<usize, Value>,
        client_time: Millis,
        restored: &mut Vec<Key>,
    ) -> Result<i32, Refusal> {
        let Some(row) = self.world.rows.get(&key).cloned() else {
            return refuse(ErrorCode::NotFound, "there is no such row");
        };
        let content = self.without_strays(merge::with(&row.content, values), Some(&row));
        self.check(&content)?;
        // A parent that is to be hung on may have to come back.
        self.placed(key, content.clone(), Some(&row), restored)?;
        match self.rewrite(key, content, client_time) {
            Ok(version) if version > row.version => Ok(version),
            Ok(_) => Ok(self.bump(key, self.world.now, None)),
            Err(Trouble::Refused(refusal)) => Err(refusal),
            Err(Trouble::ParentDeleted(_)) => {
                refuse(ErrorCode::Dependency, "what it hangs on is deleted")
            }
        }
    }

    /// Content without references that the row cannot carry: to what is gone, or what neither who
    /// decides nor whose edit it was may see. What a person names is left in, and refused.
    fn without_strays(&self, mut content: Content, current: Option<&Row>) -> Content {
        if self.is_manual {
            return content;
        }
        for (field, target) in content.kind.kind().refs() {
            let carried = current.map(|row| row.content.values[field].as_ids());
            let carried = carried.unwrap_or_default();
            let may_stay = |id: &Uuid| {
                let row = self.world.rows.get(&(target, *id)).filter(|row| row.is_live());
                carried.contains(id)
                    || row.is_some_and(|row| {
                        self.lent.contains(&(target, *id))
                            || matches!(self.sight(row), Sight::Member(_))
                    })
            };
            if let Value::Ids(ids) = &mut content.values[field] {
                ids.retain(may_stay);
            }
        }
        content
    }

    /// Stores what came out.
    fn close(&mut self, mut conflict: Conflict, strategy: Strategy, effect: Effect) {
        let key = conflict.key;
        if let Some(row) = self.world.rows.get_mut(&key) {
            row.conflict = None;
        }
        let shown = match (effect.did, effect.copy) {
            // The edit of a row of which only the id was left.
            (Did::Made, Some(copy)) => (key.0, copy),
            _ => key,
        };
        let row = self.world.rows.get(&shown).filter(|_| !self.world.buried.contains(&shown));
        if let Some(scope) = row.map(|row| row.scope).filter(|scope| *scope != conflict.scope) {
            // Those who see it no more learn that, too.
            self.nudged.insert(conflict.scope);
            conflict.scope = scope;
        }
        conflict.resolution = Some(Resolution {
            strategy,
            data: row.map(Row::to_json),
            at: self.world.now,
            by: self.world.sender.account,
            effect: Some(effect),
        });
        self.plan.conflicts.push(conflict);
    }

    // ── Taking back ──────────────────────────────────────────────────────────────────────────

    fn undo(&mut self, mut conflict: Conflict) -> Result<(), Refusal> {
        let key = conflict.key;
        let Some(resolution) = conflict.resolution.take() else {
            return refuse(ErrorCode::Validation, "this conflict is open");
        };
        if self.world.open.contains_key(&key) {
            let message = "the row has another open conflict; decide that one first";
            return refuse(ErrorCode::Validation, message);
        }
        let Some(effect) = resolution.effect.clone() else {
            let message = "it is not known any more what this resolution did";
            return refuse(ErrorCode::Validation, message);
        };
        let now = self.world.now;
        let is_live = self.world.rows.get(&key).is_some_and(Row::is_live);
        match effect.did {
            Did::Edited if is_live => self.take_back(key, &effect)?,
            Did::Restored if is_live => {
                self.expect_unchanged(key, &effect, resolution.at)?;
                self.take_back(key, &effect)?;
                self.delete_again(&effect)?;
            }
            Did::Made if effect.copy.is_none() && is_live => {
                self.expect_unchanged(key, &effect, resolution.at)?;
                self.delete(key, now);
                self.delete_again(&effect)?;
            }
            Did::Deleted if !is_live => {
                self.must_own(key, "restore")?;
                if let Some(content) = self.world.rows.get(&key).map(|row| row.content.clone()) {
                    self.revive_parents(&content, true, &mut Vec::new())?;
                }
                self.restore(key)?;
            }
            // It stayed, or somebody else has done it meanwhile.
            _ => {
                self.confirm(&conflict);
            }
        }
        if let Some(copy) = effect.copy.map(|id| (key.0, id))
            && self.is_untouched(copy)
        {
            self.delete(copy, now);
        }
        self.reopen(conflict, resolution);
        Ok(())
    }

    /// Whether a copy can be taken away: it is the caller's to delete, and nobody went on with it.
    fn is_untouched(&self, copy: Key) -> bool {
        let Some(row) = self.world.rows.get(&copy) else { return false };
        let may_change = matches!(self.sight(row), Sight::Member(Role::Editor | Role::Owner));
        let may_delete = may_change && self.must_own(copy, "delete").is_ok();
        may_delete && row.is_live() && row.version == 1 && self.below(copy).is_empty()
    }

    /// Gives the fields that a resolution changed the values that they had before, unless someone
    /// changed them since.
    fn take_back(&mut self, key: Key, effect: &Effect) -> Result<(), Refusal> {
        let Some(row) = self.world.rows.get(&key) else { return Ok(()) };
        let revisions = self.world.revisions.get(&key).map(Vec::as_slice).unwrap_or_default();
        let Some(made) = revisions.iter().find(|r| r.version == effect.version) else {
            let message = "what the row was before is past its retention";
            return refuse(ErrorCode::Validation, message);
        };
        let is_untouched = |field: usize| {
            row.kind().group_of(field).all(|member| row.version_of(member) <= effect.version)
        };
        let values: BTreeMap<usize, Value> = made
            .old
            .iter()
            .filter(|(field, _)| is_untouched(*field))
            .map(|(field, value)| (*field, value.clone()))
            .collect();
        for (field, target) in row.kind().refs() {
            let ids = values.get(&field).map(Value::as_ids).unwrap_or_default();
            self.lent.extend(ids.iter().map(|id| (target, *id)));
        }
        // The values are as old as they were.
        let before = revisions.iter().filter(|r| r.version < effect.version);
        let written = before.filter(|r| values.keys().any(|field| r.wrote(*field)));
        let client_time = written.map(|r| r.client_time).max().unwrap_or(self.world.now);
        self.rewritten(key, &values, client_time, &mut Vec::new())?;
        Ok(())
    }

    /// Refuses to take rows away that somebody went on with.
    fn expect_unchanged(&self, key: Key, effect: &Effect, at: Millis) -> Result<(), Refusal> {
        for root in effect.roots().chain([key]) {
            for doomed in self.below(root).into_iter().chain([root]) {
                let Some(row) = self.world.rows.get(&doomed) else { continue };
                let is_changed = match doomed == key {
                    true => row.version != effect.version,
                    false => row.updated_at > at,
                };
                if is_changed {
                    let message = format!(
                        "{} {} was changed since, and would be deleted with this",
                        doomed.0.name(),
                        doomed.1
                    );
                    return refuse(ErrorCode::Validation, message);
                }
            }
        }
        Ok(())
    }

    /// Deletes again what a resolution restored, the last first.
    fn delete_again(&mut self, effect: &Effect) -> Result<(), Refusal> {
        for root in effect.roots().rev() {
            self.must_own(root, "delete")?;
            if self.world.rows.get(&root).is_some_and(Row::is_live) {
                // As long ago as it was.
                let mut revisions = self.world.revisions.get(&root).into_iter().flatten();
                let ended = revisions.rfind(|r| r.life == Some(Life::Ended));
                let client_time = ended.map_or(self.world.now, |revision| revision.client_time);
                self.delete(root, client_time);
            }
        }
        Ok(())
    }

    fn reopen(&mut self, mut conflict: Conflict, resolution: Resolution) {
        let key = conflict.key;
        self.plan.undone.push(Undone {
            conflict: conflict.id,
            resolution,
            at: self.world.now,
            by: self.world.sender.account,
        });
        if let Some(row) = self.world.rows.get(&key) {
            conflict.scope = row.scope;
            if !row.is_live() {
                conflict.conflict_type = ConflictType::Deletion;
            }
        }
        let story = self.world.stories.get(&conflict.id).into_iter().flatten();
        let senders = story.map(|edit| (edit.account, edit.device)).collect();
        self.nudge(key, conflict.scope, conflict.id);
        self.world.open.insert(key, (conflict, senders));
        self.changed_conflicts.push(key);
    }
}

/// Keys as an effect names them.
fn named(keys: &[Key]) -> Vec<(String, Uuid)> {
    keys.iter().map(|(kind, id)| (kind.name().to_owned(), *id)).collect()
}
