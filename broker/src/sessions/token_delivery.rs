//! Keeps the token files of children up to date: a renewed token then takes no new child, and a long
//! call does not outlive its token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::upstream::Vault;
use session::View;
use tokio::{sync::Notify, time::interval};
use tracing::debug;

use super::{
    child::Child,
    child_credential::ChildCredential,
    child_session::ChildSession,
    credential::credential,
    registry::Sessions,
    replacement::{self, Decision, Event},
};
use crate::{clock::Clock, error_chain::error_chain};

/// How often tokens of children in use are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Whose token files are kept up to date, and with what.
#[derive(Debug)]
pub(crate) struct TokenDelivery {
    pub(crate) sessions: Sessions,
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Clock,
    /// Rings when a child has an old token in its file.
    pub(crate) stale: Arc<Notify>,
}

impl TokenDelivery {
    /// Delivers what replaced a child's token, and renews the token of a child in use.
    pub(crate) async fn run(self) {
        let mut interval = interval(INTERVAL);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.stale.notified() => {}
            }
            self.deliver_due(self.clock.now()).await;
        }
    }

    async fn deliver_due(&self, now: SystemTime) {
        let due = self.sessions.look(
            |_| true,
            |view| {
                let own = view.backend.credential().filter(|own| own.is_renewed_in_place())?;
                let in_use = view.idle_since.is_none();
                let wanted = own.take_stale() || (in_use && own.must_renew(now));
                wanted.then(|| (Arc::clone(&view.backend.server), view.owner.clone(), own.clone()))
            },
        );
        for (server, owner, own) in due.into_iter().flatten() {
            let (vault, settings) = (Some(&*self.vault), server.settings());
            let renewed = credential(vault, &server.name, &settings, &owner, now).await;
            match renewed {
                Ok(Some(credential)) if !own.deliver(&credential, now).await => {
                    self.not_delivered(&own);
                }
                // Delivered; or the server takes none any more since a reload.
                Ok(_) => {}
                Err(error) => {
                    let cause = error_chain(&error);
                    debug!(subject = owner.subject(), %error, %cause, "no renewed token to deliver");
                    // If only a sign-in helps, the next call says so to its client.
                    if !error.needs_sign_in() {
                        own.mark_stale();
                    }
                }
            }
        }
    }

    fn not_delivered(&self, own: &Arc<ChildCredential>) {
        let event = Event::NotDelivered { for_call: false };
        let Decision::Replace(how) = replacement::decide(event, true) else { return };
        let is_its = |view: &View<'_, ChildSession>| {
            view.backend.credential().is_some_and(|its| Arc::ptr_eq(its, own))
        };
        self.sessions.replace(is_its, how);
    }
}
