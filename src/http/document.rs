//! Looks at a GraphQL document before it is executed.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::Value;

use crate::config::limits;
use crate::error::{Code, Error};

/// Reads a document, unless it is more than any sensible query.
pub fn read(text: &str) -> Result<ExecutableDocument, Error> {
    if text.len() > limits::DOCUMENT {
        let message = format!(
            "a document may have {} bytes; give rows as variables, not as literals",
            limits::DOCUMENT
        );
        return Err(Error::new(Code::Limit, message));
    }
    if is_too_deep(text) {
        return Err(Error::new(Code::Limit, "the document is nested too deep"));
    }
    let parsed = parse_query(text)
        .map_err(|error| Error::bad_input(format!("the document cannot be read: {error}")))?;
    match is_too_large(&parsed) {
        true => Err(Error::new(Code::Limit, "the document selects too much")),
        false => Ok(parsed),
    }
}

/// How deep braces, brackets and parentheses may be nested, before anything is parsed: the parser
/// calls itself for each.
const NESTING: usize = 64;

/// Whether the text nests deeper than any sensible query. Brackets in strings and comments do not
/// count: neither to nest, nor to hide that others do.
fn is_too_deep(text: &str) -> bool {
    let mut depth = 0usize;
    let mut rest = text;
    while let Some(at) = rest.find(['{', '[', '(', '}', ']', ')', '"', '#']) {
        let (byte, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match byte {
            b'"' => rest = after_string(after),
            b'#' => rest = &after[after.find(['\n', '\r']).unwrap_or(after.len())..],
            b'{' | b'[' | b'(' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        if depth > NESTING {
            return true;
        }
    }
    false
}

/// What follows a string whose first quote has been read. One that does not end is cut where the
/// parser would stop.
fn after_string(text: &str) -> &str {
    if let Some(block) = text.strip_prefix("\"\"") {
        let ends = block.match_indices("\"\"\"").map(|(at, _)| at);
        let end = ends.into_iter().find(|at| !block[..*at].ends_with('\\'));
        // Without an end it is an empty string, and another begins.
        return end.map_or(block, |at| &block[at + 3..]);
    }
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' | b'\r' => return &text[at..],
            b'"' if !escaped => return &text[at + 1..],
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    ""
}

/// Whether the operations select more than any sensible query when each fragment is put where it is
/// spread. The validator walks the document like that, and fragments that spread others twice
/// double its work with every line.
fn is_too_large(document: &ExecutableDocument) -> bool {
    let mut sizes = Sizes { document, depth: Depth::All, fragments: HashMap::new() };
    let size = document.operations.iter().fold(0usize, |sum, (_, operation)| {
        sum.saturating_add(sizes.of(&operation.node.selection_set.node))
    });
    size > limits::SELECTIONS
}

/// The fields at the root of an operation, each fragment put where it is spread: of a mutation these are
/// what it does.
pub fn roots(document: &ExecutableDocument, operation: &OperationDefinition) -> usize {
    let mut sizes = Sizes { document, depth: Depth::Root, fragments: HashMap::new() };
    sizes.of(&operation.selection_set.node)
}

/// Whether an operation has exactly one field at its root, and that not in a fragment.
pub fn has_one_root(operation: &OperationDefinition) -> bool {
    let roots = &operation.selection_set.node.items;
    matches!(&roots[..], [root] if matches!(root.node, Selection::Field(_)))
}

/// At most about how many bytes a document takes when it is parsed, by its text: the most for a name, and for
/// an empty list, of which two characters make one, in a list that has just grown.
pub fn parsed_size(text: &str) -> usize {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    words.count() * 256 + text.len() * 80
}

/// What of a selection is counted.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    /// Every selection, those within others included.
    All,
    /// Fields at the root.
    Root,
}

/// The sizes of the fragments that were looked at.
struct Sizes<'a> {
    document: &'a ExecutableDocument,
    depth: Depth,
    fragments: HashMap<&'a Name, usize>,
}

impl<'a> Sizes<'a> {
    fn of(&mut self, set: &'a SelectionSet) -> usize {
        set.items.iter().fold(0, |sum, selection| {
            let inner = match &selection.node {
                Selection::Field(_) if self.depth == Depth::Root => return sum.saturating_add(1),
                Selection::Field(field) => self.of(&field.node.selection_set.node),
                Selection::InlineFragment(inline) => self.of(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => {
                    self.of_fragment(&spread.node.fragment_name.node)
                }
            };
            sum.saturating_add(inner).saturating_add(usize::from(self.depth == Depth::All))
        })
    }

    fn of_fragment(&mut self, name: &Name) -> usize {
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else { return 0 };
        if let Some(size) = self.fragments.get(name) {
            return *size;
        }
        // A fragment that spreads itself finds this; the validator refuses it.
        self.fragments.insert(name, 0);
        let size = self.of(&fragment.node.selection_set.node);
        self.fragments.insert(name, size);
        size
    }
}

/// The operation that would be executed, if it is clear which one.
pub fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(&operation.node),
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).map(|operation| &operation.node)
        }
        // A single one is meant, whatever it is called.
        (DocumentOperations::Multiple(operations), None) => {
            let mut all = operations.values().map(|operation| &operation.node);
            all.next().filter(|_| operations.len() == 1)
        }
    }
}

