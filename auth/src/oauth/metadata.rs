//! Metadata documents: where everything is, and what is understood.

use std::time::SystemTime;

use http::StatusCode;
use serde_json::json;

use super::{
    answer::Answer,
    config::{ClientIdMetadata, Registration},
    server::AuthServer,
};

impl AuthServer {
    /// RFC 8414, also under the name OpenID Connect gave it. What a client reads here it will try, and
    /// some have no second plan; so nothing is named that its reader could not use.
    pub(crate) async fn server_metadata(&self, now: SystemTime) -> Answer {
        let at = |path: &str| self.urls.address(path);
        let scopes: Vec<&str> =
            self.config.scopes.iter().map(|scope| scope.name.as_str()).collect();
        let methods = ["none", "client_secret_basic", "client_secret_post"];
        let mut body = json!({
            "issuer": self.issuer(),
            "authorization_endpoint": at("/oauth/authorize"),
            "token_endpoint": at("/oauth/token"),
            "revocation_endpoint": at("/oauth/revoke"),
            "scopes_supported": scopes,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": self.welcomes_documents(),
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
        });
        // Who has an initial access token was told where to bring it.
        if self.lets_anybody_register() {
            body["registration_endpoint"] = at("/oauth/register").into();
        }
        if self.has_introspectors(now).await {
            body["introspection_endpoint"] = at("/oauth/introspect").into();
            let methods = ["client_secret_basic", "client_secret_post"];
            body["introspection_endpoint_auth_methods_supported"] = json!(methods);
        }
        Answer::json(StatusCode::OK, &body).cacheable()
    }

    fn lets_anybody_register(&self) -> bool {
        matches!(self.config.registration, Registration::Open)
    }

    /// Whether clients are told that they may name themselves by the address of a document. Where
    /// they may register instead, they are not while it would end on an error page.
    fn welcomes_documents(&self) -> bool {
        let is_auto = self.config.client_id_metadata == ClientIdMetadata::Auto;
        self.documents.as_ref().is_some_and(|documents| {
            !is_auto || documents.are_reachable() || !self.lets_anybody_register()
        })
    }
}
