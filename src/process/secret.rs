//! Getting a secret from where the configuration says that it is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::outside;
use crate::config::{Environment, Secret, SecretSource};
use crate::files;
use crate::sandbox::Ground;

/// How long a command may take to print a secret.
const LIMIT: Duration = Duration::from_secs(60);

/// The longest secret that is read, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Gets a secret. The error never holds it.
///
/// # Errors
/// With why it cannot be got.
pub async fn secret(source: &SecretSource, environment: &Environment, ground: &Ground<'_>) -> Result<Secret, String> {
    let text = match source {
        SecretSource::Written(secret) => return Ok(secret.clone()),
        SecretSource::Variable(name) => {
            environment.get(name).ok_or_else(|| format!("the environment variable {name} is not set"))?.to_owned()
        }
        SecretSource::File(path) => {
            use std::io::Read;
            let file = files::open_regular(path).map_err(|error| error.to_string())?;
            let mode = file.metadata().map(|metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()));
            let mode = mode.map_err(|error| format!("`{}`: {error}", path.display()))?;
            if mode & 0o077 != 0 {
                let found = mode & 0o777;
                return Err(format!("others can read `{}` (mode {found:o}): `chmod 600` it", path.display()));
            }
            let mut text = String::new();
            let read = file.take(MAX_SECRET_BYTES).read_to_string(&mut text);
            read.map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
            text
        }
        SecretSource::Command(words) => printed(words, environment, ground).await?,
    };
    let text = text.trim();
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Secret::new(text)) }
}

/// What a command of the configuration's owner prints. It runs as the owner
/// would run it: with this process's environment, in no session's folder.
#[expect(clippy::disallowed_methods, reason = "a command of the owner, which belongs to no session")]
async fn printed(words: &[String], environment: &Environment, ground: &Ground<'_>) -> Result<String, String> {
    let Some((program, arguments)) = words.split_first() else { return Err("the command is empty".to_owned()) };
    let taken = outside::OutsideProgram::named(program, environment, ground);
    let taken = taken.map_err(|reason| format!("`{program}` cannot be run: {reason}"))?;
    if let Some((file, dir)) = arguments.iter().find_map(|word| Some((word, ground.reaching(Path::new(word))?))) {
        return Err(format!("it is given `{file}`, and agents can write `{}`", dir.display()));
    }
    let environment = outside::environment(environment, ground);
    let mut command = tokio::process::Command::from(taken.command());
    command.args(arguments).env_clear().envs(environment.iter()).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    let output = output.map_err(|_| format!("`{program}` took longer than {}s", LIMIT.as_secs()))?;
    let output = output.map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{program}` failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{program}` printed something that is no text"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test writes what it then reads")]
mod tests {
    use super::*;

    async fn got(source: SecretSource) -> Result<String, String> {
        let environment: Environment = [("TOKEN", "abc"), ("PATH", "/usr/bin:/bin")].into_iter().collect();
        let store = crate::session::Store::at(Path::new("/nowhere"), files::Durability::Process);
        let ground = store.ground(&[]);
        secret(&source, &environment, &ground).await.map(|secret| secret.expose().to_owned())
    }

    #[tokio::test]
    async fn secrets_come_from_where_it_says() {
        use std::os::unix::fs::PermissionsExt;
        let command = |words: &[&str]| SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(got(SecretSource::Variable("TOKEN".to_owned())).await, Ok("abc".to_owned()));
        assert!(got(SecretSource::Variable("OTHER".to_owned())).await.is_err());
        assert_eq!(got(command(&["sh", "-c", "echo $TOKEN"])).await, Ok("abc".to_owned()));
        assert_eq!(got(command(&["sh", "-c", "exit 3"])).await, Err("`sh` failed (exit status: 3)".to_owned()));
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        std::fs::write(&file, "xyz\n").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("mode");
        assert!(got(SecretSource::File(file.clone())).await.is_err_and(|error| error.contains("mode 644")));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("mode");
        assert_eq!(got(SecretSource::File(file)).await, Ok("xyz".to_owned()));
    }
}
