//! The traits, method by method. What a method means stands in the trait; what it does, in the
//! module of its table.
//!
//! Arguments are copied into the jobs: a change goes on when its caller leaves.

use std::{sync::Arc, time::SystemTime};

use auth::{
    StaticTokenStore, TokenAdded, TokenHash, TokenRecord, UnixTime,
    local::{Account, Accounts},
    oauth::{
        AccessToken, AuthStore, Browser, Client, Code, Consent, Grant, NewToken, Redeemed,
        RefreshToken, Registered, Rotated, Rotation, Stored, Transaction, TransactionKey, User,
    },
    upstream::{CredentialKey, CredentialRealm, CredentialStore, Sealed},
};

use session::{Record, RecordKey, Recorded, Records, RecordsError, Selection, Summary, Use};

use super::{
    Store, accounts, browsers, clients, codes, consents, credentials, grants, sessions, sign_ins,
    static_tokens, sweep, tokens,
};

/// A look-up or a change of the module's function, with the arguments it owns.
macro_rules! job {
    ($self:ident.$kind:ident: $table:ident::$verb:ident($($argument:expr),*)) => {
        Box::pin($self.$kind(move |db| Box::pin(async move {
            $table::$verb(db, $($argument),*).await
        })))
    };
}

/// A [`job`] in the words of the registry of sessions.
macro_rules! record {
    ($self:ident.$kind:ident: $verb:ident($($argument:expr),*)) => {
        Box::pin(async move {
            let done = $self.$kind(move |db| Box::pin(async move {
                sessions::$verb(db, $($argument),*).await
            }));
            done.await.map_err(RecordsError::new)
        })
    };
}

impl AuthStore for Store {
    fn client<'a>(&'a self, id: &'a str, now: UnixTime) -> Stored<'a, Option<Client>> {
        let id = id.to_owned();
        job!(self.read: clients::find(&id, now))
    }

