//! The plug point for durable state.

use std::{fmt, time::Duration};

use super::{
    AccessToken, Browser, Client, Code, Consent, Grant, NewToken, PeopleStore, RefreshToken,
    Stored, Transaction, User,
};
use crate::{TokenHash, UnixTime};

/// Durable state of the authorization server.
///
/// # What holds for every method
///
/// - It is atomic and, when it changed something, durable before it returns `Ok`: the answer to a
///   client is built from what it returned. An SQL implementation uses one transaction each.
/// - Look-ups by hash take the same time wherever a wrong hash differs (an index over the 32 bytes
///   does).
/// - Records past their time are never returned as good, whether or not a sweep removed them.
/// - Time comes in as `now`; a store reads no clock.
///
/// # Errors
///
/// [`StoreError`](super::StoreError) alone: the store could not be asked. Clients are told to come again, never that
/// their tokens are bad.
///
/// # Cancel safety
///
/// Dropping a future leaves the change either made or not made, never half made.
///
/// Every implementation runs `auth::testing::store_contract`.
pub trait AuthStore: PeopleStore + fmt::Debug + Send + Sync {
    /// The client `id`, unless it is past its unused time.
    fn client<'a>(&'a self, id: &'a str, now: UnixTime) -> Stored<'a, Option<Client>>;

