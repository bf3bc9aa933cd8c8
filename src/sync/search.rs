//! Finding memories by words.
//!
//! A word is found wherever it stands, in any case and with or without diacritics: "münch" is in
//! "Munchen". Both sides are folded here, so that both databases find the same. What is searched is
//! what the caller sees, a portion at a time; an index would have to be kept by every write, for
//! something that people do now and then.

use std::collections::{HashMap, HashSet};

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use uuid::Uuid;

use super::read::Portions;
use super::room::Room;
use super::row::{Row, sort};
use super::scope::Seen;
use super::store;
use crate::config::limits;
use crate::db::Db;
use crate::error::{Code, Error};
use crate::kinds::EntityType;

/// Fields of a memory in which words are sought, besides the names of its tags.
const FIELDS: [&str; 3] = ["title", "content", "address"];

/// Memories that hold all words, of one trip or of all that the caller sees, by their date.
pub async fn memories(
    db: &Db,
    account: Uuid,
    seen: &[Seen],
    trip: Option<Uuid>,
    query: &str,
) -> Result<Vec<Row>, Error> {
    if query.chars().count() > limits::LINE {
        let message = format!("query: at most {} characters", limits::LINE);
        return Err(Error::new(Code::Limit, message));
    }
    let folded = fold(query);
    let words: HashSet<&str> = folded.split_whitespace().collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let snapshot = db.begin_snapshot().await?;
    let kind = EntityType::Memory.kind();
    let found = holding(&snapshot, Portions::new(&snapshot, account, seen, kind, trip), &words);
    let found = found.await;
    snapshot.rollback().await?;
    let mut found = found?;
    sort(&mut found);
    Ok(found)
}

async fn holding<C: ConnectionTrait>(
    db: &C,
    mut portions: Portions<'_, C>,
    words: &HashSet<&str>,
) -> Result<Vec<Row>, Error> {
    let mut room = Room::new(limits::LIST, EntityType::Memory.kind().list, "give another word");
    let mut tags: HashMap<Uuid, String> = HashMap::new();
    let mut found = Vec::new();
    while let Some(rows) = portions.next().await? {
        let carried = rows.iter().flat_map(|row| row.content.get("tagIds").as_ids());
        let new: HashSet<Uuid> = carried.copied().filter(|id| !tags.contains_key(id)).collect();
        tags.extend(tag_names(db, &new.into_iter().collect::<Vec<_>>()).await?);
        let portion: Vec<Row> = rows.into_iter().filter(|row| holds(row, words, &tags)).collect();
        room.take(&portion)?;
        found.extend(portion);
    }
    Ok(found)
}

/// The folded names of live tags.
async fn tag_names<C: ConnectionTrait>(
    db: &C,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, String>, Error> {
    let mut names = HashMap::new();
    for among in store::in_lists(db, "id", ids) {
        let select = Query::select()
            .columns(["id", "name", "display_name"])
            .from(EntityType::Tag.kind().table)
            .and_where(among)
            .and_where(Expr::col("deleted_at").is_null())
            .to_owned();
        for row in db.query_all(&select).await? {
            let name: String = row.try_get_by_index(1)?;
            let display: Option<String> = row.try_get_by_index(2)?;
            let both = format!("{name}\n{}", display.unwrap_or_default());
            names.insert(row.try_get_by_index(0)?, fold(&both));
        }
    }
    Ok(names)
}

fn holds(row: &Row, words: &HashSet<&str>, tags: &HashMap<Uuid, String>) -> bool {
    let texts: Vec<String> = FIELDS
        .iter()
        .filter_map(|field| row.content.get(field).as_text())
        .map(fold)
        .chain(row.content.get("tagIds").as_ids().iter().filter_map(|id| tags.get(id).cloned()))
        .collect();
    words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
}

/// Text as it is compared: small letters without marks. Letters that have no parts to take a mark
/// from are written as people without them do.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        match c {
            'ß' | 'ẞ' => folded.push_str("ss"),
            'æ' | 'Æ' => folded.push_str("ae"),
            'œ' | 'Œ' => folded.push_str("oe"),
            'ø' | 'Ø' => folded.push('o'),
            'đ' | 'Đ' | 'ð' | 'Ð' => folded.push('d'),
            'ł' | 'Ł' => folded.push('l'),
            'ħ' | 'Ħ' => folded.push('h'),
            'ı' => folded.push('i'),
            'þ' | 'Þ' => folded.push_str("th"),
            // Only at the end of a word; in the middle it is the other one.
            'ς' => folded.push('σ'),
            c => folded.extend(c.to_lowercase().filter(|c| !is_combining_mark(*c))),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_diacritics_make_no_difference() {
        for (one, other) in [
            ("Zürich", "zurich"),
            ("ÎLE-DE-FRANCE", "ile-de-france"),
            ("Straße", "STRASSE"),
            ("Ørsted", "orsted"),
            ("Łódź", "lodz"),
            ("İstanbul", "istanbul"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("Ελλάδα", "ελλαδα"),
            ("cafe\u{301}", "CAFÉ"),
            ("ｆｕｌｌ", "full"),
            ("北京", "北京"),
            ("한국", "한국"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("Rome"), fold("Romy"));
    }
}
