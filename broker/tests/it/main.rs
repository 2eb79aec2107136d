//! The broker from outside: real sockets, real children, and for what a process alone can show, the
//! real program. `docs/THREATS.md` lists which test answers to which attack or fault.

mod admin;
mod application;
mod browser;
mod children;
mod doctor;
mod forms;
mod golden;
mod harness;
mod http2;
mod isolation;
mod messages;
mod operator;
mod outside;
mod own_table;
mod package_runners;
mod people;
mod processes;
mod program;
mod request_checks;
mod sessions;
mod sleep;
mod slow;
mod spans;
mod store_contract;
mod store_faults;
mod store_harness;
mod store_keys;
mod store_kill;
mod store_rows;
mod store_sessions;
mod streams;
mod terminal;
mod trial;
mod upgrade;
mod wire;
