//! `subscriptions/listen` on a child of the legacy era: what it tells of itself, as far as the client
//! asked for it (MCP 2026-07-28, "Subscriptions").

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bridge::{
    Bridge, Message, Notice, Source,
    modern::{discovery::Facts, from_legacy, listening},
    rpc,
};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::timeout,
};

use super::reply::Refusal;
use crate::sessions::warm::Place;

/// Messages that wait for a client that reads slowly; of what is more, it hears once.
const QUEUED: usize = 256;
/// How long the acknowledgement waits for a child that does not say that it tells of a resource.
const SUBSCRIBING: Duration = Duration::from_secs(5);
const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
const PROMPTS_CHANGED: &str = "notifications/prompts/list_changed";
const RESOURCES_CHANGED: &str = "notifications/resources/list_changed";
const UPDATED: &str = "notifications/resources/updated";
/// Resources that one stream may listen to.
const MAX_RESOURCES: usize = 256;

/// What a client asked to hear.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: BTreeSet<String>,
}

impl Filter {
    fn of(message: &Message) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow)]
            notifications: &'a RawValue,
        }
        let params = serde_json::from_str(message.payload().unwrap_or("{}")).ok();
        let filter = params.map(|Params { notifications }| notifications.get());
        // An array would be read as the members in their order.
        let filter = filter.filter(|filter| filter.starts_with('{'));
        filter.and_then(|filter| serde_json::from_str(filter).ok()).ok_or_else(|| {
            let words = "`notifications` must be an object of flags, and `resourceSubscriptions` in it \
                         a list of URIs";
            Refusal::new(StatusCode::BAD_REQUEST, rpc::INVALID_PARAMS, words)
        })
    }

    /// Leaves what the child tells at all.
    fn narrowed(mut self, facts: &Facts) -> Self {
        self.tools_list_changed &= facts.announces("tools", "listChanged");
        self.prompts_list_changed &= facts.announces("prompts", "listChanged");
        self.resources_list_changed &= facts.announces("resources", "listChanged");
        if !facts.announces("resources", "subscribe") {
            self.resource_subscriptions.clear();
        }
        while self.resource_subscriptions.len() > MAX_RESOURCES {
            self.resource_subscriptions.pop_last();
        }
        self
    }

    fn shown(&self) -> Value {
        let mut shown = serde_json::Map::new();
        for (name, wanted) in [
            ("toolsListChanged", self.tools_list_changed),
            ("promptsListChanged", self.prompts_list_changed),
            ("resourcesListChanged", self.resources_list_changed),
        ] {
            if wanted {
                shown.insert(name.to_owned(), true.into());
            }
        }
        if !self.resource_subscriptions.is_empty() {
            shown.insert("resourceSubscriptions".to_owned(), json!(self.resource_subscriptions));
        }
        shown.into()
    }

    fn wants(&self, method: &str, uri: Option<&str>) -> bool {
        match method {
            TOOLS_CHANGED => self.tools_list_changed,
            PROMPTS_CHANGED => self.prompts_list_changed,
            RESOURCES_CHANGED => self.resources_list_changed,
            UPDATED => uri.is_some_and(|uri| self.resource_subscriptions.contains(uri)),
            _ => false,
        }
    }

    /// All that it wants: methods, and what each is about.
    fn all(&self) -> Vec<(&'static str, Option<String>)> {
        let lists = [TOOLS_CHANGED, PROMPTS_CHANGED, RESOURCES_CHANGED];
        let lists = lists.into_iter().filter(|method| self.wants(method, None));
        let resources = self.resource_subscriptions.iter().map(|uri| (UPDATED, Some(uri.clone())));
        lists.map(|method| (method, None)).chain(resources).collect()
    }
}