    fn register_client<'a>(
        &'a self,
        client: Client,
        fingerprint: Option<TokenHash>,
        max_unused: usize,
        now: UnixTime,
    ) -> Stored<'a, Registered> {
        job!(self.write: clients::register(&client, fingerprint, max_unused, now))
    }

    fn has_fingerprint<'a>(
        &'a self,
        fingerprint: &'a TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        let fingerprint = *fingerprint;
        job!(self.read: clients::has_fingerprint(&fingerprint, now))
    }

    fn clients<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Client>> {
        let after = after.to_owned();
        job!(self.read: clients::list(&after, limit))
    }

    fn revoke_surplus<'a>(
        &'a self,
        grant: &'a Grant,
        keep: usize,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>> {
        let grant = grant.clone();
        job!(self.write: grants::revoke_surplus(&grant, keep, now))
    }

    fn revoke_user<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        job!(self.write: codes::revoke_user(&issuer, &subject, now))
    }

    fn grant<'a>(&'a self, grant_id: &'a str) -> Stored<'a, Option<Grant>> {
        let grant_id = grant_id.to_owned();
        job!(self.read: grants::find(&grant_id))
    }

    fn has_consented<'a>(
        &'a self,
        user: &'a User,
        client: &'a str,
        redirect_uri: &'a str,
    ) -> Stored<'a, bool> {
        let (user, client) = (user.clone(), client.to_owned());
        let redirect_uri = redirect_uri.to_owned();
        job!(self.read: consents::has_given(&user, &client, &redirect_uri))
    }

    fn has_confidential_client(&self) -> Stored<'_, bool> {
        job!(self.read: clients::has_confidential())
    }

    fn remove_client<'a>(&'a self, id: &'a str, now: UnixTime) -> Stored<'a, Vec<Grant>> {
        let id = id.to_owned();
        job!(self.write: clients::remove(&id, now))
    }

    fn open_transaction<'a>(
        &'a self,
        transaction: Transaction,
        max_open: usize,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        job!(self.write: sign_ins::open(&transaction, max_open, now))
    }

    fn transaction<'a>(
        &'a self,
        handle: &'a TokenHash,
        now: UnixTime,
    ) -> Stored<'a, Option<Transaction>> {
        let handle = *handle;
        job!(self.read: sign_ins::find(&handle, now))
    }

    fn approve_transaction<'a>(
        &'a self,
        handle: &'a TokenHash,
        binding: TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        let handle = *handle;
        job!(self.write: sign_ins::approve(&handle, &binding, now))
    }

    fn begin_upstream<'a>(
        &'a self,
        handle: &'a TokenHash,
        provider: &'a str,
        state: TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        let (handle, provider) = (*handle, provider.to_owned());
        job!(self.write: sign_ins::begin_upstream(&handle, &provider, &state, now))
    }

    fn take_transaction<'a>(
        &'a self,
        key: TransactionKey<'a>,
        now: UnixTime,
    ) -> Stored<'a, Option<Transaction>> {
        let key = sign_ins::Key::from(key);
        job!(self.write: sign_ins::take(key, now))
    }

    fn issue_code<'a>(&'a self, code: Code, consent: Consent) -> Stored<'a, ()> {
        job!(self.write: codes::issue(&code, &consent))
    }

    fn code<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<Code>> {
        let hash = *hash;
        job!(self.read: codes::find(&hash))
    }

    fn burn_code<'a>(&'a self, hash: &'a TokenHash, now: UnixTime) -> Stored<'a, Option<Grant>> {
        let hash = *hash;
        job!(self.write: codes::burn(&hash, now))
    }

    fn redeem_code<'a>(
        &'a self,
        hash: &'a TokenHash,
        access: NewToken,
        refresh: Option<NewToken>,
        now: UnixTime,
    ) -> Stored<'a, Redeemed> {
        let hash = *hash;
        job!(self.write: codes::redeem(&hash, &access, refresh.as_ref(), now))
    }

    fn access_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<AccessToken>> {
        let hash = *hash;
        job!(self.read: tokens::access(&hash))
    }

    fn refresh_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<RefreshToken>> {
        let hash = *hash;
        job!(self.read: tokens::refresh(&hash))
    }

    fn rotate_refresh<'a>(&'a self, rotation: Rotation, now: UnixTime) -> Stored<'a, Rotated> {
        job!(self.write: tokens::rotate(&rotation, now))
    }

    fn revoke_access<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, bool> {
        let hash = *hash;
        job!(self.write: tokens::revoke_access(&hash))
    }

    fn revoke_grant<'a>(&'a self, grant_id: &'a str, now: UnixTime) -> Stored<'a, Option<Grant>> {
        let grant_id = grant_id.to_owned();
        job!(self.write: grants::revoke(&grant_id, now))
    }

    fn grants_of<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        after: Option<&'a Grant>,
        limit: usize,
    ) -> Stored<'a, Vec<Grant>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        let after = after.cloned();
        job!(self.read: grants::of_user(&issuer, &subject, after.as_ref(), limit))
    }

    fn grants<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Grant>> {
        let after = after.to_owned();
        job!(self.read: grants::list(&after, limit))
    }

    fn revoked_since<'a>(&'a self, since: UnixTime, limit: usize) -> Stored<'a, Vec<Grant>> {
        job!(self.read: grants::revoked_since(since, limit))
    }

    fn is_consented<'a>(&'a self, asked: &'a Consent) -> Stored<'a, bool> {
        let asked = asked.clone();
        job!(self.read: consents::is_given(&asked))
    }

    fn forget_consents<'a>(&'a self, user: &'a User, client: &'a str) -> Stored<'a, ()> {
        let (user, client) = (user.clone(), client.to_owned());
        job!(self.write: consents::forget(&user, &client))
    }

    fn open_browser<'a>(&'a self, browser: Browser) -> Stored<'a, ()> {
        job!(self.write: browsers::open(&browser))
    }

    fn browser<'a>(&'a self, cookie: &'a TokenHash, now: UnixTime) -> Stored<'a, Option<Browser>> {
        let cookie = *cookie;
        job!(self.read: browsers::find(&cookie, now))
    }

    fn close_browser<'a>(&'a self, cookie: &'a TokenHash) -> Stored<'a, ()> {
        let cookie = *cookie;
        job!(self.write: browsers::close(&cookie))
    }

    fn rename_provider<'a>(&'a self, from: &'a str, to: &'a str) -> Stored<'a, usize> {
        let (from, to) = (from.to_owned(), to.to_owned());
        job!(self.write: sign_ins::rename_provider(&from, &to))
    }

    fn sweep<'a>(&'a self, now: UnixTime, limit: usize) -> Stored<'a, usize> {
        job!(self.write: sweep::sweep(now, limit))
    }
}

