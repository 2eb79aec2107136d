//! The bridge from outside: HTTP exchanges on one side, a scripted child on the other.
//!
//! Rows of the fault catalogue (T…, C…) are named in the tests that show them.

mod child;
mod faults;
mod interleavings;
mod replacement;
mod replies;
mod requests_of_the_child;
mod resume;
mod returns;
mod streams;
mod succession;