    /// Adds `client`. With a `fingerprint` that is already known (of a client not past its unused
    /// time) nothing is added: the known client's unused time is prolonged to the new one's, and
    /// the known client is returned. At most `max_unused` clients with an unused time in the future
    /// are kept: beyond that, those go whose time ends first. So a flood of registrations shortens
    /// the time until a first use and keeps nobody out.
    fn register_client<'a>(
        &'a self,
        client: Client,
        fingerprint: Option<TokenHash>,
        max_unused: usize,
        now: UnixTime,
    ) -> Stored<'a, Registered>;

    /// Whether [`register_client`](Self::register_client) would find a known client by this
    /// fingerprint.
    fn has_fingerprint<'a>(&'a self, fingerprint: &'a TokenHash, now: UnixTime)
    -> Stored<'a, bool>;

    /// At most `limit` clients with an identifier above `after`, in its order.
    fn clients<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Client>>;

    /// Whether there is a client of the operator ([`Origin::Operator`](super::Origin::Operator)) that
    /// has a secret.
    fn has_confidential_client(&self) -> Stored<'_, bool>;

    /// Forgets a client and its consents, revokes its grants, and marks its codes as used, so that
    /// none that is on its way makes a grant; returns the grants that were live.
    fn remove_client<'a>(&'a self, id: &'a str, now: UnixTime) -> Stored<'a, Vec<Grant>>;

    /// Keeps a new sign-in. At most `max_open` are under way: beyond that, some go, so that a flood
    /// shortens the time for a sign-in and keeps nobody out; at once with them may go one in a hundred
    /// more, so that a flood is not sorted for each of its own. First go those that no browser approved;
    /// among them those of the same [`peer`](Transaction::peer) as the new one, so that nobody makes
    /// others' go by opening many; then those of the peer with the most; then those that end first.
    /// `false`, and nothing kept, when there may be none at all.
    fn open_transaction<'a>(
        &'a self,
        transaction: Transaction,
        max_open: usize,
        now: UnixTime,
    ) -> Stored<'a, bool>;

    /// The sign-in with this handle.
    fn transaction<'a>(
        &'a self,
        handle: &'a TokenHash,
        now: UnixTime,
    ) -> Stored<'a, Option<Transaction>>;

    /// Marks a sign-in as approved by the browser that holds `binding`. `false` when there is no
    /// such sign-in or it was approved before.
    fn approve_transaction<'a>(
        &'a self,
        handle: &'a TokenHash,
        binding: TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool>;

    /// Notes that an upstream sign-in was begun; an earlier one of the same transaction is
    /// forgotten. `false` when there is no such transaction or nobody approved it.
    fn begin_upstream<'a>(
        &'a self,
        handle: &'a TokenHash,
        provider: &'a str,
        state: TokenHash,
        now: UnixTime,
    ) -> Stored<'a, bool>;

    /// Removes a sign-in and returns it: of many callers exactly one gets it.
    fn take_transaction<'a>(
        &'a self,
        key: TransactionKey<'a>,
        now: UnixTime,
    ) -> Stored<'a, Option<Transaction>>;

    /// Keeps a code that is about to be sent out, and remembers the consent behind it.
    fn issue_code<'a>(&'a self, code: Code, consent: Consent) -> Stored<'a, ()>;

    /// The code, used or not, as long as it is kept; also past its time, so that a replay can be
    /// told from a forgery.
    fn code<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<Code>>;

    /// Marks a code as used without issuing anything: its proof was wrong. Was it redeemed before,
    /// its grant is revoked, and given when it was live until then.
    fn burn_code<'a>(&'a self, hash: &'a TokenHash, now: UnixTime) -> Stored<'a, Option<Grant>>;

    /// Exchanges a code for tokens: marks it used, creates its grant, keeps both tokens, and ends
    /// its client's unused time; from then on the client is kept as [`sweep`](Self::sweep) says. Of
    /// many callers exactly one gets [`Redeemed::Fresh`]. Every other one gets
    /// [`Redeemed::Repeated`] within [`CODE_GRACE`] of that, and revokes the grant in the same step
    /// later (RFC 6749 §4.1.2). The caller has proved that it is the client the code was made for:
    /// for anybody else there is [`burn_code`](Self::burn_code).
    fn redeem_code<'a>(
        &'a self,
        hash: &'a TokenHash,
        access: NewToken,
        refresh: Option<NewToken>,
        now: UnixTime,
    ) -> Stored<'a, Redeemed>;

    /// The access token, whatever its state; `None` when it was never issued or was swept.
    fn access_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<AccessToken>>;

    /// The refresh token, whatever its state.
    fn refresh_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<RefreshToken>>;

    /// Exchanges a refresh token for its successor; see [`Rotation`] and [`Rotated`].
    fn rotate_refresh<'a>(&'a self, rotation: Rotation, now: UnixTime) -> Stored<'a, Rotated>;

    /// Revokes the grants that the user of `grant` gave the same client for the same server, beyond
    /// the `keep` that were refreshed last, and never `grant` itself; those whose time is over do not
    /// count. Returns what was revoked.
    fn revoke_surplus<'a>(
        &'a self,
        grant: &'a Grant,
        keep: usize,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>>;

    /// Revokes all grants of a user, and marks the user's codes as used, so that none that is on its
    /// way makes a grant; returns the grants that were live.
    fn revoke_user<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>>;

    /// Takes one access token back. `true` when it was live.
    fn revoke_access<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, bool>;

    /// Revokes a grant, with every token of its family. Returns it when it was live.
    fn revoke_grant<'a>(&'a self, grant_id: &'a str, now: UnixTime) -> Stored<'a, Option<Grant>>;

    /// The grant, whatever its state, as long as it is kept.
    fn grant<'a>(&'a self, grant_id: &'a str) -> Stored<'a, Option<Grant>>;

    /// The live grants of a user, newest first and by id among equals, at most `limit`, and only those
    /// that come after `after` in this order.
    fn grants_of<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        after: Option<&'a Grant>,
        limit: usize,
    ) -> Stored<'a, Vec<Grant>>;

    /// At most `limit` live grants with an id above `after`, in its order.
    fn grants<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Grant>>;

    /// Grants revoked at or after `since`, oldest first, at most `limit`: how one broker learns
    /// what another one, or the command line, took back.
    fn revoked_since<'a>(&'a self, since: UnixTime, limit: usize) -> Stored<'a, Vec<Grant>>;

    /// Whether this was approved before; compares with [`Consent::answers`].
    fn is_consented<'a>(&'a self, asked: &'a Consent) -> Stored<'a, bool>;

    /// Whether `user` approved anything for `client` at this redirect address before.
    fn has_consented<'a>(
        &'a self,
        user: &'a User,
        client: &'a str,
        redirect_uri: &'a str,
    ) -> Stored<'a, bool>;

    /// Forgets what a user approved for a client.
    fn forget_consents<'a>(&'a self, user: &'a User, client: &'a str) -> Stored<'a, ()>;

    /// Keeps a browser's sign-in.
    fn open_browser<'a>(&'a self, browser: Browser) -> Stored<'a, ()>;

    /// The browser with this cookie.
    fn browser<'a>(&'a self, cookie: &'a TokenHash, now: UnixTime) -> Stored<'a, Option<Browser>>;

    /// Ends a browser's sign-in.
    fn close_browser<'a>(&'a self, cookie: &'a TokenHash) -> Stored<'a, ()>;

    /// Renames an identity provider in everything that names one: users of browsers, codes and
    /// grants, and sign-ins under way. Says how many records those were. Credentials are the
    /// [`Vault`](crate::upstream::Vault::rename_provider)'s, because they are sealed with the name.
    fn rename_provider<'a>(&'a self, from: &'a str, to: &'a str) -> Stored<'a, usize>;

    /// Removes what has served its time, at most `limit` records, and says how many those were; a
    /// caller that gets `limit` calls again.
    ///
    /// Kept beyond their time are used codes (an hour, [`CODE_MEMORY`]) and used refresh tokens
    /// (until they expire), because their reuse must be noticed. A grant goes when its last token
    /// went, or after it was revoked for an hour and its tokens expired.
    ///
    /// A client goes when its unused time is over. One that registered itself
    /// ([`Origin::Registration`](super::Origin::Registration)) and was used goes
    /// [`CLIENT_MEMORY`] after its last code was redeemed, once it has neither grants nor codes; one
    /// that the operator added stays.
    fn sweep<'a>(&'a self, now: UnixTime, limit: usize) -> Stored<'a, usize>;
}

