//! What each person's clients have not read, over all of their sessions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bridge::Ledger;
use session::Owner;

/// The ledgers of all people who have sessions.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    /// By issuer and subject.
    by_person: Mutex<HashMap<(String, String), Weak<Ledger>>>,
}

impl Ledgers {
    /// The one ledger of the person that `owner` is, with the bound `max`. It lasts as long as
    /// something is kept for that person, or may be.
    pub(super) fn of(&self, owner: &Owner, max: usize) -> Arc<Ledger> {
        let person = (owner.issuer().to_owned(), owner.subject().to_owned());
        let mut by_person = self.by_person.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ledger) = by_person.get(&person).and_then(Weak::upgrade) {
            ledger.set_max(max);
            return ledger;
        }
        if by_person.len() == by_person.capacity() {
            by_person.retain(|_, ledger| ledger.strong_count() > 0);
        }
        let ledger = Arc::new(Ledger::new(max));
        by_person.insert(person, Arc::downgrade(&ledger));
        ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_one_ledger_through_all_their_clients_and_nobody_else_has_it() {
        let ledgers = Ledgers::default();
        let of = |issuer: &str, subject: &str, client: &str| {
            ledgers.of(&Owner::new(issuer, subject, client), 7)
        };
        let ada = of("a", "ada", "editor");
        assert!(Arc::ptr_eq(&ada, &of("a", "ada", "browser")));
        for (issuer, subject) in [("a", "bob"), ("b", "ada"), ("aa", "da"), ("", "aada")] {
            assert!(!Arc::ptr_eq(&ada, &of(issuer, subject, "editor")), "{issuer} {subject}");
        }
    }

    #[test]
    fn people_without_sessions_are_forgotten() {
        let ledgers = Ledgers::default();
        let ada = ledgers.of(&Owner::new("a", "ada", "editor"), 7);
        for n in 0..10_000 {
            ledgers.of(&Owner::new("a", n.to_string(), "editor"), 7);
        }
        let known = ledgers.by_person.lock().expect("no test panics").len();
        assert!(known < 100, "{known} are known");
        assert!(Arc::ptr_eq(&ada, &ledgers.of(&Owner::new("a", "ada", "editor"), 7)));
    }
}
