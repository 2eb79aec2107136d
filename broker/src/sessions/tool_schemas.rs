//! What is known of the tools that a pool of warm children has: which of their arguments headers
//! repeat.
//!
//! The list is read from a child once, before the first call of a tool, and again when a child has
//! said that its tools changed. What clients list meanwhile is taken over page by page. Until a newer
//! list is there, calls are checked against the one before: there is no moment in which they are not.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bridge::modern::parameters::Mirrored;
use tokio::{
    sync::{Mutex as Turns, MutexGuard as Turn},
    time::Instant,
};

/// How long a child that was too slow to list its tools is not asked for them again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// What marks an argument that a header repeats.
const ANNOTATION: &str = "x-mcp-header";

#[derive(Debug, Default)]
pub(crate) struct ToolSchemas {
    known: Mutex<Known>,
    /// One call reads the list, and the others wait for it.
    reading: Turns<()>,
}

#[derive(Debug, Default)]
struct Known {
    mirrored: Option<Arc<Mirrored>>,
    /// How many changes children have told of, and how many of these the list is from after.
    told: u64,
    read: u64,
    /// When a child was too slow to list them.
    too_slow: Option<Instant>,
}

/// The right to read the list anew.
pub(crate) struct Reading<'a> {
    schemas: &'a ToolSchemas,
    told: u64,
    _turn: Turn<'a, ()>,
}

impl ToolSchemas {
    /// A child has told of so many changes that were not noted yet.
    pub(crate) fn note_changes(&self, changes: u64) {
        self.lock().told += changes;
    }

    /// What is known, unless it was never asked or is out of date.
    pub(crate) fn current(&self) -> Option<Arc<Mirrored>> {
        let known = self.lock();
        known.mirrored.clone().filter(|_| known.read == known.told)
    }

