//! What the store in memory holds, and the changes to it that take several records at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    TokenHash, TokenRecord, UnixTime,
    local::Account,
    oauth::{
        Browser, CLIENT_MEMORY, CODE_GRACE, CODE_MEMORY, Client, Code, Consent, Grant, NewToken,
        Origin, Redeemed, Repeat, Rotated, Rotation, Transaction, in_grace,
    },
    upstream::Sealed,
};

type Key = [u8; 32];

#[derive(Debug, Default, Clone)]
pub(super) struct Tables {
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) fingerprints: BTreeMap<Key, String>,
    /// When each client's last code was redeemed, or else when it was added.
    pub(super) redeemed: BTreeMap<String, UnixTime>,
    pub(super) transactions: BTreeMap<Key, Transaction>,
    pub(super) codes: BTreeMap<Key, Code>,
    pub(super) grants: BTreeMap<String, Grant>,
    pub(super) access: BTreeMap<Key, Access>,
    pub(super) refresh: BTreeMap<Key, Refresh>,
    pub(super) consents: Vec<Consent>,
    pub(super) browsers: BTreeMap<Key, Browser>,
    pub(super) credentials: BTreeMap<SlotKey, Slot>,
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) setup: Option<Setup>,
    pub(super) static_tokens: Vec<TokenRecord>,
    /// By issuer and subject.
    pub(super) blocked: BTreeMap<(String, String), UnixTime>,
    /// By issuer and subject: what, and when.
    pub(super) facts: BTreeMap<(String, String), (String, UnixTime)>,
    /// By issuer and login: the subject.
    pub(super) logins: BTreeMap<(String, String), String>,
}

#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) grant_id: String,
    pub(super) scope: String,
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) revoked: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Refresh {
    pub(super) grant_id: String,
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) used: Option<Used>,
}

#[derive(Debug, Clone)]
pub(super) struct Used {
    pub(super) at: UnixTime,
    pub(super) salt: [u8; 32],
    pub(super) access: Key,
    pub(super) successor: Key,
}

/// What is kept under one [`CredentialKey`]; it stays when the credential goes, so that no version
/// is given twice.
#[derive(Debug, Default, Clone)]
pub(super) struct Slot {
    pub(super) last_version: u64,
    pub(super) sealed: Option<Sealed>,
    /// Until when somebody renews the current version.
    pub(super) claimed: Option<UnixTime>,
}

/// (issuer, subject, provider), so that a user's credentials stand together, by provider.
pub(super) type SlotKey = (String, String, String);

/// The hash of the set-up link's secret and when it is too late.
pub(super) type Setup = ([u8; 32], UnixTime);

impl Slot {
    pub(super) fn is(&self, version: u64) -> bool {
        self.sealed.as_ref().is_some_and(|own| own.version == version)
    }

    pub(super) fn remove(&mut self) -> bool {
        self.claimed = None;
        self.sealed.take().is_some()
    }
}

impl Tables {
    /// Revokes a user's grants, and marks the codes that would make others as used.
    pub(super) fn revoke_user(&mut self, issuer: &str, subject: &str, now: UnixTime) -> Vec<Grant> {
        self.burn(|own| own.user.issuer == issuer && own.user.subject == subject);
        let own = |grant: &&Grant| grant.user.issuer == issuer && grant.user.subject == subject;
        let ids: Vec<_> =
            self.grants.values().filter(own).map(|own| own.grant_id.clone()).collect();
        ids.iter().filter_map(|id| self.revoke(id, now)).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
            + self.transactions.len()
            + self.codes.len()
            + self.grants.len()
            + self.access.len()
            + self.refresh.len()
            + self.consents.len()
            + self.browsers.len()
            + self.credentials.values().filter(|slot| slot.sealed.is_some()).count()
            + self.accounts.len()
            + self.static_tokens.len()
    }

    pub(super) fn client(&self, id: &str, now: UnixTime) -> Option<&Client> {
        self.clients.get(id).filter(|own| own.unused_until.is_none_or(|end| !now.is_past(end)))
    }

    pub(super) fn revoke(&mut self, grant_id: &str, now: UnixTime) -> Option<Grant> {
        let grant = self.grants.get_mut(grant_id).filter(|grant| grant.revoked.is_none())?;
        grant.revoked = Some(now);
        Some(grant.clone())
    }

