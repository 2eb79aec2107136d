//! Which user of the operating system runs whose children: a number for each person, for ever.
//!
//! A file named after each number that was given away says whose it is. The files are beside the caches
//! that belong to these users, so both are kept or lost together.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use session::Owner;

use super::cache::person_key;
use crate::config::UidRange;

/// The numbers.
#[derive(Debug)]
pub(crate) struct Uids {
    /// `None` where nobody's children run for long.
    directory: Option<PathBuf>,
    /// Read when the first is asked for.
    known: Mutex<Option<HashMap<String, u32>>>,
}

impl Uids {
    /// Those of the broker whose data is in `data_dir`, which must be locked.
    pub(super) fn of_broker(data_dir: &Path) -> Self {
        Self { directory: Some(data_dir.join("uids")), known: Mutex::default() }
    }

    /// Everybody has the last one.
    pub(super) fn of_trials() -> Self {
        Self { directory: None, known: Mutex::default() }
    }

    /// The number of `owner`, the same every time. Blocks.
    ///
    /// # Errors
    /// When all are taken, or the directory cannot be used.
    pub(super) fn of(&self, owner: &Owner, range: UidRange) -> io::Result<u32> {
        let Some(directory) = &self.directory else { return Ok(range.last) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &mut *known {
            Some(known) => known,
            None => known.insert(read(directory)?),
        };
        let person = person_key(owner);
        if let Some(own) = known.get(&person).filter(|own| range.contains(**own)) {
            return Ok(*own);
        }
        let free = (range.first..=range.last).find(|uid| !known.values().any(|own| own == uid));
        let own =
            free.ok_or_else(|| io::Error::other("all numbers of isolation.uids are taken"))?;
        let mut file = File::create_new(directory.join(own.to_string()))?;
        file.write_all(person.as_bytes())?;
        file.sync_all()?;
        known.insert(person, own);
        Ok(own)
    }
}

fn read(directory: &Path) -> io::Result<HashMap<String, u32>> {
    fs::create_dir_all(directory)?;
    let mut known = HashMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Ok(own) = entry.file_name().to_string_lossy().parse() {
            known.insert(fs::read_to_string(entry.path())?, own);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_has_a_number_for_ever_until_all_are_taken() {
        let place = tempfile::tempdir().expect("a directory");
        let range = UidRange { first: 200_000, last: 200_001 };
        let person = |name: &str| Owner::new("https://forge", name, "client");
        let uids = Uids::of_broker(place.path());
        assert_eq!(uids.of(&person("ada"), range).expect("the first"), 200_000);
        assert_eq!(uids.of(&person("eve"), range).expect("the second"), 200_001);
        assert_eq!(uids.of(&person("ada"), range).expect("hers"), 200_000);
        let again = Uids::of_broker(place.path());
        assert_eq!(again.of(&person("eve"), range).expect("hers"), 200_001);
        assert!(again.of(&person("joe"), range).is_err());
        assert_eq!(Uids::of_trials().of(&person("joe"), range).expect("the last"), 200_001);
    }
}