/// Opens the stream: its first message is the acknowledgement.
pub(super) async fn open(
    place: Place,
    message: &Message,
    id: &str,
    facts: &Arc<Facts>,
) -> Result<Box<dyn Source>, Refusal> {
    let lease = place.lease.as_ref().ok_or_else(Refusal::child_gone)?;
    let bridge = lease.bridge.clone();
    let notices = bridge.notices();
    let filter = Filter::of(message)?.narrowed(facts);
    // One more, which is kept for the result: a client that reads slowly misses notifications, and is
    // told of the end all the same.
    let (sender, messages) = mpsc::channel(QUEUED + 1);
    let last = sender.clone().try_reserve_owned().map_err(|_| Refusal::child_gone())?;
    let (mut resources, subscribed) = Resources::subscribe(&bridge, &filter.resource_subscriptions);
    let leaving = lease.asked_to_leave();
    let end = end(id, Some(facts));
    let (subscription, late) = (id.to_owned(), BTreeMap::new());
    let mut listener = Listener { notices, filter, sender, late, last, subscription, end };
    let mut running = JoinSet::new();
    running.spawn(async move {
        tokio::pin!(leaving);
        // Once it is told, nothing that changes may go unheard.
        let refused = timeout(SUBSCRIBING, subscribed).await.unwrap_or_default();
        // What the child does not tell of is not agreed on.
        listener.filter.resource_subscriptions.retain(|uri| !refused.contains(uri));
        // Whoever wants it next has the child asked again.
        resources.leave(&refused);
        let _ = listener.sender.try_send(listener.acknowledgement());
        listener.run(leaving).await;
        drop((resources, place));
    });
    Ok(Box::new(Messages { messages, _running: running }))
}

/// The result with which a subscription ends when that is ours to do.
pub(super) fn end(id: &str, facts: Option<&Facts>) -> Bytes {
    let info = facts.and_then(|facts| facts.server_info.as_deref());
    from_legacy::own_response(id, "subscriptions/listen", &listening::ended(id), info)
}

struct Listener {
    notices: broadcast::Receiver<Notice>,
    filter: Filter,
    sender: mpsc::Sender<Bytes>,
    /// What waits for room, by what it is about: the newest of each, which says all that those before did.
    late: BTreeMap<(String, Option<String>), Bytes>,
    /// Room for the result.
    last: mpsc::OwnedPermit<Bytes>,
    /// The name of the subscription: the request's id, raw.
    subscription: String,
    /// The result with which the stream ends when that is ours to do.
    end: Bytes,
}

impl Listener {
    /// The first message: what the client will hear of.
    fn acknowledgement(&self) -> Bytes {
        listening::acknowledged(&self.subscription, &self.filter.shown().to_string())
    }

    /// Tells the client that something has changed, as soon as there is room for it.
    fn tell(&mut self, method: &str, uri: Option<&str>, params: &str) {
        let message = listening::told(&self.subscription, method, params);
        let message = match self.late.is_empty() {
            true => match self.sender.try_send(message) {
                Err(mpsc::error::TrySendError::Full(message)) => message,
                // Or the client has left.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            },
            // What came before goes before.
            false => message,
        };
        self.late.insert((method.to_owned(), uri.map(ToOwned::to_owned)), message);
    }

    /// Passes on what the client asked for, until it leaves or the child does.
    async fn run(mut self, mut leaving: impl Future<Output = ()> + Unpin) {
        loop {
            let notice = tokio::select! {
                () = self.sender.closed() => return,
                () = &mut leaving => Ok(Notice::Ended),
                notice = self.notices.recv() => notice,
                room = self.sender.reserve(), if !self.late.is_empty() => {
                    if let (Ok(room), Some((_, message))) = (room, self.late.pop_first()) {
                        room.send(message);
                    }
                    continue;
                }
            };
            match notice {
                Ok(Notice::Changed(message)) => {
                    let params = message.payload().unwrap_or("{}");
                    let read: Value = serde_json::from_str(params).unwrap_or_default();
                    let (method, uri) = (message.method(), read["uri"].as_str());
                    if self.filter.wants(&method, uri) {
                        self.tell(&method, uri, params);
                    }
                }
                // What was missed is not known: anything may have changed.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    for (method, uri) in self.filter.all() {
                        let params =
                            uri.as_ref().map_or_else(|| json!({}), |uri| json!({ "uri": uri }));
                        self.tell(method, uri.as_deref(), &params.to_string());
                    }
                }
                Ok(Notice::Ended) | Err(broadcast::error::RecvError::Closed) => {
                    self.last.send(self.end);
                    return;
                }
            }
        }
    }
}

/// What the listener passes on. It ends with the response.
struct Messages {
    messages: mpsc::Receiver<Bytes>,
    _running: JoinSet<()>,
}

impl Source for Messages {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.messages.poll_recv(cx)
    }
}

