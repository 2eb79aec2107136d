//! What one step has found.

/// Something a client would stumble over, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is wrong, as a sentence.
    pub(super) what: String,
    /// What may help.
    pub(super) hint: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Fails,
    NotChecked,
}

/// A step's findings, and what the next steps need of it.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    /// What later steps go on with. A step may fail and still have it.
    pub(super) value: Option<T>,
    /// One line for somebody in a hurry.
    pub(super) said: String,
    pub(super) faults: Vec<Fault>,
    /// What is worth knowing and no fault.
    pub(super) notes: Vec<String>,
    checked: bool,
}

impl<T> Outcome<T> {
    pub(super) fn ok(value: T, said: impl Into<String>) -> Self {
        let said = said.into();
        Self { value: Some(value), said, faults: Vec::new(), notes: Vec::new(), checked: true }
    }

    pub(super) fn fails(fault: Fault) -> Self {
        let faults = vec![fault];
        Self { value: None, said: String::new(), faults, notes: Vec::new(), checked: true }
    }

    pub(super) fn not_checked(why: impl Into<String>) -> Self {
        let said = why.into();
        Self { value: None, said, faults: Vec::new(), notes: Vec::new(), checked: false }
    }

    pub(super) fn with(mut self, faults: Vec<Fault>, notes: Vec<String>) -> Self {
        self.faults.extend(faults);
        self.notes.extend(notes);
        self
    }

    pub(super) fn state(&self) -> State {
        match (self.faults.is_empty(), self.checked) {
            (false, _) => State::Fails,
            (true, true) => State::Ok,
            (true, false) => State::NotChecked,
        }
    }
}

impl<T> From<Fault> for Outcome<T> {
    fn from(fault: Fault) -> Self {
        Self::fails(fault)
    }
}

/// What others wrote, fit for a terminal: one line, not endless, nothing that moves the cursor.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let clean = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut clean: String = clean.chars().filter(|c| !is_control(*c)).take(MOST + 1).collect();
    if clean.chars().count() > MOST {
        clean = clean.chars().take(MOST).chain(['…']).collect();
    }
    clean
}

/// Control characters, and those that turn the direction of a line.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
