//! What was asked for and by whom: columns that several tables share.

use auth::oauth::{AuthorizeRequest, User};
use sqlx::sqlite::SqliteRow;

use super::row::{Columns, Result};

pub(super) fn read_request(row: &SqliteRow) -> Result<AuthorizeRequest> {
    Ok(AuthorizeRequest {
        client: row.text("client")?,
        client_name: row.text("client_name")?,
        redirect_uri: row.text("redirect_uri")?,
        state: row.maybe_text("state")?,
        challenge: row.text("challenge")?,
        resource: row.text("resource")?,
        scope: row.text("scope")?,
        refreshes: row.flag("refreshes")?,
        reauthenticate: row.flag("reauthenticate")?,
    })
}

pub(super) fn read_user(row: &SqliteRow) -> Result<User> {
    Ok(User {
        issuer: row.text("issuer")?,
        subject: row.text("subject")?,
        display_name: row.text("display_name")?,
        provider: row.text("provider")?,
    })
}
