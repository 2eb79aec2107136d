//! Resources: two fixed ones, one that changes when told to, and a template.

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate},
};
use serde_json::json;

use crate::{content::RED_PIXEL_PNG, memory::Memory};

const TEXT: &str = "test://static-text";
const BINARY: &str = "test://static-binary";
/// Changes by the tool `touch_resource`.
const WATCHED: &str = "test://watched-resource";

pub(crate) fn list() -> Vec<Resource> {
    vec![
        Resource::new(TEXT, "Static text")
            .with_description("The same text every time")
            .with_mime_type("text/plain"),
        Resource::new(BINARY, "Static binary")
            .with_description("The same image every time")
            .with_mime_type("image/png"),
        Resource::new(WATCHED, "Watched resource")
            .with_description("Says how often it was touched; worth subscribing to")
            .with_mime_type("text/plain"),
    ]
}

pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("test://template/{id}/data", "Templated data")
            .with_description("One document per id")
            .with_mime_type("application/json"),
    ]
}

/// # Errors
/// Resource not found, with the URI in its data.
pub(crate) fn read(uri: &str, memory: &Memory) -> Result<ReadResourceResult, ErrorData> {
    let contents = match uri {
        TEXT => ResourceContents::text("This is the content of the static text resource.", uri)
            .with_mime_type("text/plain"),
        BINARY => ResourceContents::blob(RED_PIXEL_PNG, uri).with_mime_type("image/png"),
        WATCHED => {
            let times = memory.revision(WATCHED);
            ResourceContents::text(format!("Touched {times} times."), uri)
                .with_mime_type("text/plain")
        }
        _ => templated(uri).ok_or_else(|| {
            ErrorData::resource_not_found("Resource not found", Some(json!({ "uri": uri })))
        })?,
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

fn templated(uri: &str) -> Option<ResourceContents> {
    let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
    if id.is_empty() || id.contains('/') {
        return None;
    }
    let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
    Some(ResourceContents::text(data.to_string(), uri).with_mime_type("application/json"))
}
