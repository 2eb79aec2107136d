//! The forge takes a token no more, and the child never had it.

use super::{
    super::{
        deployment::{Deployment, child},
        forge::ForgeOptions,
        standing::who,
    },
    sessions,
};
use crate::harness::with_timeout;

async fn deployment() -> Deployment {
    Deployment::at_forge_by_egress(ForgeOptions::default(), "", "").await
}

#[test]
fn a_token_that_died_early_costs_no_call_and_no_child() {
    with_timeout(async {
        let deployment = deployment().await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let before = child(&session).await;
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        deployment.forge().state().forget_access_tokens();
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        assert_eq!(child(&session).await, before);
        assert_eq!(deployment.forge().counters().refreshes["ada"], 1);
    });
}

#[test]
fn a_grant_withdrawn_at_the_forge_is_a_challenge_at_the_call_behind_the_one_that_failed() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let session = application.with(&tokens).open().await;
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        deployment.forge().state().revoke(7, None);
        assert_eq!(who(&session).await.0, 200, "the server's own error");
        let (status, _) = who(&session).await;
        assert_eq!(status, 401);
        let again = deployment.sign_in(&application, "ada").await;
        let same = session.bearer(&again.access);
        assert_eq!(who(&same).await, (200, "ada".to_owned()), "the same session goes on");
    });
}