/// Subscriptions of the child that a stream needs.
struct Resources {
    bridge: Bridge,
    uris: BTreeSet<String>,
}

impl Resources {
    /// The future ends when the child has answered for each of them, with those that it refuses.
    fn subscribe(
        bridge: &Bridge,
        uris: &BTreeSet<String>,
    ) -> (Self, impl Future<Output = BTreeSet<String>> + Send + 'static + use<>) {
        let asked: Vec<_> = uris.iter().map(|uri| (uri.clone(), bridge.listen_to(uri))).collect();
        let all = async move {
            let mut refused = BTreeSet::new();
            for (uri, is_accepted) in asked {
                if !is_accepted.await {
                    refused.insert(uri);
                }
            }
            refused
        };
        (Self { bridge: bridge.clone(), uris: uris.clone() }, all)
    }

    /// Does without some of them.
    fn leave(&mut self, some: &BTreeSet<String>) {
        for uri in some.iter().filter(|uri| self.uris.remove(*uri)) {
            self.bridge.unlisten(uri);
        }
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        self.uris.iter().for_each(|uri| self.bridge.unlisten(uri));
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("filter", &self.filter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use bridge::Incoming;

    use super::*;

    /// A listener to one list and two resources, with room for `queued` messages and its result.
    fn listener(
        notices: broadcast::Receiver<Notice>,
        queued: usize,
    ) -> (Listener, mpsc::Receiver<Bytes>) {
        let (sender, messages) = mpsc::channel(queued + 1);
        let last = sender.clone().try_reserve_owned().expect("there is room");
        let filter = Filter {
            prompts_list_changed: true,
            resource_subscriptions: ["a:", "b:"].map(ToOwned::to_owned).into(),
            ..Filter::default()
        };
        let (late, end) = (BTreeMap::new(), Bytes::from_static(b"null"));
        let subscription = "7".to_owned();
        (Listener { notices, filter, sender, late, last, subscription, end }, messages)
    }

    fn changed(method: &str, params: &Value) -> Notice {
        let text = json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string();
        let incoming = Incoming::parse(&text.into(), 1).expect("a message");
        Notice::Changed(incoming.single().expect("one").clone())
    }

    /// What a client that reads to the end hears.
    async fn heard(mut messages: mpsc::Receiver<Bytes>) -> Vec<(Value, Value)> {
        let mut all = Vec::new();
        while let Some(message) = messages.recv().await {
            let message: Value = serde_json::from_slice(&message).expect("JSON");
            all.push((message["method"].clone(), message["params"]["uri"].clone()));
        }
        all
    }

    #[tokio::test]
    async fn a_storm_of_notifications_hides_no_change_from_a_listener() {
        let (notices, told) = broadcast::channel(4);
        let (listener, messages) = listener(told, QUEUED);
        let _ = notices.send(changed(PROMPTS_CHANGED, &json!({})));
        let _ = notices.send(changed(UPDATED, &json!({ "uri": "a:" })));
        for _ in 0..100 {
            let _ = notices.send(changed(TOOLS_CHANGED, &json!({})));
        }
        let _ = notices.send(Notice::Ended);
        listener.run(pending()).await;
        let prompts = (json!(PROMPTS_CHANGED), Value::Null);
        let [a, b] = ["a:", "b:"].map(|uri| (json!(UPDATED), json!(uri)));
        assert_eq!(heard(messages).await, [prompts, a, b, (Value::Null, Value::Null)]);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_hears_of_each_change_once_it_reads() {
        let (notices, told) = broadcast::channel(64);
        let (listener, mut messages) = listener(told, 1);
        let [a, b] = ["a:", "b:"].map(|uri| changed(UPDATED, &json!({ "uri": uri })));
        for notice in [&a, &b, &a, &b, &a] {
            let _ = notices.send(notice.clone());
        }
        let mut running = JoinSet::new();
        running.spawn(listener.run(pending()));
        while !notices.is_empty() {
            tokio::task::yield_now().await;
        }
        for uri in ["a:", "a:", "b:"] {
            let message: Value =
                serde_json::from_slice(&messages.recv().await.expect("a message")).expect("JSON");
            assert_eq!(message["params"]["uri"], uri);
        }
        let _ = notices.send(Notice::Ended);
        assert_eq!(heard(messages).await.len(), 1, "the result, and nothing before it");
    }
}
