//! Bodies that clients send, read by the bridge and by `serde_json`.

mod comparison;

/// Enough to meet every piece in every place that matters; the bench reads a million.
const BODIES: u32 = 20_000;

#[test]
fn what_is_accepted_is_json_and_reaches_the_child_unchanged_and_nothing_else_is_refused_as_json() {
    let counts = comparison::run(BODIES);
    assert!(counts.delivered > BODIES / 5, "the bodies are too broken to show much: {counts:?}");
    assert!(counts.no_json > BODIES / 5, "the bodies are too whole to show much: {counts:?}");
    assert!(counts.no_message > BODIES / 100, "{counts:?}");
}
