//! Documents that were looked at and parsed, remembered by their texts: apps send the same few
//! again and again.

use std::sync::Arc;

use async_graphql::Request;
use async_graphql::parser::types::{ExecutableDocument, OperationType};

use super::document;
use crate::cache::key::hash;
use crate::config::limits;
use crate::error::Error;
use crate::graphql::{Cacheable, cacheable};

/// A document that may be executed.
pub struct Document {
    parsed: ExecutableDocument,
    /// Of its text: what keys of answers name it by.
    pub digest: [u8; 32],
    cacheable: Vec<Cacheable>,
}

pub struct Documents {
    remembered: moka::sync::Cache<Arc<str>, Arc<Document>>,
}

impl Default for Documents {
    fn default() -> Documents {
        let remembered = moka::sync::Cache::builder()
            .max_capacity(limits::DOCUMENTS)
            .weigher(|text: &Arc<str>, _| document::parsed_size(text) as u32)
            .build();
        Documents { remembered }
    }
}

impl Documents {
    /// The document of this text. Errors are not remembered.
    pub fn read(&self, text: &str) -> Result<Arc<Document>, Error> {
        if let Some(known) = self.remembered.get(text) {
            return Ok(known);
        }
        let document = Arc::new(Document::new(text, document::read(text)?));
        if text.len() <= limits::REMEMBERED {
            self.remembered.insert(text.into(), document.clone());
        }
        Ok(document)
    }
}

impl Document {
    fn new(text: &str, parsed: ExecutableDocument) -> Document {
        let operations = parsed.operations.iter();
        let cacheable = operations
            .filter_map(|(name, operation)| cacheable(&parsed, name, &operation.node))
            .collect();
        Document { parsed, digest: hash(&[text.as_bytes()]), cacheable }
    }

    /// The type of the operation that would be executed, if it is clear which one.
    pub fn operation_type(&self, name: Option<&str>) -> Option<OperationType> {
        document::operation(&self.parsed, name).map(|operation| operation.ty)
    }

    /// Whether an operation has one field at its root, where the library looks for it.
    pub fn has_one_root(&self, name: Option<&str>) -> bool {
        document::operation(&self.parsed, name).is_none_or(document::has_one_root)
    }

    /// How many mutations an operation carries out. 0: it is no mutation.
    pub fn mutations(&self, name: Option<&str>) -> u32 {
        let operation = document::operation(&self.parsed, name);
        let mutation = operation.filter(|operation| operation.ty == OperationType::Mutation);
        let count = mutation.map_or(0, |mutation| document::roots(&self.parsed, mutation));
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether the answer to an operation may be kept. A single one may go without its name, or by a
    /// wrong one.
    pub fn cacheable(&self, name: Option<&str>) -> Option<&Cacheable> {
        let is_single = self.parsed.operations.iter().count() == 1;
        self.cacheable.iter().find(|operation| is_single || operation.name.as_deref() == name)
    }

    /// Makes a request ready to be executed.
    pub fn prepare(&self, request: &mut Request) {
        let mut parsed = self.parsed.clone();
        document::drop_missing_variables(&mut parsed, &request.variables);
        request.set_parsed_query(parsed);
    }
}