    pub(super) fn revoke_surplus(
        &mut self,
        grant: &Grant,
        keep: usize,
        now: UnixTime,
    ) -> Vec<Grant> {
        let live: BTreeSet<&str> = (self.access.values())
            .filter(|own| !now.is_past(own.expires))
            .map(|own| &*own.grant_id)
            .chain(
                (self.refresh.values())
                    .filter(|own| own.used.is_none() && !now.is_past(own.expires))
                    .map(|own| &*own.grant_id),
            )
            .collect();
        let mut alike: Vec<_> = (self.grants.values())
            .filter(|own| own.grant_id != grant.grant_id && own.revoked.is_none())
            .filter(|own| own.user.is(&grant.user) && own.client == grant.client)
            .filter(|own| own.resource == grant.resource && live.contains(&*own.grant_id))
            .map(|own| (own.refreshed, own.created, own.grant_id.clone()))
            .collect();
        alike.sort_unstable_by(|one, other| other.cmp(one));
        let surplus = alike.into_iter().skip(keep.saturating_sub(1));
        surplus.filter_map(|(_, _, id)| self.revoke(&id, now)).collect()
    }

    /// Marks as used what would make a grant of somebody who is gone.
    pub(super) fn burn(&mut self, gone: impl Fn(&Code) -> bool) {
        self.codes.values_mut().filter(|code| gone(code)).for_each(|code| code.used = true);
    }

    pub(super) fn keep_access(
        &mut self,
        grant_id: &str,
        scope: &str,
        token: &NewToken,
        now: UnixTime,
    ) {
        let access = Access {
            grant_id: grant_id.to_owned(),
            scope: scope.to_owned(),
            issued: now,
            expires: token.expires,
            revoked: false,
        };
        self.access.insert(*token.hash.as_bytes(), access);
    }

    pub(super) fn keep_refresh(&mut self, grant_id: &str, token: &NewToken, now: UnixTime) {
        let refresh = Refresh {
            grant_id: grant_id.to_owned(),
            issued: now,
            expires: token.expires,
            used: None,
        };
        self.refresh.insert(*token.hash.as_bytes(), refresh);
    }

    pub(super) fn redeem(
        &mut self,
        hash: &TokenHash,
        access: &NewToken,
        refresh: Option<&NewToken>,
        now: UnixTime,
    ) -> Redeemed {
        let Some(code) = self.codes.get_mut(hash.as_bytes()) else { return Redeemed::Gone };
        if code.used {
            let grant_id = code.grant_id.clone();
            // A burned code has no grant.
            let Some(grant) = self.grants.get(&grant_id) else { return Redeemed::Gone };
            if in_grace(grant.created, now, CODE_GRACE) {
                return Redeemed::Repeated;
            }
            return Redeemed::Replayed(self.revoke(&grant_id, now).map(Box::new));
        }
        if now.is_past(code.expires) {
            return Redeemed::Gone;
        }
        code.used = true;
        let grant = Grant {
            grant_id: code.grant_id.clone(),
            client: code.request.client.clone(),
            client_name: code.request.client_name.clone(),
            user: code.user.clone(),
            resource: code.request.resource.clone(),
            scope: code.request.scope.clone(),
            created: now,
            refreshed: now,
            revoked: None,
        };
        self.keep_access(&grant.grant_id, &grant.scope, access, now);
        if let Some(refresh) = refresh {
            self.keep_refresh(&grant.grant_id, refresh, now);
        }
        if let Some(client) = self.clients.get_mut(&grant.client) {
            client.unused_until = None;
            self.redeemed.insert(client.id.clone(), now);
        }
        self.grants.insert(grant.grant_id.clone(), grant.clone());
        Redeemed::Fresh(Box::new(grant))
    }

