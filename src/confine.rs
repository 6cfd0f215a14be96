//! What a child may see and do, as a value.
//!
//! The value is computed from the configuration and from `access/`, never from
//! a session's folder, and handed to the launcher, which applies it to itself
//! before it starts the provider. This version has one value: no walls.

use std::fmt;
use std::str::FromStr;

/// What a child may see and do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Everything that its user may: `walls = "off"`.
    Off,
}

impl Confinement {
    /// Confines this process and everything it starts from now on.
    pub fn apply(self) {
        match self {
            Self::Off => {}
        }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
        }
    }
}

impl FromStr for Confinement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => Err(format!("`{text}` is no confinement of this version")),
        }
    }
}
