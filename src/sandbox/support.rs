//! What this machine can hold walls with, and what stands in the way where it
//! cannot: values and words. `process::probe` finds out.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of Landlock's interface that `walls = "full"` needs: version 1
/// forbids to move a file into another directory (Linux 5.19).
pub const FULL_LANDLOCK: u8 = 2;

/// The version of Landlock's interface that `walls = "kernel"` needs: from 6 on
/// it also keeps signals and abstract sockets apart (Linux 6.12).
pub const KERNEL_LANDLOCK: u8 = 6;

/// The version that a limit to TCP ports needs (Linux 6.7).
pub const PORTS_LANDLOCK: u8 = 4;

/// What this machine can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// Bubblewrap, and whether it can build a file system of its own here.
    pub bubblewrap: Result<PathBuf, Unsupported>,
    /// The version of Landlock's interface; 0 is none.
    pub landlock: u8,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
}

/// What stands in the way of walls, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unsupported {
    /// Bubblewrap is not installed.
    #[error("bubblewrap is not installed")]
    NoBubblewrap,
    /// The only bubblewrap is one that somebody else could have put there.
    #[error("bubblewrap is not installed, and `{}` is not used: {reason}", program.display())]
    Distrusted {
        /// The program.
        program: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The kernel does not give namespaces to ordinary users.
    #[error("bubblewrap cannot make namespaces here: {reason}")]
    Namespaces {
        /// What it said.
        reason: String,
        /// What is known to cause that here.
        cause: Cause,
    },
    /// The kernel has no Landlock, or too old a version.
    #[error("the kernel's Landlock has version {found}, and version {needed} is needed for {purpose}", found = describe(*found))]
    Landlock {
        /// The version; 0 is none.
        found: u8,
        /// The version that is needed.
        needed: u8,
        /// What for.
        purpose: String,
    },
    /// The kernel does not filter system calls.
    #[error("the kernel does not filter system calls (seccomp)")]
    NoSeccomp,
}

/// Why namespaces are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Ubuntu's AppArmor rule for user namespaces.
    AppArmor,
    /// Debian's switch `kernel.unprivileged_userns_clone`.
    Switch,
    /// `user.max_user_namespaces` is 0.
    ZeroNamespaces,
    /// A bubblewrap that cannot mount what was opened.
    OldBubblewrap,
    /// Inside a container.
    Container,
    /// Nothing that is known.
    Unknown,
}

fn describe(version: u8) -> String {
    if version == 0 { "0 (it is absent or switched off)".to_owned() } else { version.to_string() }
}

impl Unsupported {
    /// What to do about it, in one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoBubblewrap | Self::Distrusted { .. } => {
                "install the package `bubblewrap` (apt, dnf, pacman, apk), or choose `walls = \"kernel\"`"
            }
            Self::Namespaces { cause: Cause::AppArmor, .. } => {
                "Ubuntu's AppArmor keeps user namespaces from programs without a profile: give `/usr/bin/bwrap` one (docs/security.md has it), or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
            }
            Self::Namespaces { cause: Cause::Switch, .. } => "`sudo sysctl kernel.unprivileged_userns_clone=1`",
            Self::Namespaces { cause: Cause::ZeroNamespaces, .. } => "`sudo sysctl user.max_user_namespaces=15000`",
            Self::Namespaces { cause: Cause::OldBubblewrap, .. } => {
                "update the package `bubblewrap`: a version with `--bind-fd` is needed, 0.10 or one that the distribution has mended (CVE-2024-42472); or choose `walls = \"kernel\"`"
            }
            Self::Namespaces { cause: Cause::Container, .. } => {
                "in a container, allow user namespaces (`--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`), or choose `walls = \"kernel\"`"
            }
            Self::Namespaces { cause: Cause::Unknown, .. } => {
                "see `bwrap --ro-bind / / --unshare-all true`, or choose `walls = \"kernel\"`"
            }
            Self::Landlock { needed, .. } => match needed {
                0..=3 => "a kernel with Landlock is needed: Linux 5.19 or later, with `landlock` among its `lsm=`",
                4..=5 => "Linux 6.7 or later is needed, or `network = \"open\"`",
                _ => "Linux 6.12 or later is needed, or `walls = \"full\"`",
            },
            Self::NoSeccomp => "a kernel with CONFIG_SECCOMP_FILTER is needed",
        }
    }
}

impl Support {
    /// What stands in the way of `walls = "full"`.
    #[must_use]
    pub fn against_full(&self) -> Option<Unsupported> {
        match &self.bubblewrap {
            Err(obstacle) => Some(obstacle.clone()),
            Ok(_) if self.landlock < FULL_LANDLOCK => {
                Some(landlock(self.landlock, FULL_LANDLOCK, "`walls = \"full\"`"))
            }
            Ok(_) if !self.seccomp => Some(Unsupported::NoSeccomp),
            Ok(_) => None,
        }
    }

    /// What stands in the way of `walls = "kernel"`.
    #[must_use]
    pub fn against_kernel(&self) -> Option<Unsupported> {
        if self.landlock < KERNEL_LANDLOCK {
            return Some(landlock(self.landlock, KERNEL_LANDLOCK, "`walls = \"kernel\"`"));
        }
        (!self.seccomp).then_some(Unsupported::NoSeccomp)
    }

    /// What stands in the way of a limit to TCP ports.
    #[must_use]
    pub fn against_ports(&self) -> Option<Unsupported> {
        let purpose = "`network = \"providers\"`";
        (self.landlock < PORTS_LANDLOCK).then(|| landlock(self.landlock, PORTS_LANDLOCK, purpose))
    }
}

fn landlock(found: u8, needed: u8, purpose: &str) -> Unsupported {
    Unsupported::Landlock { found, needed, purpose: purpose.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_says_what_it_lacks() {
        let means = |bubblewrap, landlock| Support { bubblewrap, landlock, seccomp: true };
        let here = || Ok(PathBuf::from("/usr/bin/bwrap"));
        assert_eq!(means(here(), 2).against_full(), None);
        assert_eq!(means(here(), 6).against_kernel(), None);
        assert_eq!(means(Err(Unsupported::NoBubblewrap), 6).against_full(), Some(Unsupported::NoBubblewrap));
        assert_eq!(
            means(here(), 0).against_full().map(|obstacle| obstacle.to_string()).as_deref(),
            Some(
                "the kernel's Landlock has version 0 (it is absent or switched off), and version 2 is needed for `walls = \"full\"`"
            )
        );
        assert!(means(here(), 5).against_kernel().is_some());
        assert!(means(here(), 3).against_ports().is_some());
        assert_eq!(Support { seccomp: false, ..means(here(), 7) }.against_full(), Some(Unsupported::NoSeccomp));
    }
}
