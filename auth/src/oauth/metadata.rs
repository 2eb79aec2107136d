//! Metadata documents: where everything is, and what is understood.

use http::StatusCode;
use serde_json::json;

use super::{answer::Answer, config::Registration, server::AuthServer};

impl AuthServer {
    /// RFC 8414, also under the name OpenID Connect gave it.
    pub(crate) fn server_metadata(&self) -> Answer {
        let at = |path: &str| self.urls.address(path);
        let scopes: Vec<&str> =
            self.config.scopes.iter().map(|scope| scope.name.as_str()).collect();
        let methods = ["none", "client_secret_basic", "client_secret_post"];
        let mut body = json!({
            "issuer": self.issuer(),
            "authorization_endpoint": at("/oauth/authorize"),
            "token_endpoint": at("/oauth/token"),
            "revocation_endpoint": at("/oauth/revoke"),
            "introspection_endpoint": at("/oauth/introspect"),
            "scopes_supported": scopes,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post"
            ],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": self.documents.is_some(),
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
        });
        if !matches!(self.config.registration, Registration::Off) {
            body["registration_endpoint"] = at("/oauth/register").into();
        }
        Answer::json(StatusCode::OK, &body).cacheable()
    }
}
