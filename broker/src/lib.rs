//! Composes, translates, serves, stores: the MCP session broker.
