//! Looks at a GraphQL document before it is executed.

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Variables};
use async_graphql_value::Value;

/// How deep braces, brackets and parentheses may be nested, before anything is parsed: the parser
/// calls itself for each.
const NESTING: usize = 64;

/// Whether the text nests deeper than any sensible query.
pub fn is_too_deep(text: &str) -> bool {
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING {
            return true;
        }
    }
    false
}

/// The type of the operation that would be executed, if it is clear which one.
pub fn operation_type(document: &ExecutableDocument, name: Option<&str>) -> Option<OperationType> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation.node.ty),
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).map(|operation| operation.node.ty)
        }
        (DocumentOperations::Multiple(_), None) => None,
    }
}

/// Removes fields of object literals whose variable was not given. By the specification such a
/// field counts as omitted; the executor would read it as null, and null clears a field.
pub fn drop_missing_variables(document: &mut ExecutableDocument, variables: &Variables) {
    let operations: Vec<&mut OperationDefinition> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![&mut operation.node],
        DocumentOperations::Multiple(operations) => {
            operations.values_mut().map(|operation| &mut operation.node).collect()
        }
    };
    let mut defaulted: Vec<Name> = Vec::new();
    for operation in &operations {
        for definition in &operation.variable_definitions {
            if definition.node.default_value.is_some() {
                defaulted.push(definition.node.name.node.clone());
            }
        }
    }
    let given = |name: &Name| variables.contains_key(name) || defaulted.contains(name);
    for operation in operations {
        in_selections(&mut operation.selection_set.node, &given);
    }
    for fragment in document.fragments.values_mut() {
        in_selections(&mut fragment.node.selection_set.node, &given);
    }
}

fn in_selections(set: &mut SelectionSet, given: &impl Fn(&Name) -> bool) {
    for selection in &mut set.items {
        match &mut selection.node {
            Selection::Field(field) => {
                for (_, value) in &mut field.node.arguments {
                    in_value(&mut value.node, given);
                }
                in_selections(&mut field.node.selection_set.node, given);
            }
            Selection::InlineFragment(fragment) => {
                in_selections(&mut fragment.node.selection_set.node, given);
            }
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn in_value(value: &mut Value, given: &impl Fn(&Name) -> bool) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !matches!(value, Value::Variable(name) if !given(name)));
            fields.values_mut().for_each(|value| in_value(value, given));
        }
        Value::List(values) => values.iter_mut().for_each(|value| in_value(value, given)),
        _ => {}
    }
}
