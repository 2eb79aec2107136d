//! An [`AuthStore`] in memory: what the trait means, said in code. It keeps credentials and accounts
//! as well.

use std::{
    cmp::Reverse,
    future::poll_fn,
    sync::{Mutex, PoisonError},
    task::Poll,
};

use super::memory_tables::Tables;
use crate::{
    TokenHash, UnixTime,
    oauth::{
        AccessToken, AuthStore, Browser, Client, Code, Consent, Grant, NewToken, Origin, Redeemed,
        RefreshToken, Registered, Rotated, Rotation, StoreError, Stored, Transaction,
        TransactionKey, Upstream, User,
    },
};

/// Where a fault hits a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was changed.
    Before,
    /// The change was made, and its answer got lost.
    After,
}

/// The reference implementation. Nothing outlives it.
///
/// It gives way once before each call does its work, so that concurrent requests meet in every
/// order, and it can be told to fail.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    calls: u64,
    failing: bool,
    fault: Option<(u64, Fault)>,
}

/// Why a [`MemoryStore`] did not answer.
#[derive(Debug, thiserror::Error)]
#[error("told to fail")]
struct ToldToFail;

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every call fails from now on, or none any more.
    pub fn fail(&self, failing: bool) {
        self.with(|state| state.failing = failing);
    }

    /// The `nth` call from now on fails, counted from 1; the others do not. Zero takes that
    /// back.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        self.with(|state| state.fault = Some((state.calls + nth, fault)));
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
    }

    /// How many records there are, of every kind together.
    #[must_use]
    pub fn records(&self) -> usize {
        self.with(|state| state.tables.count())
    }

    /// Everything that is kept, as text: to look for what must not be there.
    #[must_use]
    pub fn dump(&self) -> String {
        self.with(|state| format!("{:#?}", state.tables))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One call: gives way, then does all of its work under the lock, or fails.
    pub(super) fn call<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut Tables) -> T + Send + 'a,
    ) -> Stored<'a, T> {
        Box::pin(async move {
            let mut waited = false;
            poll_fn(|context| {
                if std::mem::replace(&mut waited, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            self.with(|state| {
                state.calls += 1;
                let hit = state.fault.filter(|(call, _)| *call == state.calls);
                if state.failing || hit.is_some_and(|(_, fault)| fault == Fault::Before) {
                    return Err(StoreError::new(ToldToFail));
                }
                let outcome = work(&mut state.tables);
                if hit.is_some() {
                    return Err(StoreError::new(ToldToFail));
                }
                Ok(outcome)
            })
        })
    }
}

impl AuthStore for MemoryStore {
    fn client<'a>(&'a self, id: &'a str, now: UnixTime) -> Stored<'a, Option<Client>> {
        self.call(move |tables| tables.client(id, now).cloned())
    }

    fn register_client<'a>(
        &'a self,
        client: Client,
        fingerprint: Option<TokenHash>,
        max_unused: usize,
        now: UnixTime,
    ) -> Stored<'a, Registered> {
        self.call(move |tables| {
            let fingerprint = fingerprint.map(|own| *own.as_bytes());
            let known = fingerprint
                .and_then(|own| tables.fingerprints.get(&own))
                .filter(|id| tables.client(id, now).is_some())
                .cloned();
            if let Some(known) = known.and_then(|id| tables.clients.get_mut(&id)) {
                if known.unused_until.is_some() {
                    known.unused_until = known.unused_until.max(client.unused_until);
                }
                return Registered::Known(Box::new(known.clone()));
            }
            if client.unused_until.is_some() {
                if max_unused == 0 {
                    return Registered::Full;
                }
                let waiting = |own: &&Client| own.unused_until.is_some_and(|end| !now.is_past(end));
                let mut waiting: Vec<_> = tables.clients.values().filter(waiting).collect();
                waiting.sort_by_key(|own| own.unused_until);
                let surplus = (waiting.len() + 1).saturating_sub(max_unused);
                let gone: Vec<_> = waiting[..surplus].iter().map(|own| own.id.clone()).collect();
                gone.iter().for_each(|id| drop(tables.clients.remove(id)));
            }
            if let Some(fingerprint) = fingerprint {
                tables.fingerprints.insert(fingerprint, client.id.clone());
            }
            tables.redeemed.insert(client.id.clone(), client.created);
            tables.clients.insert(client.id.clone(), client);
            Registered::New
        })
    }

    fn has_fingerprint<'a>(
        &'a self,
        fingerprint: &'a TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        self.call(move |tables| {
            let known = tables.fingerprints.get(fingerprint.as_bytes());
            known.is_some_and(|id| tables.client(id, now).is_some())
        })
    }

    fn clients<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Client>> {
        self.call(move |tables| {
            let above = tables.clients.values().filter(|own| own.id.as_str() > after);
            above.take(limit).cloned().collect()
        })
    }

    fn revoke_surplus<'a>(
        &'a self,
        grant: &'a Grant,
        keep: usize,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>> {
        self.call(move |tables| tables.revoke_surplus(grant, keep, now))
    }

    fn revoke_user<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>> {
        self.call(move |tables| tables.revoke_user(issuer, subject, now))
    }

    fn grant<'a>(&'a self, grant_id: &'a str) -> Stored<'a, Option<Grant>> {
        self.call(move |tables| tables.grants.get(grant_id).cloned())
    }

    fn has_consented<'a>(
        &'a self,
        user: &'a User,
        client: &'a str,
        redirect_uri: &'a str,
    ) -> Stored<'a, bool> {
        self.call(move |tables| {
            tables.consents.iter().any(|own| {
                own.issuer == user.issuer
                    && own.subject == user.subject
                    && own.client == client
                    && own.redirect_uri == redirect_uri
            })
        })
    }

    fn has_confidential_client(&self) -> Stored<'_, bool> {
        self.call(move |tables| {
            let is_one = |own: &Client| own.origin == Origin::Operator && !own.is_public();
            tables.clients.values().any(is_one)
        })
    }

    fn remove_client<'a>(&'a self, id: &'a str, now: UnixTime) -> Stored<'a, Vec<Grant>> {
        self.call(move |tables| {
            tables.clients.remove(id);
            tables.redeemed.remove(id);
            tables.consents.retain(|own| own.client != id);
            tables.burn(|own| own.request.client == id);
            let of_client = tables.grants.values().filter(|grant| grant.client == id);
            let grant_ids: Vec<_> = of_client.map(|grant| grant.grant_id.clone()).collect();
            grant_ids.iter().filter_map(|grant_id| tables.revoke(grant_id, now)).collect()
        })
    }

    fn open_transaction<'a>(
        &'a self,
        transaction: Transaction,
        max_open: usize,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        self.call(move |tables| {
            if max_open == 0 {
                return false;
            }
            let open = || tables.transactions.values().filter(|own| !now.is_past(own.expires));
            let surplus = (open().count() + 1).saturating_sub(max_open);
            let many = |peer| open().filter(|own| own.peer == peer).count();
            let mut places: Vec<_> = open()
                .filter(|_| surplus > 0)
                .map(|own| {
                    let others = own.peer != transaction.peer;
                    let fewest = Reverse(many(own.peer));
                    let place = (own.binding.is_some(), others, fewest, own.expires);
                    (place, *own.handle.as_bytes())
                })
                .collect();
            places.sort_unstable();
            places[..surplus].iter().for_each(|(_, own)| drop(tables.transactions.remove(own)));
            tables.transactions.insert(*transaction.handle.as_bytes(), transaction);
            true
        })
    }

    fn transaction<'a>(
        &'a self,
        handle: &'a TokenHash,
        now: UnixTime,
    ) -> Stored<'a, Option<Transaction>> {
        self.call(move |tables| {
            let own = tables.transactions.get(handle.as_bytes());
            own.filter(|own| !now.is_past(own.expires)).cloned()
        })
    }

    fn approve_transaction<'a>(
        &'a self,
        handle: &'a TokenHash,
        binding: TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        self.call(move |tables| {
            let own = tables.transactions.get_mut(handle.as_bytes());
            let own = own.filter(|own| !now.is_past(own.expires) && own.binding.is_none());
            own.map(|own| own.binding = Some(binding)).is_some()
        })
    }

    fn begin_upstream<'a>(
        &'a self,
        handle: &'a TokenHash,
        provider: &'a str,
        state: TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        self.call(move |tables| {
            let own = tables.transactions.get_mut(handle.as_bytes());
            let own = own.filter(|own| !now.is_past(own.expires) && own.binding.is_some());
            own.map(|own| own.upstream = Some(Upstream { provider: provider.to_owned(), state }))
                .is_some()
        })
    }

    fn take_transaction<'a>(
        &'a self,
        key: TransactionKey<'a>,
        now: UnixTime,
    ) -> Stored<'a, Option<Transaction>> {
        self.call(move |tables| {
            let handle = match key {
                TransactionKey::Handle(handle) => *handle.as_bytes(),
                TransactionKey::State(state) => {
                    let has = |own: &&Transaction| {
                        own.upstream.as_ref().is_some_and(|upstream| upstream.state == *state)
                    };
                    *tables.transactions.values().find(has)?.handle.as_bytes()
                }
            };
            tables.transactions.remove(&handle).filter(|own| !now.is_past(own.expires))
        })
    }

    fn issue_code<'a>(&'a self, code: Code, consent: Consent) -> Stored<'a, ()> {
        self.call(move |tables| {
            let same = |own: &Consent| Consent { given: own.given, ..consent.clone() } == *own;
            tables.consents.retain(|own| !same(own));
            tables.consents.push(consent);
            tables.codes.insert(*code.hash.as_bytes(), code);
        })
    }

    fn code<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<Code>> {
        self.call(move |tables| tables.codes.get(hash.as_bytes()).cloned())
    }

    fn burn_code<'a>(&'a self, hash: &'a TokenHash, now: UnixTime) -> Stored<'a, Option<Grant>> {
        self.call(move |tables| {
            let code = tables.codes.get_mut(hash.as_bytes())?;
            code.used = true;
            let grant_id = code.grant_id.clone();
            tables.revoke(&grant_id, now)
        })
    }

    fn redeem_code<'a>(
        &'a self,
        hash: &'a TokenHash,
        access: NewToken,
        refresh: Option<NewToken>,
        now: UnixTime,
    ) -> Stored<'a, Redeemed> {
        self.call(move |tables| tables.redeem(hash, &access, refresh.as_ref(), now))
    }

    fn access_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<AccessToken>> {
        self.call(move |tables| {
            let own = tables.access.get(hash.as_bytes())?;
            Some(AccessToken {
                grant: tables.grants.get(&own.grant_id)?.clone(),
                scope: own.scope.clone(),
                issued: own.issued,
                expires: own.expires,
                revoked: own.revoked,
            })
        })
    }

    fn refresh_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<RefreshToken>> {
        self.call(move |tables| {
            let own = tables.refresh.get(hash.as_bytes())?;
            Some(RefreshToken {
                grant: tables.grants.get(&own.grant_id)?.clone(),
                issued: own.issued,
                expires: own.expires,
                used: own.used.as_ref().map(|used| used.at),
            })
        })
    }

    fn rotate_refresh<'a>(&'a self, rotation: Rotation, now: UnixTime) -> Stored<'a, Rotated> {
        self.call(move |tables| tables.rotate(&rotation, now))
    }

    fn revoke_access<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, bool> {
        self.call(move |tables| {
            let own = tables.access.get_mut(hash.as_bytes()).filter(|own| !own.revoked);
            own.map(|own| own.revoked = true).is_some()
        })
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str, now: UnixTime) -> Stored<'a, Option<Grant>> {
        self.call(move |tables| tables.revoke(grant_id, now))
    }

    fn grants_of<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        after: Option<&'a Grant>,
        limit: usize,
    ) -> Stored<'a, Vec<Grant>> {
        self.call(move |tables| {
            let is = |own: &&Grant| {
                own.user.issuer == issuer && own.user.subject == subject && own.revoked.is_none()
            };
            let place = |own: &Grant| (Reverse(own.created), own.grant_id.clone());
            let mut all: Vec<Grant> = tables.grants.values().filter(is).cloned().collect();
            all.retain(|own| after.is_none_or(|after| place(own) > place(after)));
            all.sort_by_key(place);
            all.truncate(limit);
            all
        })
    }

    fn grants<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Grant>> {
        self.call(move |tables| {
            let is = |own: &&Grant| own.grant_id.as_str() > after && own.revoked.is_none();
            let mut all: Vec<Grant> = tables.grants.values().filter(is).cloned().collect();
            all.sort_by(|left, right| left.grant_id.cmp(&right.grant_id));
            all.truncate(limit);
            all
        })
    }

    fn revoked_since<'a>(&'a self, since: UnixTime, limit: usize) -> Stored<'a, Vec<Grant>> {
        self.call(move |tables| {
            let is = |own: &&Grant| own.revoked.is_some_and(|at| at >= since);
            let mut all: Vec<Grant> = tables.grants.values().filter(is).cloned().collect();
            all.sort_by_key(|own| own.revoked);
            all.truncate(limit);
            all
        })
    }

    fn is_consented<'a>(&'a self, asked: &'a Consent) -> Stored<'a, bool> {
        self.call(move |tables| tables.consents.iter().any(|own| own.answers(asked)))
    }

    fn forget_consents<'a>(&'a self, user: &'a User, client: &'a str) -> Stored<'a, ()> {
        self.call(move |tables| {
            tables.consents.retain(|own| {
                own.issuer != user.issuer || own.subject != user.subject || own.client != client
            });
        })
    }

    fn open_browser<'a>(&'a self, browser: Browser) -> Stored<'a, ()> {
        self.call(move |tables| {
            tables.browsers.insert(*browser.cookie.as_bytes(), browser);
        })
    }

    fn browser<'a>(&'a self, cookie: &'a TokenHash, now: UnixTime) -> Stored<'a, Option<Browser>> {
        self.call(move |tables| {
            let own = tables.browsers.get(cookie.as_bytes());
            own.filter(|own| !now.is_past(own.expires)).cloned()
        })
    }

    fn close_browser<'a>(&'a self, cookie: &'a TokenHash) -> Stored<'a, ()> {
        self.call(move |tables| {
            tables.browsers.remove(cookie.as_bytes());
        })
    }

    fn rename_provider<'a>(&'a self, from: &'a str, to: &'a str) -> Stored<'a, usize> {
        self.call(move |tables| tables.rename_provider(from, to))
    }

    fn sweep<'a>(&'a self, now: UnixTime, limit: usize) -> Stored<'a, usize> {
        self.call(move |tables| tables.sweep(now, limit))
    }
}
