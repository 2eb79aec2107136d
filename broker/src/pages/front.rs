//! The front page: what this is, and how to connect to it.

use askama::Template;
use serde_json::json;

use super::{filters, layout::Layout};

/// What stands on the front page. Everyone can read it, without signing in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontPage {
    /// The servers, the default one first.
    pub endpoints: Vec<EndpointView>,
    /// How a client authenticates.
    pub auth: AuthMode,
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// Its name in the configuration; what clients are told to call it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Its address.
    pub address: String,
}

/// How a client authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Not at all.
    Open,
    /// With a token that the operator gives out.
    Token,
    /// The user signs in, in a browser.
    SignIn,
}

/// One way to connect.
#[derive(Debug)]
struct Recipe {
    client: &'static str,
    /// What to do with the text.
    how: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "front.html")]
pub(super) struct Front<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a FrontPage,
}

impl Front<'_> {
    fn signs_in(&self) -> bool {
        self.page.auth == AuthMode::SignIn
    }

    /// How to connect to `endpoint`. Names and addresses come from the configuration, which accepts
    /// none that a shell would read differently.
    fn recipes(&self, endpoint: &EndpointView) -> Vec<Recipe> {
        let EndpointView { name, address, .. } = endpoint;
        let token = self.page.auth == AuthMode::Token;
        let header = if token { " \\\n  --header \"Authorization: Bearer $TOKEN\"" } else { "" };
        let mut code = json!({ "name": name, "type": "http", "url": address });
        let mut cursor = json!({ "url": address });
        if token {
            let bearer = "Bearer ${env:TOKEN}";
            code["headers"] = json!({ "Authorization": bearer });
            cursor["headers"] = json!({ "Authorization": bearer });
        }
        let cursor = json!({ "mcpServers": { name: cursor } });
        vec![
            Recipe {
                client: "Claude Code",
                how: "In a terminal:",
                text: format!("claude mcp add --transport http {name} {address}{header}"),
            },
            Recipe {
                client: "VS Code",
                how: "In a terminal:",
                text: format!("code --add-mcp '{code}'"),
            },
            Recipe {
                client: "Cursor",
                how: "In the file ~/.cursor/mcp.json:",
                text: format!("{cursor:#}"),
            },
            Recipe { client: "curl", how: self.curl_how(), text: self.curl(address) },
        ]
    }

    fn curl_how(&self) -> &'static str {
        if self.signs_in() {
            "To see that the server is there. The answer is 401 and says where to sign in, which \
             applications do by themselves:"
        } else {
            "To see that the server is there:"
        }
    }

    fn curl(&self, address: &str) -> String {
        let bearer = match self.page.auth {
            AuthMode::SignIn => return format!("curl -si {address}"),
            AuthMode::Token => " -H \"Authorization: Bearer $TOKEN\"",
            AuthMode::Open => "",
        };
        let hello = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": { "name": "curl", "version": "0" },
            },
        });
        format!(
            "curl -si {address}{bearer} \\\n  -H 'Content-Type: application/json' \\\n  \
             -H 'Accept: application/json, text/event-stream' \\\n  -d '{hello}'"
        )
    }
}
