//! The log: on standard error, pretty for people and JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// Changes what is logged while the broker runs.
#[derive(Debug, Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

/// Installs the log of the process. Only `main` calls this, once.
#[must_use]
pub fn install(log: &Log) -> LogControl {
    let (filter, handle) = reload::Layer::new(filter(log));
    let pretty = match log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let base = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let format = if pretty {
        base.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
    } else {
        base.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(filter).with(format).init();
    LogControl(handle)
}

impl LogControl {
    /// Puts another filter in force.
    pub fn set(&self, log: &Log) {
        // Fails only when the subscriber is gone, and then nobody reads it.
        let _ = self.0.reload(filter(log));
    }
}

/// The configuration has checked that the text is a filter.
fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"))
}
