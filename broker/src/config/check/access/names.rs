//! Former names, each of which one table can have.

use crate::config::auth::Auth;
use crate::config::error::Problem;
use crate::config::kinds::ConfiguredTable;
use crate::config::path::KeyPath;
use crate::config::reader::Reader;

/// Refuses a former name that another table has, or had.
pub(super) fn check(auth: &Auth, reader: &mut Reader<'_>) {
    let tables: Vec<&ConfiguredTable> = auth.identity_tables().collect();
    for (index, table) in tables.iter().enumerate() {
        let Some(former) = &table.former_name else { continue };
        let path = KeyPath::new("auth").child(table.name.as_str()).child("former_name");
        if let Some(other) = tables.iter().find(|other| other.name == *former) {
            let what = if other.name == table.name {
                format!("{:?} is what it is called now", former.as_str())
            } else {
                format!("{:?} is the name of another table", former.as_str())
            };
            reader.refuse(&path, Problem::new(what));
        } else if ["local", "user"].contains(&former.as_str()) {
            let what = format!("no provider was ever called {:?}", former.as_str());
            reader.refuse(&path, Problem::new(what));
        } else if let Some(other) =
            tables[..index].iter().find(|other| other.former_name.as_ref() == Some(former))
        {
            let what = format!("auth.{} was called {:?} too", other.name, former.as_str());
            reader.refuse(&path, Problem::new(what));
        }
    }
}
