//! The store in memory as one for sealed credentials and local accounts.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    memory_store::MemoryStore,
    memory_tables::{Setup, Slot, SlotKey, Tables},
};
use crate::{
    TokenHash, UnixTime,
    local::{Account, Accounts, ISSUER},
    oauth::{Grant, Stored},
    upstream::{CredentialKey, CredentialRealm, CredentialStore, Sealed},
};

fn slot_key(key: &CredentialKey) -> SlotKey {
    (key.issuer.clone(), key.subject.clone(), key.realm.to_string())
}

fn credential_key((issuer, subject, realm): &SlotKey) -> CredentialKey {
    let realm = CredentialRealm::from_stored(realm);
    CredentialKey { realm, issuer: issuer.clone(), subject: subject.clone() }
}

fn stored(slots: &BTreeMap<SlotKey, Slot>) -> impl Iterator<Item = (CredentialKey, &Sealed)> {
    slots.iter().filter_map(|(key, slot)| Some((credential_key(key), slot.sealed.as_ref()?)))
}

impl CredentialStore for MemoryStore {
    fn credential<'a>(&'a self, key: &'a CredentialKey) -> Stored<'a, Option<Sealed>> {
        self.call(move |tables| tables.credentials.get(&slot_key(key))?.sealed.clone())
    }

    fn put_credential<'a>(
        &'a self,
        key: &'a CredentialKey,
        key_id: &'a str,
        bytes: Vec<u8>,
        replaces: Option<u64>,
        now: UnixTime,
    ) -> Stored<'a, Option<u64>> {
        self.call(move |tables| {
            let slot = tables.credentials.entry(slot_key(key)).or_default();
            let current = slot.sealed.as_ref().map(|own| own.version);
            if replaces.is_some() && replaces != current {
                return None;
            }
            let version = slot.last_version + 1;
            let sealed = Sealed { version, key_id: key_id.to_owned(), bytes, stored: now };
            *slot = Slot { last_version: version, sealed: Some(sealed), claimed: None };
            Some(version)
        })
    }

    fn remove_credential<'a>(&'a self, key: &'a CredentialKey) -> Stored<'a, bool> {
        self.call(move |tables| match tables.credentials.get_mut(&slot_key(key)) {
            Some(slot) => slot.remove(),
            None => false,
        })
    }

    fn claim_renewal<'a>(
        &'a self,
        key: &'a CredentialKey,
        version: u64,
        until: UnixTime,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        self.call(move |tables| {
            let slot = tables.credentials.get_mut(&slot_key(key));
            let slot = slot.filter(|slot| slot.is(version));
            let slot = slot.filter(|slot| slot.claimed.is_none_or(|end| now.is_past(end)));
            slot.map(|slot| slot.claimed = Some(until)).is_some()
        })
    }

    fn release_renewal<'a>(&'a self, key: &'a CredentialKey, version: u64) -> Stored<'a, ()> {
        self.call(move |tables| {
            let slot = tables.credentials.get_mut(&slot_key(key));
            if let Some(slot) = slot.filter(|slot| slot.is(version)) {
                slot.claimed = None;
            }
        })
    }

    fn sealed_otherwise<'a>(
        &'a self,
        key_id: &'a str,
        limit: usize,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>> {
        self.call(move |tables| {
            let others = stored(&tables.credentials).filter(|(_, own)| own.key_id != key_id);
            others.take(limit).map(|(key, own)| (key, own.clone())).collect()
        })
    }

    fn credentials_at<'a>(
        &'a self,
        realm: &'a CredentialRealm,
        after: (&'a str, &'a str),
        limit: usize,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>> {
        self.call(move |tables| {
            stored(&tables.credentials)
                .filter(|(key, _)| key.realm == *realm)
                .filter(|(key, _)| (key.issuer.as_str(), key.subject.as_str()) > after)
                .take(limit)
                .map(|(key, own)| (key, own.clone()))
                .collect()
        })
    }

    fn credential_realms(&self) -> Stored<'_, Vec<CredentialRealm>> {
        self.call(|tables| {
            let realms: BTreeSet<_> =
                stored(&tables.credentials).map(|(key, _)| key.realm.to_string()).collect();
            realms.iter().map(|realm| CredentialRealm::from_stored(realm)).collect()
        })
    }

    fn sealing_keys(&self) -> Stored<'_, Vec<String>> {
        self.call(|tables| {
            let mut keys: Vec<_> =
                stored(&tables.credentials).map(|(_, own)| own.key_id.clone()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        })
    }

    fn credentials_of<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>> {
        self.call(move |tables| {
            stored(&tables.credentials)
                .filter(|(key, _)| key.issuer == issuer && key.subject == subject)
                .map(|(key, own)| (key, own.clone()))
                .collect()
        })
    }
}

