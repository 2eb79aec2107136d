//! Real children. Each fixture under `tests/fixtures` has one habit; what a test cannot do to its
//! own process is done by the fixture `parent`, which uses the crate in a process of its own.

mod containment;
mod ending;
mod group;
mod harness;
mod inheritance;
mod launcher;
mod limits;
mod orphans;
mod parent;
mod sandbox;
mod starting;
mod streams;
