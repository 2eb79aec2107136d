//! The kinds of tables that the broker brings along, in the order of the example.

use super::kinds::{Kinds, TableKind};
use super::providers::{Forge, GitHub, Oidc};
use super::verifiers::{Introspection, Jwt, NoSignIn, OwnTokens, StaticTokens};

impl Kinds {
    /// The kinds that the broker brings along.
    #[must_use]
    pub fn built_in() -> Self {
        Self::none()
            .with(TableKind::verifier::<OwnTokens>("oauth"))
            .with(TableKind::verifier::<NoSignIn>("none"))
            .with(TableKind::verifier::<StaticTokens>("static"))
            .with(TableKind::verifier::<Jwt>("jwt"))
            .with(TableKind::verifier::<Introspection>("introspection"))
            .with(TableKind::identity::<OwnTokens>("local"))
            .with(TableKind::identity::<Forge>("forgejo"))
            .with(
                TableKind::identity::<Forge>("gitea")
                    .about(
                        "Signing in with a Gitea account, as with Forgejo; the redirect address is \
                         PUBLIC_URL/callback/gitea.",
                    )
                    .example("url", r#""https://gitea.example.org""#)
                    .example("label", r#""gitea.example.org""#),
            )
            .with(TableKind::identity::<Oidc>("oidc"))
            .with(TableKind::identity::<GitHub>("github"))
    }
}