impl CredentialStore for Store {
    fn credential<'a>(&'a self, key: &'a CredentialKey) -> Stored<'a, Option<Sealed>> {
        let key = key.clone();
        job!(self.read: credentials::find(&key))
    }

    fn put_credential<'a>(
        &'a self,
        key: &'a CredentialKey,
        key_id: &'a str,
        bytes: Vec<u8>,
        replaces: Option<u64>,
        now: UnixTime,
    ) -> Stored<'a, Option<u64>> {
        let (key, key_id) = (key.clone(), key_id.to_owned());
        job!(self.write: credentials::put(&key, &key_id, &bytes, replaces, now))
    }

    fn remove_credential<'a>(&'a self, key: &'a CredentialKey) -> Stored<'a, bool> {
        let key = key.clone();
        job!(self.write: credentials::remove(&key))
    }

    fn claim_renewal<'a>(
        &'a self,
        key: &'a CredentialKey,
        version: u64,
        until: UnixTime,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        let key = key.clone();
        job!(self.write: credentials::claim(&key, version, until, now))
    }

    fn release_renewal<'a>(&'a self, key: &'a CredentialKey, version: u64) -> Stored<'a, ()> {
        let key = key.clone();
        job!(self.write: credentials::release(&key, version))
    }

    fn sealed_otherwise<'a>(
        &'a self,
        key_id: &'a str,
        limit: usize,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>> {
        let key_id = key_id.to_owned();
        job!(self.read: credentials::sealed_otherwise(&key_id, limit))
    }

    fn credentials_at<'a>(
        &'a self,
        realm: &'a CredentialRealm,
        (issuer, subject): (&'a str, &'a str),
        limit: usize,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>> {
        let (realm, issuer) = (realm.clone(), issuer.to_owned());
        let subject = subject.to_owned();
        job!(self.read: credentials::in_realm(&realm, (&issuer, &subject), limit))
    }

    fn credential_realms(&self) -> Stored<'_, Vec<CredentialRealm>> {
        job!(self.read: credentials::realms())
    }

    fn sealing_keys(&self) -> Stored<'_, Vec<String>> {
        job!(self.read: credentials::sealing_keys())
    }

    fn credentials_of<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        job!(self.read: credentials::of_user(&issuer, &subject))
    }
}

impl Accounts for Store {
    fn account<'a>(&'a self, name: &'a str) -> Stored<'a, Option<Account>> {
        let name = name.to_owned();
        job!(self.read: accounts::find(&name))
    }

    fn add_account(&self, account: Account) -> Stored<'_, bool> {
        job!(self.write: accounts::add(&account))
    }

    fn accounts<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Account>> {
        let after = after.to_owned();
        job!(self.read: accounts::list(&after, limit))
    }

    fn set_password<'a>(&'a self, name: &'a str, password: String) -> Stored<'a, bool> {
        let name = name.to_owned();
        job!(self.write: accounts::set_password(&name, &password))
    }

    fn rehash<'a>(&'a self, name: &'a str, from: &'a str, to: String) -> Stored<'a, bool> {
        let (name, from) = (name.to_owned(), from.to_owned());
        job!(self.write: accounts::rehash(&name, &from, &to))
    }

    fn remove_account<'a>(
        &'a self,
        name: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Option<Vec<Grant>>> {
        let name = name.to_owned();
        job!(self.write: accounts::remove(&name, now))
    }

    fn offer_setup(&self, secret: TokenHash, expires: UnixTime) -> Stored<'_, ()> {
        job!(self.write: accounts::offer_setup(&secret, expires))
    }

    fn is_setup<'a>(&'a self, secret: &'a TokenHash, now: UnixTime) -> Stored<'a, bool> {
        let secret = *secret;
        job!(self.read: accounts::is_setup(&secret, now))
    }

    fn set_up<'a>(
        &'a self,
        secret: &'a TokenHash,
        account: Account,
        now: UnixTime,
    ) -> Stored<'a, bool> {
        let secret = *secret;
        job!(self.write: accounts::set_up(&secret, &account, now))
    }
}

