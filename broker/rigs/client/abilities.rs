//! What each kind of server can be asked.

use clap::ValueEnum;
use rmcp::model::JsonObject;
use serde_json::{Value, json};

/// Which server is behind the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// `rigs/everything`.
    Fixture,
    /// `@modelcontextprotocol/server-everything`.
    Everything,
    /// `@modelcontextprotocol/server-filesystem`.
    Filesystem,
    /// `mcp-server-git`.
    Git,
    /// `examples/server/everything` of the official SDK for Go.
    GoSdk,
    /// `examples/everything` of `mcp-go`.
    McpGo,
}

/// A tool call, with the answer's text where it is known to the letter.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) arguments: JsonObject,
    pub(crate) text: Option<String>,
}

impl Call {
    pub(crate) fn new(name: &'static str, arguments: Value) -> Self {
        let Value::Object(arguments) = arguments else { unreachable!("arguments are an object") };
        Self { name, arguments, text: None }
    }

    fn bare(name: &'static str) -> Self {
        Self::new(name, json!({}))
    }

    fn answers(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// How often it reports progress, where that is known.
    pub(crate) fn steps(&self) -> Option<u64> {
        self.arguments.get("steps")?.as_u64()
    }
}

/// A call that updates a resource, and the resource.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) uri: &'static str,
    pub(crate) by: Call,
}

/// A story whose entry is missing does not apply to the server.
#[derive(Debug, Default)]
pub(crate) struct Abilities {
    pub(crate) tools: &'static [&'static str],
    pub(crate) content: Option<Call>,
    pub(crate) progress: Option<Call>,
    pub(crate) sampling: Option<Call>,
    pub(crate) elicitation: Option<Call>,
    pub(crate) logging: Option<Call>,
    pub(crate) at_once: Vec<Call>,
    pub(crate) slow: Option<Call>,
    pub(crate) after: Option<Call>,
    pub(crate) resumed: Option<Call>,
    pub(crate) roots: Option<Call>,
    pub(crate) update: Option<Update>,
    pub(crate) process: Option<Call>,
    pub(crate) crash: Option<Call>,
    /// It asks and logs while no call is under way.
    pub(crate) speaks_unasked: bool,
}

impl Kind {
    /// `path` is the directory that the server was started with.
    pub(crate) fn abilities(self, path: &str) -> Abilities {
        match self {
            Self::Fixture => fixture(),
            Self::Everything => everything(),
            Self::Filesystem => filesystem(path),
            Self::Git => git(path),
            Self::GoSdk => go_sdk(),
            Self::McpGo => mcp_go(),
        }
    }
}

fn fixture() -> Abilities {
    let echo = |text| Call::new("echo", json!({ "text": text })).answers(text);
    let watched = "test://watched-resource";
    Abilities {
        tools: &[
            "test_simple_text",
            "test_tool_with_progress",
            "test_sampling",
            "test_elicitation",
            "echo",
            "sleep",
        ],
        content: Some(
            Call::bare("test_simple_text").answers("This is a simple text response for testing."),
        ),
        progress: Some(Call::bare("test_tool_with_progress")),
        sampling: Some(Call::new("test_sampling", json!({ "prompt": "Say hello." }))),
        elicitation: Some(Call::new("test_elicitation", json!({ "message": "Who are you?" }))),
        logging: Some(Call::bare("test_tool_with_logging")),
        at_once: vec![Call::new("sleep", json!({ "ms": 200 })), echo("one"), echo("two")],
        slow: Some(Call::new("sleep", json!({ "ms": 60_000 }))),
        after: Some(echo("still here")),
        resumed: Some(Call::bare("test_tool_with_progress")),
        roots: Some(Call::bare("test_input_required_result_list_roots")),
        update: Some(Update {
            uri: watched,
            by: Call::new("touch_resource", json!({ "uri": watched })),
        }),
        process: Some(Call::bare("pid")),
        crash: Some(Call::bare("crash")),
        speaks_unasked: false,
    }
}