    pub(super) fn rotate(&mut self, rotation: &Rotation, now: UnixTime) -> Rotated {
        let Some(token) = self.refresh.get(rotation.token.as_bytes()).cloned() else {
            return Rotated::Gone;
        };
        let Some(grant) = self.grants.get(&token.grant_id).cloned() else { return Rotated::Gone };
        if grant.revoked.is_some() || (token.used.is_none() && now.is_past(token.expires)) {
            return Rotated::Gone;
        }
        let Some(used) = token.used else {
            let used = Used {
                at: now,
                salt: rotation.salt,
                access: *rotation.access.hash.as_bytes(),
                successor: *rotation.refresh.hash.as_bytes(),
            };
            self.refresh
                .get_mut(rotation.token.as_bytes())
                .expect("it was there a line ago")
                .used = Some(used);
            self.keep_access(&grant.grant_id, &rotation.scope, &rotation.access, now);
            self.keep_refresh(&grant.grant_id, &rotation.refresh, now);
            let grant = self.grants.get_mut(&token.grant_id).expect("it was there a line ago");
            grant.refreshed = now;
            return Rotated::Fresh(Box::new(grant.clone()));
        };
        let successor = self.refresh.get(&used.successor);
        let access = self.access.get(&used.access);
        if let (Some(successor), Some(access)) = (successor, access)
            && successor.used.is_none()
            && !now.is_past(token.expires)
            && in_grace(used.at, now, rotation.grace)
        {
            return Rotated::Repeated(Box::new(Repeat {
                grant,
                salt: used.salt,
                access: NewToken {
                    hash: TokenHash::from_bytes(used.access),
                    expires: access.expires,
                },
                scope: access.scope.clone(),
                refresh: NewToken {
                    hash: TokenHash::from_bytes(used.successor),
                    expires: successor.expires,
                },
            }));
        }
        Rotated::Reused(self.revoke(&token.grant_id, now).map(Box::new))
    }

    pub(super) fn rename_provider(&mut self, from: &str, to: &str) -> usize {
        let users = (self.browsers.values_mut().map(|own| &mut own.user.provider))
            .chain(self.codes.values_mut().map(|own| &mut own.user.provider))
            .chain(self.grants.values_mut().map(|own| &mut own.user.provider));
        let under_way = self.transactions.values_mut().filter_map(|own| own.upstream.as_mut());
        let names = users.chain(under_way.map(|own| &mut own.provider));
        names.filter(|name| *name == from).map(|name| to.clone_into(name)).count()
    }

    pub(super) fn sweep(&mut self, now: UnixTime, limit: usize) -> usize {
        let before = self.count();
        let mut left = limit;
        let mut spare = |gone: bool| {
            let goes = gone && left > 0;
            left -= usize::from(goes);
            !goes
        };
        self.transactions.retain(|_, own| spare(now.is_past(own.expires)));
        self.browsers.retain(|_, own| spare(now.is_past(own.expires)));
        self.codes.retain(|_, own| spare(now.is_past(own.expires.plus(CODE_MEMORY))));
        self.access.retain(|_, own| spare(now.is_past(own.expires)));
        self.refresh.retain(|_, own| spare(now.is_past(own.expires)));
        self.clients.retain(|_, own| spare(own.unused_until.is_some_and(|end| now.is_past(end))));
        let live: BTreeSet<&str> = (self.access.values().map(|own| &*own.grant_id))
            .chain(self.refresh.values().map(|own| &*own.grant_id))
            .chain(self.codes.values().map(|own| &*own.grant_id))
            .collect();
        self.grants.retain(|grant_id, own| {
            let told = own.revoked.is_none_or(|at| now.is_past(at.plus(CODE_MEMORY)));
            spare(told && !live.contains(grant_id.as_str()))
        });
        let active: BTreeSet<&str> = (self.grants.values().map(|own| &*own.client))
            .chain(self.codes.values().map(|own| &*own.request.client))
            .collect();
        let redeemed = &self.redeemed;
        self.clients.retain(|id, own| {
            let last = redeemed.get(id).copied().unwrap_or(own.created);
            let forgotten = own.unused_until.is_none() && now.is_past(last.plus(CLIENT_MEMORY));
            let registered = matches!(own.origin, Origin::Registration);
            spare(registered && forgotten && !active.contains(id.as_str()))
        });
        self.static_tokens
            .retain(|own| spare(own.revoked.is_some_and(|at| now.is_past(at.plus(CODE_MEMORY)))));
        self.redeemed.retain(|id, _| self.clients.contains_key(id));
        self.fingerprints.retain(|_, id| self.clients.contains_key(id));
        before - self.count()
    }
}
