//! Figures by name, for whoever compares runs.

use std::{fs, io, path::Path};

use serde_json::{Map, Number, Value};

/// What a run measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Map<String, Value>,
}

impl Report {
    /// Adds a figure; `name` ends with its unit.
    pub(crate) fn add(&mut self, name: impl Into<String>, figure: f64) {
        let rounded = (figure * 1000.0).round() / 1000.0;
        let figure = Number::from_f64(rounded).map_or(Value::Null, Value::Number);
        self.figures.insert(name.into(), figure);
    }

    /// Writes one JSON object.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, format!("{:#}\n", Value::Object(self.figures.clone())))
    }
}