    /// The right to read the list, or what another has read meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn.
    pub(crate) async fn read(&self) -> Result<Reading<'_>, Arc<Mirrored>> {
        let turn = self.reading.lock().await;
        if let Some(current) = self.current() {
            return Err(current);
        }
        let known = self.lock();
        if known.too_slow.is_some_and(|at| at.elapsed() < AGAIN_AFTER) {
            return Err(known.mirrored.clone().unwrap_or_default());
        }
        let told = known.told;
        drop(known);
        Ok(Reading { schemas: self, told, _turn: turn })
    }

    /// Takes over a page that a client was given: the result of `tools/list`, raw. Tools of other pages
    /// stay as they are; a page that is the whole list takes the place of what was known.
    pub(crate) fn take_page(&self, result: &str, is_first: bool) {
        let mut known = self.lock();
        // Nothing needs an escape of this kind in the annotation's name, and whoever writes one is read.
        let is_about_none = !result.contains(ANNOTATION) && !result.contains("\\u00");
        if is_about_none && known.mirrored.as_ref().is_some_and(|mirrored| mirrored.is_empty()) {
            return;
        }
        let mut page = Mirrored::default();
        let is_whole = page.add(result).is_none() && is_first;
        match &mut known.mirrored {
            Some(mirrored) if !is_whole => {
                Arc::make_mut(mirrored).add(result);
            }
            // What was never read as a whole is read before it is used.
            None if !is_whole => {}
            mirrored => *mirrored = Some(Arc::new(page)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading<'_> {
    /// The list as it was read.
    pub(crate) fn done(self, mirrored: Mirrored) -> Arc<Mirrored> {
        let mirrored = Arc::new(mirrored);
        let mut known = self.schemas.lock();
        known.mirrored = Some(Arc::clone(&mirrored));
        known.read = self.told;
        known.too_slow = None;
        mirrored
    }

    /// The child does not answer: as [`failed`](Self::failed), and the calls that come soon do not wait
    /// for it either.
    pub(crate) fn too_slow(self) -> Arc<Mirrored> {
        self.schemas.lock().too_slow = Some(Instant::now());
        self.failed()
    }

    /// The list could not be read: what was known before, and the next call tries again.
    pub(crate) fn failed(self) -> Arc<Mirrored> {
        self.schemas.lock().mirrored.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use bridge::modern::request::Request;
    use http::HeaderMap;

    use super::*;

    fn page(tools: &[(&str, &str)], next: Option<&str>) -> String {
        let tools: Vec<_> = tools
            .iter()
            .map(|(name, header)| {
                let property = match *header {
                    "" => serde_json::json!({}),
                    header => serde_json::json!({ "x-mcp-header": header }),
                };
                serde_json::json!({ "name": name, "inputSchema": { "properties": { "a": property } } })
            })
            .collect();
        serde_json::json!({ "tools": tools, "nextCursor": next }).to_string()
    }

    async fn read(schemas: &ToolSchemas, pages: &[String]) {
        let Ok(reading) = schemas.read().await else { panic!("there is nothing to read") };
        let mut mirrored = Mirrored::default();
        for page in pages {
            mirrored.add(page);
        }
        reading.done(mirrored);
    }

    /// Whether a call of the tool that lacks the header is refused.
    fn is_checked(mirrored: &Mirrored, tool: &str) -> bool {
        let params = format!(r#"{{"name":"{tool}","arguments":{{"a":"x"}}}}"#);
        let message = bridge::modern::to_legacy::own_request("tools/call", &params);
        mirrored.check(&HeaderMap::new(), &Request::read(&message)).is_err()
    }

    #[tokio::test]
    async fn a_page_of_a_list_leaves_tools_of_other_pages_checked() {
        let schemas = ToolSchemas::default();
        let pages = [page(&[("one", "A")], Some("2")), page(&[("two", "B")], None)];
        read(&schemas, &pages).await;
        for (page, is_first) in [(&pages[0], true), (&pages[1], false)] {
            schemas.take_page(page, is_first);
            let current = schemas.current().expect("it is known");
            assert!(is_checked(&current, "one") && is_checked(&current, "two"));
        }
        // The page says that this one has changed.
        schemas.take_page(&page(&[("two", "")], None), false);
        let current = schemas.current().expect("it is known");
        assert!(is_checked(&current, "one") && !is_checked(&current, "two"));
        // The whole list: the other one is there no more.
        schemas.take_page(&page(&[("two", "B")], None), true);
        let current = schemas.current().expect("it is known");
        assert!(!is_checked(&current, "one") && is_checked(&current, "two"));
    }

    #[tokio::test]
    async fn a_page_is_no_list_before_one_was_read() {
        let schemas = ToolSchemas::default();
        schemas.take_page(&page(&[("one", "A")], Some("2")), true);
        assert!(schemas.current().is_none());
        schemas.take_page(&page(&[("one", "A")], None), true);
        assert!(is_checked(&schemas.current().expect("the whole list"), "one"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_does_not_list_its_tools_holds_up_one_call_a_minute() {
        let schemas = ToolSchemas::default();
        let Ok(reading) = schemas.read().await else { panic!("nothing is known") };
        assert!(!is_checked(&reading.too_slow(), "one"));
        tokio::time::advance(AGAIN_AFTER - Duration::from_secs(1)).await;
        assert!(schemas.read().await.is_err(), "it was asked not long ago");
        tokio::time::advance(Duration::from_secs(1)).await;
        read(&schemas, &[page(&[("one", "A")], None)]).await;
        // Slow again, when its tools have changed: the list before goes on to count.
        schemas.note_changes(1);
        let Ok(reading) = schemas.read().await else { panic!("it is out of date") };
        assert!(is_checked(&reading.too_slow(), "one"));
        let Err(known) = schemas.read().await else { panic!("it was asked just now") };
        assert!(is_checked(&known, "one"));
        // One that is gone is another matter: the next child is asked.
        let schemas = ToolSchemas::default();
        let Ok(reading) = schemas.read().await else { panic!("nothing is known") };
        reading.failed();
        assert!(schemas.read().await.is_ok());
    }

    #[tokio::test]
    async fn calls_are_checked_by_the_list_before_while_a_newer_one_is_not_there() {
        let schemas = ToolSchemas::default();
        read(&schemas, &[page(&[("one", "A")], None)]).await;
        schemas.note_changes(1);
        assert!(schemas.current().is_none(), "it is out of date");
        let Ok(reading) = schemas.read().await else { panic!("it is out of date") };
        assert!(is_checked(&reading.failed(), "one"), "the child did not answer");
        let Ok(reading) = schemas.read().await else { panic!("it is still out of date") };
        // Another change while it is read.
        schemas.note_changes(1);
        let mut list = Mirrored::default();
        list.add(&page(&[("two", "B")], None));
        reading.done(list);
        assert!(schemas.current().is_none(), "the list is from before the last change");
        read(&schemas, &[page(&[("three", "C")], None)]).await;
        assert!(is_checked(&schemas.current().expect("it is known"), "three"));
    }
}
