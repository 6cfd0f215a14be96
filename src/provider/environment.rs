//! The environment of a provider's child: an allow-list, and nothing of the
//! daemon's own.

use super::{Invocation, Options, Provider};
use crate::config::Environment;

/// The variables that every child inherits: who and where it is, how to speak
/// and to whom. `LC_*` is a prefix.
pub const BASIC_VARIABLES: &[&str] = &[
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_*",
    "TZ",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// The environment of a provider's child: the basic variables, the provider's
/// own, those that the configuration adds, and what the invocation sets.
#[must_use]
pub fn child_environment(
    environment: &Environment,
    provider: &dyn Provider,
    options: &Options,
    invocation: &Invocation,
) -> Environment {
    let allowed = |name: &str| {
        let listed = |list: &[&str]| {
            list.iter().any(|allowed| match allowed.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => *allowed == name,
            })
        };
        listed(BASIC_VARIABLES) || listed(provider.variables()) || options.env.iter().any(|allowed| allowed == name)
    };
    let inherited = environment.iter().filter(|(name, _)| name.to_str().is_some_and(allowed));
    let mut child: Environment = inherited.collect();
    for (name, value) in &invocation.env {
        child.set(name.clone(), value.clone());
    }
    child
}