impl Accounts for MemoryStore {
    fn account<'a>(&'a self, name: &'a str) -> Stored<'a, Option<Account>> {
        self.call(move |tables| tables.accounts.get(name).cloned())
    }

    fn add_account(&self, account: Account) -> Stored<'_, bool> {
        self.call(move |tables| {
            let free = !tables.accounts.contains_key(&account.name);
            if free {
                tables.accounts.insert(account.name.clone(), account);
            }
            free
        })
    }

    fn accounts<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Account>> {
        self.call(move |tables| {
            let above = tables.accounts.values().filter(|own| own.name.as_str() > after);
            above.take(limit).cloned().collect()
        })
    }

    fn set_password<'a>(&'a self, name: &'a str, password: String) -> Stored<'a, bool> {
        self.call(move |tables| {
            let Some(account) = tables.accounts.get_mut(name) else { return false };
            account.password = password;
            let subject = account.subject.clone();
            tables.close_browsers(&subject);
            true
        })
    }

    fn rehash<'a>(&'a self, name: &'a str, from: &'a str, to: String) -> Stored<'a, bool> {
        self.call(move |tables| {
            let account = tables.accounts.get_mut(name).filter(|own| own.password == from);
            account.map(|own| own.password = to).is_some()
        })
    }

    fn remove_account<'a>(
        &'a self,
        name: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Option<Vec<Grant>>> {
        self.call(move |tables| {
            let subject = tables.accounts.remove(name)?.subject;
            tables.close_browsers(&subject);
            tables.consents.retain(|own| own.issuer != ISSUER || own.subject != subject);
            for ((issuer, own, _), slot) in &mut tables.credentials {
                if issuer == ISSUER && *own == subject {
                    slot.remove();
                }
            }
            Some(tables.revoke_user(ISSUER, &subject, now))
        })
    }

    fn offer_setup(&self, secret: TokenHash, expires: UnixTime) -> Stored<'_, ()> {
        self.call(move |tables| tables.setup = Some((*secret.as_bytes(), expires)))
    }

    fn is_setup<'a>(&'a self, secret: &'a TokenHash, now: UnixTime) -> Stored<'a, bool> {
        self.call(move |tables| tables.is_setup(secret, now))
    }

    fn set_up<'a>(
        &'a self,
        secret: &'a TokenHash,
        account: Account,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        self.call(move |tables| {
            let good = tables.is_setup(secret, now) && tables.accounts.is_empty();
            if good {
                tables.setup = None;
                tables.accounts.insert(account.name.clone(), account);
            }
            good
        })
    }
}

impl Tables {
    fn close_browsers(&mut self, subject: &str) {
        self.browsers.retain(|_, own| own.user.issuer != ISSUER || own.user.subject != subject);
    }

    fn is_setup(&self, secret: &TokenHash, now: UnixTime) -> bool {
        let good = |(own, expires): &Setup| {
            TokenHash::from_bytes(*own) == *secret && !now.is_past(*expires)
        };
        self.setup.as_ref().is_some_and(good)
    }
}
