use sea_orm::{ActiveModelTrait, IdenStatic, Iterable};
use serde_json::json;

use super::*;

#[test]
fn every_column_of_an_entity_is_a_sync_column_or_exactly_one_field() {
    fn columns<E: EntityTrait>(_: E) -> Vec<&'static str>
    where
        E::ActiveModel: ActiveModelTrait,
    {
        E::Column::iter().map(|column| column.as_str()).collect()
    }
    let entities = [
        columns(entity::tag_category::Entity),
        columns(entity::tag::Entity),
        columns(entity::bucket_list_item::Entity),
        columns(entity::trip::Entity),
        columns(entity::memory::Entity),
        columns(entity::media_item::Entity),
        columns(entity::gpx_track::Entity),
    ];
    assert_eq!(entities.len(), EntityType::ALL.len());
    for (kind, mut columns) in all().zip(entities) {
        let mut known: Vec<&str> = entity::SYNC_COLUMNS.to_vec();
        known.extend(kind.fields.iter().map(|field| field.column));
        known.sort_unstable();
        columns.sort_unstable();
        assert_eq!(columns, known, "{}", kind.name());
    }
}

#[test]
fn every_name_that_a_kind_uses_exists() {
    for kind in all() {
        assert_eq!(kind.fields[PRIORITY].name, "syncPriority");
        assert!(kind.find(kind.label).is_some(), "{}", kind.name());
        assert!(kind.find(kind.order).is_some(), "{}", kind.name());
        if let Home::Parent(field) = kind.home {
            let field = &kind.fields[kind.field(field)];
            assert!(field.parent().is_some() && !field.nullable, "{}", kind.name());
        }
        for relation in &kind.relations {
            let target = relation.target.kind();
            match relation.via {
                Via::Children(field) => {
                    let (parent, _) = target.fields[target.field(field)].parent().expect("parent");
                    assert_eq!(parent, kind.entity_type);
                }
                Via::Parent(field) => {
                    let (parent, _) = kind.fields[kind.field(field)].parent().expect("parent");
                    assert_eq!(parent, relation.target);
                }
                Via::Together => assert_eq!(target.entity_type, kind.entity_type),
                Via::Refs(field) => assert!(kind.fields[kind.field(field)].is_set()),
            }
        }
        for (_, parent) in kind.parents() {
            assert!(parent < kind.entity_type, "parents come first");
        }
    }
}

#[test]
fn a_field_takes_what_it_should_and_says_why_it_refuses_the_rest() {
    let memory = EntityType::Memory.kind();
    let take = |name: &str, json: Json| memory.fields[memory.field(name)].take(&json);
    let refused = |name: &str, json: Json| take(name, json).expect_err("refused").0;

    assert_eq!(take("title", json!("Café")), Ok(Value::Text("Café".into())));
    assert_eq!(take("content", json!("two\nlines")), Ok(Value::Text("two\nlines".into())));
    assert_eq!(take("content", json!(null)), Ok(Value::Null));
    assert_eq!(take("latitude", json!(-90)), Ok(Value::Float(-90.0)));
    assert_eq!(take("syncPriority", json!("HIGH")), Ok(Value::Int(2)));
    let id = "6F1D0F52-54F2-5D4E-9C2E-6A1F5A2B7C10";
    let parsed = Uuid::try_parse(id).expect("a UUID");
    assert_eq!(take("tagIds", json!([id, id.to_lowercase()])), Ok(Value::Ids(vec![parsed])));

    assert_eq!(refused("title", json!("  ")), "title: must not be empty");
    assert_eq!(refused("title", json!(null)), "title: cannot be null");
    assert!(refused("title", json!("x".repeat(256))).contains("255 characters"));
    assert!(refused("title", json!("a\u{0}b")).contains("U+0000"));
    assert!(refused("content", json!("x".repeat(65_537))).contains("65536 bytes"));
    assert!(refused("content", json!("bell\u{7}")).contains("U+0007"));
    assert!(refused("latitude", json!(90.1)).contains("-90 to 90"));
    assert!(refused("date", json!("12000-01-01T00:00:00Z")).contains("RFC 3339"));
    assert!(refused("tripId", json!("no-uuid")).contains("UUID"));
    assert!(refused("tripId", json!(id.replace('-', ""))).contains("UUID"));
    assert!(refused("tagIds", json!(["no-uuid"])).contains("UUIDs"));
    assert!(refused("tagIds", json!(null)).contains("null"));
}

#[test]
fn fields_that_belong_together_are_one_group() {
    let memory = EntityType::Memory.kind();
    let place: Vec<_> = memory.group_of(memory.field("latitude")).collect();
    assert_eq!(place, [memory.field("latitude"), memory.field("longitude")]);
    let title = memory.field("title");
    assert_eq!(memory.group_of(title).collect::<Vec<_>>(), [title]);
}
