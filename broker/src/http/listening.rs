//! `subscriptions/listen` on a child of the legacy era: what it tells of itself, as far as the client
//! asked for it (MCP 2026-07-28, "Subscriptions").

use std::{
    collections::BTreeSet,
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

/// Messages that wait for a client that reads slowly; it misses what is more.
const QUEUED: usize = 256;
/// How long the acknowledgement waits for a child that does not say that it tells of a resource.
const SUBSCRIBING: Duration = Duration::from_secs(5);
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

    fn wants(&self, method: &str, params: &Value) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools_list_changed,
            "notifications/prompts/list_changed" => self.prompts_list_changed,
            "notifications/resources/list_changed" => self.resources_list_changed,
            "notifications/resources/updated" => {
                let uri = params["uri"].as_str();
                uri.is_some_and(|uri| self.resource_subscriptions.contains(uri))
            }
            _ => false,
        }
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
    let mut listener = Listener { notices, filter, sender, last, subscription: id.into(), end };
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

    /// Passes on what the client asked for, until it leaves or the child does.
    async fn run(mut self, mut leaving: impl Future<Output = ()> + Unpin) {
        loop {
            let notice = tokio::select! {
                () = self.sender.closed() => return,
                () = &mut leaving => Ok(Notice::Ended),
                notice = self.notices.recv() => notice,
            };
            match notice {
                Ok(Notice::Changed(message)) => {
                    let payload = message.payload().unwrap_or("{}");
                    let params: Value = serde_json::from_str(payload).unwrap_or_default();
                    let method = message.method();
                    if self.filter.wants(&method, &params) {
                        let told = listening::told(&self.subscription, &message);
                        let _ = self.sender.try_send(told);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
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
