//! Whom the operator lets in: rules for each provider and each server, judged by what the providers
//! say of people.
//!
//! A new sign-in is judged before anything of it is kept, and so is a credential that was renewed. In
//! between what was said last stands in for the provider, for a day at most: a client's own refresh is
//! compared with that.
//!
//! # Invariants
//!
//! - A login in a rule stands for the first person who came with it, by the immutable id: a person who
//!   gets the login later is another one, and the first one is still meant under another login.
//! - What cannot be told lets no person in: a rule that lets people in does not name them then, and one
//!   that keeps people out does.

mod facts;
mod rule;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use facts::{Facts, Mail, Wanted};
pub use rule::{BadRule, Rule};

use self::rule::Known;
use crate::{
    UnixTime, local,
    oauth::{Identity, PeopleStore, StoreError, User},
};

/// How long what a provider said stands in for it.
const FACTS_AGE: Duration = Duration::from_secs(24 * 3600);

/// Who may come in, and who may not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who is named here may come in; `None`: everyone may.
    pub allow: Option<Vec<Rule>>,
    /// Who is named here may not, whatever `allow` says.
    pub deny: Vec<Rule>,
}

impl Rules {
    /// What a provider is to be asked about a person for these rules. `provider` is its name.
    #[must_use]
    pub fn wanted(&self, provider: &str) -> Wanted {
        wanted(std::iter::once(self), provider)
    }

    fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.allow.iter().flatten().chain(&self.deny)
    }

    fn admit(&self, known: Known<'_>) -> bool {
        let is_denied = self.deny.iter().any(|rule| rule.keeps_out(known).unwrap_or(true));
        let is_allowed = |allow: &Vec<Rule>| allow.iter().any(|own| own.names(known) == Some(true));
        !is_denied && self.allow.as_ref().is_none_or(is_allowed)
    }
}

/// Judges people by the operator's rules.
#[derive(Debug)]
pub struct Admission {
    store: Arc<dyn PeopleStore>,
    /// By the provider's name.
    providers: BTreeMap<String, Rules>,
    /// By the server's canonical address.
    servers: BTreeMap<String, Rules>,
}

/// How a person stands with the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// The person may come in.
    Yes,
    /// The person may not.
    No,
    /// What was said of the person is too old to tell, or was not asked for then.
    Stale,
}

impl Admission {
    /// `providers` by name, `servers` by canonical address. Without rules everyone may come in.
    #[must_use]
    pub fn new(
        store: Arc<dyn PeopleStore>,
        providers: BTreeMap<String, Rules>,
        servers: BTreeMap<String, Rules>,
    ) -> Self {
        Self { store, providers, servers }
    }

    /// What the provider `name` is to be asked about people, for all rules there are.
    #[must_use]
    pub fn wanted(&self, name: &str) -> Wanted {
        wanted(self.providers.get(name).into_iter().chain(self.servers.values()), name)
    }

    /// Judges a person of whom the provider `name` has just said `identity`, for the server at
    /// `resource` if there is one, and keeps what was said of those who may come in.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the person is not let in then.
    pub async fn judge(
        &self,
        name: &str,
        identity: &Identity,
        resource: Option<&str>,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let person = (identity.issuer.as_str(), identity.subject.as_str());
        if !self.admits(name, resource, person, &identity.facts).await? {
            let login = identity.facts.login.as_deref().unwrap_or_default();
            tracing::warn!(
                provider = name, owner = %identity.subject, login, server = resource.unwrap_or_default(),
                "a person was not let in by the rules `allow` and `deny`; \"id:…\" with this owner \
                 would name them"
            );
            // Nothing is kept of a stranger. Whoever was let in before has lost more than this
            // sign-in: the next refresh is compared with what was said now.
            if self.store.facts(&identity.issuer, &identity.subject).await?.is_some() {
                self.keep(name, identity, now).await?;
            }
            return Ok(false);
        }
        self.keep(name, identity, now).await?;
        Ok(true)
    }

    /// Keeps what a provider has just said of a person, if rules ask for it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn keep(
        &self,
        name: &str,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let asked = self.wanted(name);
        if asked.is_nothing() {
            return Ok(());
        }
        let facts = Facts { asked, ..identity.facts.clone() };
        let facts = serde_json::to_string(&facts).map_err(StoreError::new)?;
        let (issuer, subject) = (&identity.issuer, &identity.subject);
        self.store.keep_facts(issuer, subject, facts, UnixTime::of(now)).await
    }

    /// How `user` stands with the rules of the provider, and with those of the server at `resource` if
    /// there is one, by what was said last.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the person is not let in then.
    pub async fn standing(
        &self,
        user: &User,
        resource: Option<&str>,
        now: SystemTime,
    ) -> Result<Admitted, StoreError> {
        let wanted = wanted(self.rules(&user.provider, resource), &user.provider);
        let facts = if wanted.is_nothing() {
            Facts::default()
        } else if user.issuer == local::ISSUER {
            // Our own accounts keep their names.
            Facts::of_login(&user.display_name, &wanted)
        } else {
            let kept = self.store.facts(&user.issuer, &user.subject).await?;
            let is_fresh = |learnt: UnixTime| !UnixTime::of(now).is_past(learnt.plus(FACTS_AGE));
            let facts = kept
                .filter(|(_, learnt)| is_fresh(*learnt))
                .and_then(|(text, _)| serde_json::from_str::<Facts>(&text).ok());
            match facts {
                Some(facts) if facts.cover(&wanted) => facts,
                _ => return Ok(Admitted::Stale),
            }
        };
        let person = (user.issuer.as_str(), user.subject.as_str());
        let admits = self.admits(&user.provider, resource, person, &facts).await?;
        Ok(if admits { Admitted::Yes } else { Admitted::No })
    }

    fn rules<'a>(
        &'a self,
        name: &str,
        resource: Option<&str>,
    ) -> impl Iterator<Item = &'a Rules> + use<'a> {
        let server = resource.and_then(|resource| self.servers.get(resource));
        self.providers.get(name).into_iter().chain(server)
    }

    async fn admits(
        &self,
        name: &str,
        resource: Option<&str>,
        (issuer, subject): (&str, &str),
        facts: &Facts,
    ) -> Result<bool, StoreError> {
        let rules: Vec<_> = self.rules(name, resource).collect();
        let names = |login: &str| {
            rules.iter().any(|own| own.iter().any(|rule| rule.login(name) == Some(login)))
        };
        let mut logins = Vec::new();
        if wanted(rules.iter().copied(), name).login {
            if let Some(login) = facts.login.as_deref().map(str::to_ascii_lowercase)
                && names(&login)
            {
                let owner = self.store.claim_login(issuer, &login, subject).await?;
                if owner != subject {
                    tracing::warn!(
                        owner = %subject, login, first = %owner,
                        "a login that a rule names has passed to another person, whom the rule does \
                         not name; write \"id:…\" with this owner if they are meant"
                    );
                }
            }
            logins = self.store.claimed_logins(issuer, subject).await?;
        }
        let known = Known { provider: name, subject, logins: &logins, facts };
        Ok(rules.iter().all(|own| own.admit(known)))
    }
}

/// What is to be known of the people of a provider.
fn wanted<'a>(rules: impl Iterator<Item = &'a Rules>, provider: &str) -> Wanted {
    let mut wanted = Wanted::default();
    for rule in rules.flat_map(Rules::iter) {
        rule.add_to(&mut wanted, provider);
    }
    wanted
}

#[cfg(test)]
mod tests;