/// Removes fields of object literals whose variable was not given. By the specification such a
/// field counts as omitted; the executor would read it as null, and null clears a field.
pub fn drop_missing_variables(document: &mut ExecutableDocument, variables: &Variables) {
    let mut operations: Vec<&mut OperationDefinition> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![&mut operation.node],
        DocumentOperations::Multiple(operations) => {
            operations.values_mut().map(|operation| &mut operation.node).collect()
        }
    };
    let missing: HashSet<Name> = operations
        .iter()
        .flat_map(|operation| &operation.variable_definitions)
        .map(|definition| &definition.node)
        .filter(|definition| {
            definition.default_value.is_none()
                && definition.var_type.node.nullable
                && !variables.contains_key(&definition.name.node)
        })
        .map(|definition| definition.name.node.clone())
        .collect();
    if missing.is_empty() {
        return;
    }
    let mut walk = Walk { missing, dropped: HashSet::new(), used: HashSet::new() };
    for fragment in document.fragments.values_mut() {
        walk.directives(&mut fragment.node.directives);
        walk.selections(&mut fragment.node.selection_set.node);
    }
    let by_fragments = walk.used.clone();
    for operation in &mut operations {
        walk.used.clone_from(&by_fragments);
        walk.directives(&mut operation.directives);
        walk.selections(&mut operation.selection_set.node);
        // The validator refuses a variable without any use.
        operation.variable_definitions.retain(|definition| {
            let name = &definition.node.name.node;
            walk.used.contains(name) || !walk.dropped.contains(name)
        });
    }
}

struct Walk {
    missing: HashSet<Name>,
    /// Those of which a use was removed.
    dropped: HashSet<Name>,
    /// Those of which a use is left.
    used: HashSet<Name>,
}

impl Walk {
    fn selections(&mut self, set: &mut SelectionSet) {
        for selection in &mut set.items {
            match &mut selection.node {
                Selection::Field(field) => {
                    self.directives(&mut field.node.directives);
                    self.arguments(&mut field.node.arguments);
                    self.selections(&mut field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => {
                    self.directives(&mut fragment.node.directives);
                    self.selections(&mut fragment.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => self.directives(&mut spread.node.directives),
            }
        }
    }

    fn directives(&mut self, directives: &mut [Positioned<Directive>]) {
        for directive in directives {
            self.arguments(&mut directive.node.arguments);
        }
    }

    fn arguments(&mut self, arguments: &mut [(Positioned<Name>, Positioned<Value>)]) {
        for (_, value) in arguments {
            self.value(&mut value.node);
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| match value {
                    Value::Variable(name) if self.missing.contains(name) => {
                        self.dropped.insert(name.clone());
                        false
                    }
                    _ => true,
                });
                fields.values_mut().for_each(|value| self.value(value));
            }
            Value::List(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Variable(name) => {
                self.used.insert(name.clone());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_takes_is_not_estimated_too_low() {
        // Lists have room for twice as many as they had before they grew.
        let names = format!("{{{}}}", "a ".repeat(1025));
        assert!(parsed_size(&names) > 2048 * size_of::<Positioned<Selection>>());
        let lists = format!("{{a(x:[{}])}}", "[]".repeat(1025));
        assert!(parsed_size(&lists) > 2048 * size_of::<Value>());
    }

    #[test]
    fn brackets_in_strings_and_comments_neither_nest_nor_hide_nesting() {
        let many = NESTING + 1;
        let closers = [r#"x(y:")")"#, r#"x(y:"\")")"#, r#"x(y:"""")""")"#, "x()#)\n", "x()#)\r"];
        for closer in closers {
            assert!(is_too_deep(&format!("{{{closer}").repeat(many)), "{closer}");
        }
        assert!(
            is_too_deep(&format!(r#"{{a(x: ["""{}"#, "{a".repeat(many))),
            "a block without end"
        );
        let openers = "(".repeat(many);
        for text in [
            format!(r#"{{a(x: "{openers}")}}"#),
            format!(r#"{{a(x: "\"{openers}")}}"#),
            format!(r#"{{a(x: """{openers}" \"""{openers}""")}}"#),
            format!("{{a # {openers}\n}}"),
        ] {
            assert!(!is_too_deep(&text), "{text}");
        }
    }
}
