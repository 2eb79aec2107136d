//! The numbers an operator watches, in Prometheus' text format.
//!
//! Names and labels are a contract with dashboards. Labels are bounded: methods outside the
//! protocol count as `other`, and no owner or session is ever a label.

use std::sync::{Mutex, PoisonError, atomic::AtomicI64};

use auth::{Denied, upstream::Outcome};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use session::WakeReason;

/// Labels of one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) server: String,
    pub(crate) method: &'static str,
    pub(crate) outcome: &'static str,
}

/// An identity provider's label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ProviderLabel {
    pub(crate) provider: String,
}

/// A server's label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ServerLabel {
    pub(crate) server: String,
}

/// A server's sessions in one state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabels {
    pub(crate) server: String,
    pub(crate) state: &'static str,
}

/// A server's failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) server: String,
    pub(crate) reason: &'static str,
}

/// What ends the descendants of a server's child processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MechanismLabels {
    pub(crate) server: String,
    pub(crate) mechanism: &'static str,
}

/// The one media type that a client takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AcceptLabel {
    pub(crate) accept: &'static str,
}

/// What came of requests that children sent to their upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EgressLabels {
    pub(crate) server: String,
    pub(crate) status: &'static str,
}

/// Why something happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

/// What came of renewals at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefreshLabels {
    pub(crate) provider: String,
    pub(crate) outcome: &'static str,
}

/// Every metric of the broker.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    pub(crate) sessions: Family<StateLabels, Gauge>,
    pub(crate) wakes: Family<ReasonLabel, Counter>,
    pub(crate) children: Family<ServerLabel, Gauge>,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) request_seconds: Histogram,
    pub(crate) spawn_seconds: Histogram,
    pub(crate) spawn_failures: Family<ReasonLabels, Counter>,
    pub(crate) out_of_memory: Family<ServerLabel, Counter>,
    pub(crate) containment: Family<MechanismLabels, Gauge>,
    pub(crate) reaped: Family<ReasonLabel, Counter>,
    pub(crate) auth_failures: Family<ReasonLabel, Counter>,
    pub(crate) upstream_refresh: Family<RefreshLabels, Counter>,
    pub(crate) narrow_grants: Family<ProviderLabel, Counter>,
    pub(crate) repeated_refreshes: Counter,
    pub(crate) dropped_lines: Family<ServerLabel, Counter>,
    pub(crate) unread_answers: Family<ServerLabel, Counter>,
    pub(crate) narrow_accepts: Family<AcceptLabel, Counter>,
    pub(crate) egress: Family<EgressLabels, Counter>,
    pub(crate) egress_lacking: Family<ServerLabel, Counter>,
    child_rss: Gauge<i64, AtomicI64>,
}

