//! The input types of the app's older API, as tables: what each field is called there, its type, and
//! the field of the kind that it means.

use std::borrow::Cow;

use async_graphql::registry::{MetaTypeId, Registry};
use async_graphql::{InputType, InputValueError, InputValueResult, Value};
use serde_json::{Map, Value as Json};

use super::input::{input, input_object, scalars};

/// One field of an input type.
pub struct Given {
    name: &'static str,
    ty: &'static str,
    default: Option<&'static str>,
    /// The kind's field.
    means: &'static str,
}

/// Defines input types: each takes its fields as JSON, under the names of the kind's fields.
macro_rules! shapes {
    (@means $name:literal) => { $name };
    (@means $name:literal $means:literal) => { $means };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
    ($($(#[doc = $doc:literal])* $shape:ident {
        $($name:literal: $ty:literal $(= $default:literal)? $(as $means:literal)?,)*
    })*) => {
        $(
            $(#[doc = $doc])*
            pub struct $shape(pub Map<String, Json>);

            impl $shape {
                const DOC: &'static str = concat!($($doc),*);
                const FIELDS: &'static [Given] = &[$(Given {
                    name: $name,
                    ty: $ty,
                    default: shapes!(@default $($default)?),
                    means: shapes!(@means $name $($means)?),
                }),*];
            }

            impl InputType for $shape {
                type RawValueType = Self;

                fn type_name() -> Cow<'static, str> {
                    stringify!($shape).into()
                }

                fn create_type_info(registry: &mut Registry) -> String {
                    registry.create_input_type::<Self, _>(MetaTypeId::InputObject, |registry| {
                        describe(registry, stringify!($shape), Self::DOC, Self::FIELDS)
                    })
                }

                fn parse(value: Option<Value>) -> InputValueResult<Self> {
                    take(Self::FIELDS, value).map($shape).map_err(InputValueError::custom)
                }

                fn to_value(&self) -> Value {
                    Value::Null
                }

                fn as_raw_value(&self) -> Option<&Self> {
                    Some(self)
                }
            }
        )*
    };
}

