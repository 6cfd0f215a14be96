//! The login of Claude Code: where it is, how it is renewed, and what the CLI
//! locks meanwhile.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::provider::{Ends, Field, LoginFile, LoginRules, LoginUser};

/// The file of a login with a subscription.
const CREDENTIALS: &str = ".credentials.json";

/// How the login is renewed: a renewal asks the server for the account's words where the file lacks them.
pub(super) const RULES: LoginRules = LoginRules {
    fields: &[
        (&["claudeAiOauth", "accessToken"], Field::Token),
        (&["claudeAiOauth", "refreshToken"], Field::Token),
        (&["claudeAiOauth", "expiresAt"], Field::Ends),
        (&["claudeAiOauth", "scopes"], Field::Words),
        (&["claudeAiOauth", "subscriptionType"], Field::Word),
        (&["claudeAiOauth", "rateLimitTier"], Field::Word),
    ],
    ends: |login| match login.pointer("/claudeAiOauth/refreshToken").and_then(Value::as_str) {
        Some(_) => Ends::at(login.pointer("/claudeAiOauth/expiresAt")),
        None => Ends::Never,
    },
};

/// The file, which has a directory of its own where the user chose one.
pub(super) fn file(user: &LoginUser<'_>) -> Option<LoginFile> {
    let chosen = user.environment.get("CLAUDE_SECURESTORAGE_CONFIG_DIR").filter(|chosen| !chosen.is_empty());
    let directory = chosen.map(PathBuf::from).or_else(|| user.directory("CLAUDE_CONFIG_DIR", ".claude"))?;
    Some(LoginFile::copied(directory.join(CREDENTIALS), CREDENTIALS))
}

/// The lock directories. The second is that of earlier versions, which this one
/// takes as well.
pub(super) fn locks(directory: &Path) -> Vec<PathBuf> {
    let mut beside = directory.as_os_str().to_owned();
    beside.push(".lock");
    vec![directory.join(".oauth_refresh.lock"), beside.into()]
}
