//! The steps in their order, and how they are told.

use std::fmt;

use serde_json::{Value, json};

use super::outcome::{Fault, Outcome, State};

/// A step of a client's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Address,
    Challenge,
    ResourceMetadata,
    ServerMetadata,
    Registration,
    SignIn,
    Token,
    Initialize,
    Tools,
    Stream,
    End,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Address,
        Self::Challenge,
        Self::ResourceMetadata,
        Self::ServerMetadata,
        Self::Registration,
        Self::SignIn,
        Self::Token,
        Self::Initialize,
        Self::Tools,
        Self::Stream,
        Self::End,
    ];

    /// Stable: machines read it.
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Challenge => "challenge",
            Self::ResourceMetadata => "resource metadata",
            Self::ServerMetadata => "server metadata",
            Self::Registration => "registration",
            Self::SignIn => "sign-in",
            Self::Token => "token",
            Self::Initialize => "initialize",
            Self::Tools => "tools/list",
            Self::Stream => "stream",
            Self::End => "end",
        }
    }
}

#[derive(Debug)]
struct Line {
    step: Step,
    state: State,
    said: String,
    faults: Vec<Fault>,
    notes: Vec<String>,
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Report {
    url: String,
    lines: Vec<Line>,
}

impl Report {
    pub(super) fn new(url: String) -> Self {
        Self { url, lines: Vec::new() }
    }

    /// Takes a step's outcome down, and gives what later steps need.
    pub(super) fn take<T>(&mut self, step: Step, outcome: Outcome<T>) -> Option<T> {
        let state = outcome.state();
        let Outcome { value, said, faults, notes, .. } = outcome;
        let said = match faults.first() {
            Some(fault) => fault.what.clone(),
            None => said,
        };
        self.lines.push(Line { step, state, said, faults, notes });
        value
    }

    /// Every step that has no line yet was not checked, because of `why`.
    pub(super) fn close(mut self, why: &str) -> Self {
        for step in Step::ALL {
            if !self.lines.iter().any(|line| line.step == step) {
                self.take(step, Outcome::<()>::not_checked(why));
            }
        }
        self.lines.sort_by_key(|line| Step::ALL.iter().position(|step| *step == line.step));
        self
    }

    pub(super) fn is_fine(&self) -> bool {
        self.lines.iter().all(|line| line.state != State::Fails)
    }

    pub(super) fn as_json(&self) -> Value {
        let steps = self.lines.iter().map(|line| {
            let state = match line.state {
                State::Ok => "ok",
                State::Fails => "fails",
                State::NotChecked => "not checked",
            };
            let faults = line.faults.iter();
            let faults = faults.map(|fault| json!({ "what": fault.what, "hint": fault.hint }));
            json!({
                "step": line.step.name(),
                "state": state,
                "said": line.said,
                "faults": faults.collect::<Value>(),
                "notes": line.notes,
            })
        });
        json!({ "url": self.url, "ok": self.is_fine(), "steps": steps.collect::<Value>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.url)?;
        for line in &self.lines {
            let state = match line.state {
                State::Ok => "ok",
                State::Fails => "FAILS",
                State::NotChecked => "not checked",
            };
            writeln!(f, "  {state:<12} {:<18} {}", line.step.name(), line.said)?;
        }
        for line in &self.lines {
            for fault in &line.faults {
                writeln!(f, "\n{} fails: {}", line.step.name(), fault.what)?;
                writeln!(f, "  Try: {}", fault.hint)?;
            }
        }
        let mut notes = self
            .lines
            .iter()
            .flat_map(|line| line.notes.iter().map(move |note| (line.step.name(), note)))
            .peekable();
        if notes.peek().is_some() {
            writeln!(f, "\nWorth knowing:")?;
        }
        for (step, note) in notes {
            writeln!(f, "  {step}: {note}")?;
        }
        let failing = self.lines.iter().filter(|line| line.state == State::Fails).count();
        match failing {
            0 => write!(f, "\nNothing that was checked fails."),
            1 => write!(f, "\nOne step fails."),
            several => write!(f, "\n{several} steps fail."),
        }
    }
}
