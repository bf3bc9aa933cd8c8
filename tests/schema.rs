//! `schema.graphql` is what the code says.

#[test]
fn schema_graphql_is_the_schema_of_the_code() {
    let file = include_str!("../schema.graphql");
    assert!(
        file == cairn::graphql::sdl(),
        "schema.graphql differs from the code; write it anew: cargo run -- schema > schema.graphql"
    );
}