/// From half a millisecond, a call to a quick server, to five minutes, the default timeout.
const REQUEST_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0];
/// From a native program to a package runner that downloads first.
const SPAWN_BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Mutex::default(),
            sessions: Family::default(),
            wakes: Family::default(),
            children: Family::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(REQUEST_BUCKETS),
            spawn_seconds: Histogram::new(SPAWN_BUCKETS),
            spawn_failures: Family::default(),
            out_of_memory: Family::default(),
            containment: Family::default(),
            reaped: Family::default(),
            auth_failures: Family::default(),
            upstream_refresh: Family::default(),
            narrow_grants: Family::default(),
            repeated_refreshes: Counter::default(),
            dropped_lines: Family::default(),
            unread_answers: Family::default(),
            narrow_accepts: Family::default(),
            egress: Family::default(),
            egress_lacking: Family::default(),
            child_rss: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("mcp_broker");
        registry.register(
            "sessions",
            "Sessions by state: live, stopping, or asleep until the next request",
            metrics.sessions.clone(),
        );
        registry.register(
            "wakes",
            "Sessions that continued with a new child process",
            metrics.wakes.clone(),
        );
        registry.register("children", "Child processes", metrics.children.clone());
        // The encoder adds `_total` to counters.
        registry.register("requests", "Requests by outcome", metrics.requests.clone());
        registry.register(
            "request_seconds",
            "Seconds from a request to its last answer",
            metrics.request_seconds.clone(),
        );
        registry.register(
            "spawn_seconds",
            "Seconds from the start of a child process to its answer to initialize",
            metrics.spawn_seconds.clone(),
        );
        registry.register(
            "spawn_failures",
            "Child processes that did not start or did not answer initialize",
            metrics.spawn_failures.clone(),
        );
        registry.register(
            "out_of_memory",
            "Child processes that the kernel ended because they reached their memory limit",
            metrics.out_of_memory.clone(),
        );
        registry.register(
            "child_containment",
            "What ends the descendants of a server's child processes: 1 for the mechanism in use",
            metrics.containment.clone(),
        );
        registry.register(
            "reaped",
            "Child processes that were stopped, by reason",
            metrics.reaped.clone(),
        );
        registry.register(
            "auth_failures",
            "Requests refused before they reached a session",
            metrics.auth_failures.clone(),
        );
        registry.register(
            "upstream_refresh",
            "Renewals of users' credentials at identity providers",
            metrics.upstream_refresh.clone(),
        );
        registry.register(
            "upstream_narrow_grants",
            "Sign-ins and renewals for which an identity provider granted less than the configured scopes",
            metrics.narrow_grants.clone(),
        );
        registry.register(
            "oauth_refreshes_repeated",
            "Refresh tokens that a client presented again within oauth.refresh_grace",
            metrics.repeated_refreshes.clone(),
        );
        registry.register(
            "child_lines_dropped",
            "Lines of child processes that were dropped: not a message, or no request waits for the answer",
            metrics.dropped_lines.clone(),
        );
        registry.register(
            "answers_unread",
            "Answers that were dropped before the client read them: over stream.max_unread or stream.max_unread_per_owner",
            metrics.unread_answers.clone(),
        );
        registry.register(
            "requests_narrow_accept",
            "Requests whose Accept header names JSON alone or event streams alone; the protocol asks for both",
            metrics.narrow_accepts.clone(),
        );
        registry.register(
            "egress_requests",
            "Requests of child processes to their upstream, by class of status; refused and unreachable are the broker's own answers",
            metrics.egress.clone(),
        );
        registry.register(
            "egress_lacking_rights",
            "Requests of child processes that their upstream refused because the user's token lacks a right",
            metrics.egress_lacking.clone(),
        );
        registry.register(
            "child_rss_bytes",
            "Resident memory of all child processes, without their descendants",
            metrics.child_rss.clone(),
        );
        metrics.registry = Mutex::new(registry);
        // A counter starts at zero instead of being absent, or a query for a rate would lose its first
        // increase.
        for reason in Denied::REASONS {
            drop(metrics.auth_failures.get_or_create(&ReasonLabel { reason }));
        }
        for reason in WakeReason::ALL.map(WakeReason::as_str) {
            drop(metrics.wakes.get_or_create(&ReasonLabel { reason }));
        }
        metrics
    }

    /// Lets the renewals at `provider` be counted from zero.
    pub(crate) fn expect_renewals(&self, provider: &str) {
        for outcome in Outcome::ALL {
            let labels = RefreshLabels { provider: provider.to_owned(), outcome: outcome.name() };
            drop(self.upstream_refresh.get_or_create(&labels));
        }
    }

    /// The counter of a server's requests with this method and outcome.
    pub(crate) fn counter(
        &self,
        server: &str,
        method: &'static str,
        outcome: &'static str,
    ) -> Counter {
        let labels = RequestLabels { server: server.to_owned(), method, outcome };
        self.requests.get_or_create_owned(&labels)
    }

    /// The page of `/metrics`. `child_rss` is read when it is asked for, not all the time.
    pub(crate) fn page(&self, child_rss: u64) -> String {
        self.child_rss.set(i64::try_from(child_rss).unwrap_or(i64::MAX));
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut page, &registry).expect("writing to a string does not fail");
        page
    }
}

/// The label of a method: itself if the protocol knows it.
pub(crate) fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 24] = [
        "initialize",
        "ping",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "server/discover",
        "subscriptions/listen",
        "logging/setLevel",
        "tasks/get",
        "tasks/update",
        "tasks/list",
        "tasks/result",
        "tasks/cancel",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
    ];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_contract() {
        let metrics = Metrics::new();
        metrics.counter("demo", method_label("tools/call"), "ok").inc();
        metrics.request_seconds.observe(0.003);
        let page = metrics.page(7);
        let line = r#"mcp_broker_requests_total{server="demo",method="tools/call",outcome="ok"} 1"#;
        assert!(page.contains(line), "{page}");
        assert!(page.contains("mcp_broker_request_seconds_bucket{le=\"0.005\"} 1"), "{page}");
        assert!(page.contains("mcp_broker_child_rss_bytes 7"), "{page}");
        assert!(page.contains(r#"mcp_broker_wakes_total{reason="rotated"} 0"#), "{page}");
        let refused = r#"mcp_broker_auth_failures_total{reason="wrong_audience"} 0"#;
        assert!(page.contains(refused), "{page}");
        assert!(!page.contains("mcp_broker_upstream_refresh"), "no upstream, no renewals: {page}");
        metrics.expect_renewals("forgejo");
        let line =
            r#"mcp_broker_upstream_refresh_total{provider="forgejo",outcome="sign_in_again"} 0"#;
        assert!(metrics.page(7).contains(line), "{}", metrics.page(7));
    }

    #[test]
    fn a_made_up_method_makes_no_label() {
        assert_eq!(method_label("tools/call"), "tools/call");
        assert_eq!(method_label("x".repeat(1000).as_str()), "other");
    }
}