impl StaticTokenStore for Store {
    fn add_static_token(&self, record: TokenRecord, now: UnixTime) -> Stored<'_, TokenAdded> {
        job!(self.write: static_tokens::add(&record, now))
    }

    fn static_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<TokenRecord>> {
        let hash = *hash;
        job!(self.read: static_tokens::find(&hash))
    }

    fn static_token_named<'a>(&'a self, name: &'a str) -> Stored<'a, Option<TokenRecord>> {
        let name = name.to_owned();
        job!(self.read: static_tokens::named(&name))
    }

    fn static_tokens<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<TokenRecord>> {
        let after = after.to_owned();
        job!(self.read: static_tokens::list(&after, limit))
    }

    fn revoke_static_token<'a>(
        &'a self,
        id_or_name: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Option<TokenRecord>> {
        let id_or_name = id_or_name.to_owned();
        job!(self.write: static_tokens::revoke(&id_or_name, now))
    }

    fn static_tokens_revoked_since(
        &self,
        since: UnixTime,
        limit: usize,
    ) -> Stored<'_, Vec<TokenRecord>> {
        job!(self.read: static_tokens::revoked_since(since, limit))
    }
}

impl Records for Store {
    fn create(&self, record: Record) -> Recorded<'_, bool> {
        record!(self.write: create(&record))
    }

    fn save<'a>(
        &'a self,
        key: &'a RecordKey,
        snapshot: Arc<[u8]>,
        active: SystemTime,
    ) -> Recorded<'a, bool> {
        let key = *key;
        record!(self.write: save(&key, &snapshot, active))
    }

    fn find<'a>(&'a self, key: &'a RecordKey) -> Recorded<'a, Option<Record>> {
        let key = *key;
        record!(self.read: find(&key))
    }

    fn touch<'a>(&'a self, used: &'a [Use]) -> Recorded<'a, ()> {
        let used = used.to_vec();
        record!(self.write: touch(&used))
    }

    fn remove<'a>(&'a self, keys: &'a [RecordKey]) -> Recorded<'a, usize> {
        let keys = keys.to_vec();
        record!(self.write: remove(&keys))
    }

    fn remove_all<'a>(&'a self, which: &'a Selection, before: SystemTime) -> Recorded<'a, usize> {
        let which = which.clone();
        record!(self.write: remove_all(&which, before))
    }

    fn list<'a>(
        &'a self,
        which: &'a Selection,
        after: Option<&'a RecordKey>,
        limit: usize,
    ) -> Recorded<'a, Vec<Summary>> {
        let (which, after) = (which.clone(), after.copied());
        record!(self.read: list(&which, after.as_ref(), limit))
    }

    fn longest_unused<'a>(
        &'a self,
        which: &'a Selection,
        limit: usize,
    ) -> Recorded<'a, Vec<RecordKey>> {
        let which = which.clone();
        record!(self.read: longest_unused(&which, limit))
    }

    fn count<'a>(&'a self, which: &'a Selection) -> Recorded<'a, usize> {
        let which = which.clone();
        record!(self.read: count_all(&which))
    }

    fn missing<'a>(&'a self, keys: &'a [RecordKey]) -> Recorded<'a, Vec<RecordKey>> {
        let keys = keys.to_vec();
        record!(self.read: missing(&keys))
    }

    fn kinds(&self) -> Recorded<'_, Vec<(Arc<str>, usize)>> {
        record!(self.read: kinds())
    }
}
