//! What the store in memory keeps about people.

use super::memory_store::MemoryStore;
use crate::{
    UnixTime,
    oauth::{BlockedPerson, Grant, PeopleStore, Stored},
};

fn person(issuer: &str, subject: &str) -> (String, String) {
    (issuer.to_owned(), subject.to_owned())
}

impl PeopleStore for MemoryStore {
    fn block_person<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>> {
        self.call(move |tables| {
            tables.blocked.entry(person(issuer, subject)).or_insert(now);
            tables
                .browsers
                .retain(|_, own| own.user.issuer != issuer || own.user.subject != subject);
            tables.consents.retain(|own| own.issuer != issuer || own.subject != subject);
            for ((own_issuer, own, _), slot) in &mut tables.credentials {
                if own_issuer == issuer && own == subject {
                    slot.remove();
                }
            }
            tables.revoke_user(issuer, subject, now)
        })
    }

    fn unblock_person<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, bool> {
        self.call(move |tables| tables.blocked.remove(&person(issuer, subject)).is_some())
    }

    fn is_blocked<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, bool> {
        self.call(move |tables| tables.blocked.contains_key(&person(issuer, subject)))
    }

    fn blocked_people(&self) -> Stored<'_, Vec<BlockedPerson>> {
        self.call(move |tables| {
            let all = tables.blocked.iter().map(|((issuer, subject), since)| BlockedPerson {
                issuer: issuer.clone(),
                subject: subject.clone(),
                since: *since,
            });
            all.collect()
        })
    }

    fn keep_facts<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        facts: String,
        learnt: UnixTime,
    ) -> Stored<'a, ()> {
        self.call(move |tables| {
            tables.facts.insert(person(issuer, subject), (facts, learnt));
        })
    }

    fn facts<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
    ) -> Stored<'a, Option<(String, UnixTime)>> {
        self.call(move |tables| tables.facts.get(&person(issuer, subject)).cloned())
    }

    fn claim_login<'a>(
        &'a self,
        issuer: &'a str,
        login: &'a str,
        subject: &'a str,
    ) -> Stored<'a, String> {
        self.call(move |tables| {
            let owner = tables.logins.entry(person(issuer, login));
            owner.or_insert_with(|| subject.to_owned()).clone()
        })
    }

    fn claimed_logins<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, Vec<String>> {
        self.call(move |tables| {
            let own = tables.logins.iter().filter(|((at, _), of)| at == issuer && *of == subject);
            own.map(|((_, login), _)| login.clone()).collect()
        })
    }
}
