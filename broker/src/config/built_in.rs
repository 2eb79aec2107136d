//! The kinds of tables that the broker brings along, in the order of the example.

use super::kinds::{Kinds, Role, TableKind};
use super::providers::{Forge, GitHub, Oidc};
use super::verifiers::{Introspection, Jwt, NoSignIn, OwnTokens, StaticTokens};

impl Kinds {
    /// The kinds that the broker brings along.
    #[must_use]
    pub fn built_in() -> Self {
        Self::none()
            .with(TableKind::of_broker::<OwnTokens>("oauth", Role::Verifier))
            .with(TableKind::verifier("none", NoSignIn::build).only_one())
            .with(TableKind::of_broker::<StaticTokens>("static", Role::Verifier))
            .with(
                TableKind::verifier("jwt", Jwt::build).issuer(|own: &Jwt| Some(own.issuer.clone())),
            )
            .with(
                TableKind::verifier("introspection", Introspection::build)
                    .issuer(|own: &Introspection| Some(own.users_issuer())),
            )
            .with(TableKind::of_broker::<OwnTokens>("local", Role::Identity))
            .with(
                TableKind::identity("forgejo", Forge::build)
                    .issuer(|own: &Forge| Some(own.url.clone())),
            )
            .with(
                TableKind::identity("gitea", Forge::build)
                    .issuer(|own: &Forge| Some(own.url.clone()))
                    .about(
                        "Signing in with a Gitea account, as with Forgejo; the redirect address is \
                         PUBLIC_URL/callback/gitea.",
                    )
                    .example("url", r#""https://gitea.example.org""#)
                    .example("label", r#""gitea.example.org""#),
            )
            .with(
                TableKind::identity("oidc", Oidc::build)
                    .issuer(|own: &Oidc| Some(own.issuer.clone())),
            )
            .with(
                TableKind::identity("github", GitHub::build)
                    .issuer(|own: &GitHub| Some(own.url.clone())),
            )
    }
}
