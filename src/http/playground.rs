//! The playground: the GraphQL library's own page, which opens with something to run.

use std::sync::LazyLock;

use async_graphql::http::GraphiQLSource;
use axum::response::Html;

/// The version of the page's editor. Fixed, so that the page is the one that was tested.
const EDITOR: &str = "4.1.2";

/// What stands in the editor when it is opened for the first time: a walk from nothing to a pull.
const QUERY: &str = include_str!("playground.graphql");

/// What the editor sends along; the token goes behind `Bearer`. Without one it says nothing.
const HEADERS: &str = "{\n  \"Authorization\": \"Bearer \"\n}";

/// Where the library's page names the editor's options; it has no setter for those that we want.
const OPTIONS: &str = "defaultEditorToolsVisibility: true,";

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let page = GraphiQLSource::build().endpoint("/graphql").version(EDITOR).title("Cairn").finish();
    let options = format!(
        "defaultEditorToolsVisibility: \"headers\",
          shouldPersistHeaders: false,
          defaultQuery: {},
          defaultHeaders: {},",
        literal(QUERY),
        literal(HEADERS)
    );
    page.replacen(OPTIONS, &options, 1)
});

pub async fn page() -> Html<&'static str> {
    Html(&PAGE)
}

/// Text as a literal of a script inside a page.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_what_it_opens_with() {
        assert!(!PAGE.contains(OPTIONS), "the library's page has changed");
        assert!(PAGE.contains("defaultQuery: \"#"), "the query is a literal of the script");
        assert!(PAGE.contains(EDITOR), "the version is fixed");
    }
}
