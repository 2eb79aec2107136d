//! The `mcp-broker` binary.
fn main() {}