/// How long a code is kept after its time, so that its replay is noticed.
pub const CODE_MEMORY: Duration = Duration::from_secs(3600);

/// How long after a code was redeemed its client may present it again without harm. Clients retry,
/// or redeem from two windows at once; who can prove itself as the first one did is no thief, and
/// gets nothing from it either.
pub const CODE_GRACE: Duration = Duration::from_secs(10);

/// How long a client that registered itself is kept after its last code was redeemed. Clients that
/// register anew with every installation would fill the store; one that is forgotten registers
/// again.
pub const CLIENT_MEMORY: Duration = Duration::from_secs(400 * 24 * 3600);

/// By what a sign-in is taken.
#[derive(Debug, Clone, Copy)]
pub enum TransactionKey<'a> {
    /// Its handle.
    Handle(&'a TokenHash),
    /// The `state` of the upstream sign-in that was begun last.
    State(&'a TokenHash),
}

/// The outcome of [`AuthStore::register_client`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The client was added.
    New,
    /// This one has the same fingerprint and stands for the new one.
    Known(Box<Client>),
    /// There may be no unused clients at all.
    Full,
}

/// The outcome of [`AuthStore::redeem_code`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// The caller's tokens are good.
    Fresh(Box<Grant>),
    /// The code was redeemed less than [`CODE_GRACE`] ago. Nothing was changed, and nothing is
    /// issued.
    Repeated,
    /// The code was redeemed before. Its grant is revoked now; it is given when it was live until
    /// then.
    Replayed(Option<Box<Grant>>),
    /// Never sent out, burned, or too late.
    Gone,
}

/// What to do with a refresh token.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// SHA-256 of the token that was presented.
    pub token: TokenHash,
    /// The salt its successors are derived with; goes to the token's record and is returned when
    /// the rotation is repeated.
    pub salt: [u8; 32],
    /// The successor's access token.
    pub access: NewToken,
    /// What the access token may be used for.
    pub scope: String,
    /// The successor itself.
    pub refresh: NewToken,
    /// How long the same rotation may be repeated.
    pub grace: Duration,
}

/// The outcome of [`AuthStore::rotate_refresh`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The caller's tokens are good; the presented one is used from now on.
    Fresh(Box<Grant>),
    /// The presented token was used less than `grace` ago, and its successor was not used yet.
    /// Nothing was changed. The successors are the ones of the first time.
    Repeated(Box<Repeat>),
    /// The presented token was used before, and this is no repetition: somebody else may have it.
    /// The grant is revoked now; it is given when it was live until then.
    Reused(Option<Box<Grant>>),
    /// Unknown, expired, or of a revoked grant.
    Gone,
}

/// What the first rotation left, for one that repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// The grant.
    pub grant: Grant,
    /// The salt of the first time.
    pub salt: [u8; 32],
    /// The successor's access token.
    pub access: NewToken,
    /// What it may be used for.
    pub scope: String,
    /// The successor.
    pub refresh: NewToken,
}

/// How far a clock may be set back before a grace window counts as over.
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(60);

/// Whether a token used at `used` may be repeated at `now`. A clock that was set back by more than
/// [`CLOCK_LEEWAY`] ends the window rather than reopening it.
#[must_use]
pub fn in_grace(used: UnixTime, now: UnixTime, grace: Duration) -> bool {
    match now.since(used) {
        Some(age) => age < grace,
        None => now.until(used) <= CLOCK_LEEWAY && !grace.is_zero(),
    }
}
