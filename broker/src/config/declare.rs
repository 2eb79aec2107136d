//! What a declaration of a table is made of: the traits behind
//! [`settings!`](crate::settings), the types it uses, and the functions that begin a key.

pub mod rows;

pub use super::error::{Problem, Problems};
pub use super::key::{Declared, Key, Row};
pub use super::path::KeyPath;
pub use super::reader::Reader;
pub use super::setting::{Entry, Given, Setting, Single, shape};
pub use super::table::{Table, adopt_next, declared, list_next, read_next};
pub use super::words::Words;