fn everything() -> Abilities {
    let echo =
        |text: &str| Call::new("echo", json!({ "message": text })).answers(format!("Echo: {text}"));
    let long = |duration: Value, steps: u64| {
        Call::new("trigger-long-running-operation", json!({ "duration": duration, "steps": steps }))
            .answers(format!(
                "Long running operation completed. Duration: {duration} seconds, Steps: {steps}."
            ))
    };
    Abilities {
        tools: &["echo", "get-sum", "trigger-long-running-operation", "toggle-simulated-logging"],
        content: Some(echo("grüße – 你好 \u{2028} \"q\"")),
        progress: Some(long(json!(0.3), 3)),
        sampling: Some(Call::new("trigger-sampling-request", json!({ "prompt": "Say hello." }))),
        elicitation: Some(Call::bare("trigger-elicitation-request")),
        logging: Some(Call::bare("toggle-simulated-logging")),
        at_once: vec![
            long(json!(0.4), 4),
            long(json!(0.3), 2),
            Call::new("get-sum", json!({ "a": 2, "b": 40 })).answers("The sum of 2 and 40 is 42."),
        ],
        slow: Some(long(json!(6), 60)),
        after: Some(echo("still here")),
        resumed: Some(long(json!(1), 5)),
        roots: Some(Call::bare("get-roots-list")),
        update: Some(Update {
            uri: "demo://resource/dynamic/text/1",
            by: Call::bare("toggle-subscriber-updates"),
        }),
        speaks_unasked: true,
        ..Abilities::default()
    }
}

fn filesystem(path: &str) -> Abilities {
    let about = |name| Call::new(name, json!({ "path": path }));
    let allowed = Call::bare("list_allowed_directories");
    Abilities {
        tools: &["read_text_file", "write_file", "list_directory", "list_allowed_directories"],
        at_once: vec![
            allowed.clone().answers(format!("Allowed directories:\n{path}")),
            about("list_directory"),
            about("get_file_info"),
        ],
        roots: Some(allowed),
        ..Abilities::default()
    }
}

fn git(path: &str) -> Abilities {
    let about = |name| Call::new(name, json!({ "repo_path": path }));
    let show = Call::new("git_show", json!({ "repo_path": path, "revision": "HEAD" }));
    Abilities {
        tools: &["git_status", "git_log", "git_show", "git_diff"],
        at_once: vec![about("git_status"), about("git_log"), show],
        ..Abilities::default()
    }
}

fn go_sdk() -> Abilities {
    let greet =
        |name: &str| Call::new("greet", json!({ "name": name })).answers(format!("Hi {name}"));
    Abilities {
        tools: &["greet", "log", "sample", "elicit (form)", "roots"],
        content: Some(greet("Ada")),
        at_once: vec![greet("one"), greet("two"), greet("three")],
        ..Abilities::default()
    }
}

fn mcp_go() -> Abilities {
    let echo =
        |text: &str| Call::new("echo", json!({ "message": text })).answers(format!("Echo: {text}"));
    let long = |duration: u64, steps: u64| {
        Call::new("longRunningOperation", json!({ "duration": duration, "steps": steps }))
    };
    Abilities {
        tools: &["echo", "add", "longRunningOperation", "getTinyImage"],
        content: Some(echo("grüße – 你好 \u{2028} \"q\"")),
        progress: Some(long(1, 4)),
        // None that counts its progress: the last one may come after the result, and is nobody's
        // then.
        at_once: vec![
            Call::new("add", json!({ "a": 2, "b": 40 }))
                .answers("The sum of 2.000000 and 40.000000 is 42.000000."),
            echo("one"),
            echo("two"),
        ],
        slow: Some(long(6, 60)),
        after: Some(echo("still here")),
        ..Abilities::default()
    }
}
