//! What a look at a network found, for `denizen doctor`.

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// It is as it should be.
    Good,
    /// It works, and is worth knowing.
    Note,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// How it came out.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Examined {
    /// What was found, with nothing to be done.
    #[must_use]
    pub fn new(grade: Grade, found: impl Into<String>) -> Self {
        Self { grade, found: found.into(), remedy: None }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
