//! Local accounts, and the plug point that keeps them.

use std::fmt;

use crate::{
    TokenHash, UnixTime,
    oauth::{Grant, Stored},
};

/// A local account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Random and immutable; the subject of the user. A name that was removed and made again is
    /// another person.
    pub subject: String,
    /// What the user types, lowercase, unique.
    pub name: String,
    /// The password as a PHC string of argon2id.
    pub password: String,
    /// When it was made.
    pub created: UnixTime,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("subject", &self.subject)
            .field("name", &self.name)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

/// Keeps local accounts. What holds for every method of
/// [`AuthStore`](crate::oauth::AuthStore) holds here: atomic, durable before it returns, no clock.
///
/// Every implementation runs `auth::testing::accounts_contract`.
pub trait Accounts: fmt::Debug + Send + Sync {
    /// The account with this name.
    fn account<'a>(&'a self, name: &'a str) -> Stored<'a, Option<Account>>;

    /// Adds an account. `false`, and nothing added, when the name is taken.
    fn add_account(&self, account: Account) -> Stored<'_, bool>;

    /// At most `limit` accounts with a name above `after`, in its order.
    fn accounts<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<Account>>;

    /// Gives the account another password, and ends every browser's sign-in of the user (issuer
    /// [`ISSUER`](super::ISSUER)). `false` when there is no such account.
    fn set_password<'a>(&'a self, name: &'a str, password: String) -> Stored<'a, bool>;

    /// Puts `to` in the place of the password hash `from`: the same password, hashed at another
    /// cost. Nothing else changes, and sign-ins go on. `false`, and nothing changed, when `from` is
    /// not the account's hash any more: somebody has given it another password.
    fn rehash<'a>(&'a self, name: &'a str, from: &'a str, to: String) -> Stored<'a, bool>;

    /// Removes an account, with the browsers' sign-ins, the remembered consents and the upstream
    /// credentials of the user, revokes the user's grants, and marks the user's codes as used, so
    /// that none that is on its way makes a grant; returns the grants that were live, or `None` when
    /// there is no such account.
    fn remove_account<'a>(&'a self, name: &'a str, now: UnixTime)
    -> Stored<'a, Option<Vec<Grant>>>;

    /// Keeps the secret of a set-up link, in the place of an earlier one.
    fn offer_setup(&self, secret: TokenHash, expires: UnixTime) -> Stored<'_, ()>;

    /// Whether this is the secret of the set-up link, and not too late.
    fn is_setup<'a>(&'a self, secret: &'a TokenHash, now: UnixTime) -> Stored<'a, bool>;

    /// Adds the first account and spends the set-up link, in one step: of many callers exactly one
    /// gets `true`. `false`, and nothing changed, when the secret is not good or there is an
    /// account already.
    fn set_up<'a>(
        &'a self,
        secret: &'a TokenHash,
        account: Account,
        now: UnixTime,
    ) -> Stored<'a, bool>;
}
