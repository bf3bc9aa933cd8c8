//! The input of bulkSync, made from the kinds' tables: one input type a kind, and one list of each.

use std::borrow::Cow;

use async_graphql::registry::{Deprecation, MetaInputValue, MetaType, MetaTypeId, Registry};
use async_graphql::{ID, InputType, InputValueError, InputValueResult, Value};
use serde_json::Value as Json;

use super::types::{DateTime, SyncOperation, SyncPriority};
use crate::kinds::{self, Field, FieldType, Kind, Writer};
use crate::sync::change::RawItem;

/// The items of a batch, of all kinds.
pub struct BulkSyncInput(pub Vec<RawItem>);

impl InputType for BulkSyncInput {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        "BulkSyncInput".into()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.create_input_type::<Self, _>(MetaTypeId::InputObject, |registry| {
            scalars(registry);
            <SyncOperation as InputType>::create_type_info(registry);
            <SyncPriority as InputType>::create_type_info(registry);
            let lists = kinds::all().map(|kind| {
                let item = item_type(kind);
                let list = input(kind.list, format!("[{}!]!", name(kind)), "", Some("[]"));
                registry.types.insert(name(kind), item);
                list
            });
            let doc = "A batch of edits, in lists of kinds. In every item a field that is omitted \
                       is left as it is; an explicit null clears it, or is VALIDATION where the \
                       field cannot be null. Fields that CREATE needs are checked per item.";
            input_object("BulkSyncInput", doc, lists.collect::<Vec<_>>())
        })
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        let mut map = match value {
            Some(Value::Object(map)) => map,
            other => return Err(InputValueError::expected_type(other.unwrap_or_default())),
        };
        let mut items = Vec::new();
        for kind in kinds::all() {
            let list = match map.swap_remove(kind.list) {
                None => continue,
                Some(Value::List(list)) => list,
                // GraphQL takes a single item for a list of one.
                Some(item @ Value::Object(_)) => vec![item],
                Some(_) => {
                    return Err(InputValueError::custom(format!("{} must be a list", kind.list)));
                }
            };
            for (index, item) in list.into_iter().enumerate() {
                match item.into_json() {
                    Ok(Json::Object(json)) => {
                        items.push(RawItem { entity_type: kind.entity_type, index, json })
                    }
                    _ => {
                        return Err(InputValueError::custom(format!(
                            "{}[{index}] must be an object",
                            kind.list
                        )));
                    }
                }
            }
        }
        Ok(BulkSyncInput(items))
    }

    fn to_value(&self) -> Value {
        Value::Null
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
}

/// Describes the scalars that input types are made of.
pub fn scalars(registry: &mut Registry) {
    ID::create_type_info(registry);
    <i32 as InputType>::create_type_info(registry);
    <f64 as InputType>::create_type_info(registry);
    <bool as InputType>::create_type_info(registry);
    <String as InputType>::create_type_info(registry);
    <DateTime as InputType>::create_type_info(registry);
}

fn name(kind: &Kind) -> String {
    format!("Bulk{}Input", kind.name())
}

/// The input type of one kind's items.
fn item_type(kind: &Kind) -> MetaType {
    let mut fields = vec![
        input("id", "ID", "Made by the device. CREATE without one gets one from the server.", None),
        input("operation", "SyncOperation!", "", None),
        input("syncVersion", "Int!", "The version that the edit was made on.", Some("0")),
        input(
            "clientTimestamp",
            "DateTime!",
            "When the edit was made, by the device's clock: never trusted for order.",
            None,
        ),
        input(
            "operationId",
            "ID",
            "Unique to this edit on this device: a resend gets the first answer.",
            None,
        ),
    ];
    fields.extend(
        kind.fields
            .iter()
            .filter(|field| field.writer == Writer::Device)
            .map(|field| input(&field.name, type_of(field), field.doc, None)),
    );
    input_object(&name(kind), &format!("An edit of a {}.", kind.name()), fields)
}

/// The GraphQL type of a field, without its `!`.
pub fn type_of(field: &Field) -> &'static str {
    match &field.ty {
        FieldType::Name | FieldType::Line | FieldType::Text | FieldType::Color => "String",
        FieldType::Bool => "Boolean",
        FieldType::Int { .. } => "Int",
        FieldType::Float { .. } => "Float",
        FieldType::Time => "DateTime",
        FieldType::Parent { .. } => "ID",
        FieldType::Refs { .. } => "[ID!]",
        FieldType::Choice(choice) => choice.name,
    }
}

pub fn input(
    name: &str,
    ty: impl Into<String>,
    doc: &str,
    default: Option<&str>,
) -> MetaInputValue {
    MetaInputValue {
        name: name.to_owned(),
        description: (!doc.is_empty()).then(|| doc.to_owned()),
        ty: ty.into(),
        deprecation: Deprecation::NoDeprecated,
        default_value: default.map(str::to_owned),
        visible: None,
        inaccessible: false,
        tags: Vec::new(),
        is_secret: false,
        directive_invocations: Vec::new(),
    }
}

pub fn input_object(name: &str, doc: &str, fields: Vec<MetaInputValue>) -> MetaType {
    MetaType::InputObject {
        name: name.to_owned(),
        description: Some(doc.to_owned()),
        input_fields: fields.into_iter().map(|field| (field.name.clone(), field)).collect(),
        visible: None,
        inaccessible: false,
        tags: Vec::new(),
        rust_typename: None,
        oneof: false,
        directive_invocations: Vec::new(),
    }
}
