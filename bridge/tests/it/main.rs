//! The bridge from outside: HTTP exchanges on one side, a scripted child on the other.
//!
//! `docs/THREATS.md` lists which test answers to which attack or fault.

mod admissions;
mod calls;
mod child;
mod differential;
mod faults;
mod handing_on;
mod interleavings;
mod replacement;
mod replies;
mod requests_of_the_child;
mod resume;
mod returns;
mod streams;
mod succession;
mod unread;
mod unreadable;