shapes! {
    #[doc = "A place on earth."]
    LocationInput {
        "latitude": "Float!",
        "longitude": "Float!",
        "name": "String" as "address",
    }
    #[doc = "A trip to be made."]
    TripInput {
        "name": "String!",
        "tripDescription": "String",
        "travelCompanions": "String",
        "visitedCountries": "String",
        "startDate": "DateTime!",
        "endDate": "DateTime",
        "isActive": "Boolean" = "false",
        "totalDistance": "Float" = "0",
        "gpsTrackingEnabled": "Boolean" = "true",
    }
    #[doc = "What changes about a trip. An explicit null clears what can be empty."]
    UpdateTripInput {
        "name": "String",
        "tripDescription": "String",
        "travelCompanions": "String",
        "visitedCountries": "String",
        "startDate": "DateTime",
        "endDate": "DateTime",
        "isActive": "Boolean",
        "totalDistance": "Float",
        "gpsTrackingEnabled": "Boolean",
    }
    #[doc = "A moment to be added to a trip. `location` stands for the three fields of a place; those win where both are given."]
    MemoryInput {
        "title": "String!",
        "content": "String",
        "date": "DateTime",
        "latitude": "Float",
        "longitude": "Float",
        "address": "String",
        "location": "LocationInput",
        "tripId": "ID!",
        "tagIds": "[ID!]",
    }
    #[doc = "What changes about a memory. An explicit null clears what can be empty."]
    UpdateMemoryInput {
        "title": "String",
        "content": "String",
        "date": "DateTime",
        "latitude": "Float",
        "longitude": "Float",
        "address": "String",
        "location": "LocationInput",
        "tagIds": "[String!]",
    }
    #[doc = "A photo, film or sound to be added to a memory."]
    MediaItemInput {
        "objectName": "String!",
        "thumbnailObjectName": "String",
        "memoryId": "String!",
        "mediaType": "String!" as "mimeType",
        "timestamp": "DateTime!",
        "order": "Int!",
        "filesize": "Int!" as "fileSize",
        "duration": "Int",
    }
    #[doc = "What changes about a media item. An explicit null clears what can be empty."]
    UpdateMediaItemInput {
        "objectName": "String",
        "thumbnailObjectName": "String",
        "mediaType": "String" as "mimeType",
        "timestamp": "DateTime",
        "order": "Int",
        "filesize": "Int" as "fileSize",
        "duration": "Int",
    }
    #[doc = "A tag to be made. One of the same name, without regard to case, is given back instead."]
    TagInput {
        "name": "String!",
        "emoji": "String",
        "color": "String",
        "tagDescription": "String",
        "categoryId": "ID",
    }
    #[doc = "What changes about a tag."]
    UpdateTagInput {
        "name": "String",
        "color": "String",
        "categoryId": "ID",
    }
    #[doc = "A category to be made. One of the same name, without regard to case, is given back instead."]
    TagCategoryInput {
        "name": "String!",
        "emoji": "String",
        "color": "String",
    }
    #[doc = "What changes about a category. `icon` is its emoji."]
    UpdateTagCategoryInput {
        "name": "String",
        "color": "String",
        "icon": "String" as "emoji",
    }
    #[doc = "Something to see or do. What the caller has under the same name, without regard to case, is edited."]
    BucketListItemInput {
        "name": "String!",
        "country": "String",
        "region": "String",
        "type": "String",
        "latitude1": "Float",
        "longitude1": "Float",
        "latitude2": "Float",
        "longitude2": "Float",
        "isDone": "Boolean",
    }
    #[doc = "A track or route to be added to a trip."]
    GPXTrackInput {
        "name": "String!",
        "gpxFileObjectName": "String",
        "originalFilename": "String",
        "tripId": "ID!",
        "memoryId": "ID",
        "creator": "String",
        "trackType": "String",
    }
    #[doc = "What changes about a track. An explicit null clears what can be empty."]
    UpdateGPXTrackInput {
        "name": "String",
        "gpxFileObjectName": "String",
        "originalFilename": "String",
        "creator": "String",
        "trackType": "String",
    }
    #[doc = "A point that was recorded on the way: degrees, metres, metres per second."]
    RoutePointInput {
        "latitude": "Float!",
        "longitude": "Float!",
        "altitude": "Float",
        "speed": "Float",
        "timestamp": "DateTime!",
    }
}

fn describe(
    registry: &mut Registry,
    name: &str,
    doc: &str,
    fields: &[Given],
) -> async_graphql::registry::MetaType {
    scalars(registry);
    if fields.iter().any(|field| field.ty == LocationInput::type_name()) {
        LocationInput::create_type_info(registry);
    }
    let fields = fields.iter().map(|field| input(field.name, field.ty, "", field.default));
    input_object(name, doc, fields.collect())
}

/// Takes the fields that were given, under the names of the kind.
fn take(fields: &[Given], value: Option<Value>) -> Result<Map<String, Json>, String> {
    let Some(Value::Object(mut given)) = value else { return Err("must be an object".into()) };
    let mut taken = Map::new();
    for field in fields {
        let Some(value) = given.swap_remove(field.name) else { continue };
        if field.ty == LocationInput::type_name() && value != Value::Null {
            let LocationInput(place) = LocationInput::parse(Some(value))
                .map_err(|_| format!("{}: must be a place", field.name))?;
            for (name, value) in place.into_iter().filter(|(_, value)| !value.is_null()) {
                taken.entry(name).or_insert(value);
            }
        } else if field.ty != LocationInput::type_name() {
            let json = value.into_json().map_err(|error| format!("{}: {error}", field.name))?;
            if !json.is_null() || !taken.contains_key(field.means) {
                taken.insert(field.means.into(), json);
            }
        }
    }
    Ok(taken)
}
