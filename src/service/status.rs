//! Looking at a service that is installed, and removing it.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::host::{Here, HostCall};
use super::install::{InstallEvent, LOG_LINES, lingers, read, remove, step};
use super::manager::{Manager, ServiceState};
use super::{Scope, ServiceError, unit};
use crate::files;

/// How much of a log is read for its last lines, in bytes.
const MAX_LOG_BYTES: u64 = 8192;

/// A service that is installed.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Who starts it.
    pub manager: Manager,
    /// The unit.
    pub file: PathBuf,
    /// The root in it.
    pub root: String,
    /// How it is.
    pub state: ServiceState,
    /// Whether it starts at boot, where that can be said.
    pub lingers: Option<bool>,
    /// The last lines of its log, the newest last.
    pub log: Vec<String>,
}

/// The services of Denizen that are installed.
///
/// # Errors
/// If no manager can be asked.
pub fn status(here: &Here, scope: Option<Scope>) -> Result<Vec<Installed>, ServiceError> {
    let mut found = Vec::new();
    for manager in Manager::all(here, scope)? {
        let file = manager.file(here)?;
        let Some(text) = read(&file)?.filter(|text| unit::is_ours(text)) else { continue };
        let is_user = manager.scope == Scope::User;
        let lingers = match here.tool("loginctl") {
            Some(loginctl) if is_user => Some(lingers(&loginctl, here)?),
            _ => None,
        };
        let root = unit::root_of(&text).unwrap_or_default();
        let log = manager.log(here, LOG_LINES)?;
        found.push(Installed {
            state: manager.state(here)?,
            // Where the manager keeps none, Denizen's own.
            log: if log.is_empty() { last_lines(&Path::new(&root).join("logs/denizen.log")) } else { log },
            root,
            manager,
            file,
            lingers,
        });
    }
    Ok(found)
}

/// The end of a log, as far as it can be read.
fn last_lines(log: &Path) -> Vec<String> {
    let Ok(mut file) = files::open_regular(log) else { return Vec::new() };
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let mut end = Vec::new();
    let read = file.seek(SeekFrom::Start(size.saturating_sub(MAX_LOG_BYTES))).and_then(|_| file.read_to_end(&mut end));
    let text = if read.is_ok() { String::from_utf8_lossy(&end) } else { return Vec::new() };
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).map(|line| (*line).to_owned()).collect()
}

/// What removing a service would do.
#[derive(Debug, Clone)]
pub struct UninstallPlan {
    /// What is called before the unit is removed.
    pub first: HostCall,
    /// The unit.
    pub file: PathBuf,
    /// What is called once it is gone.
    pub then: HostCall,
    /// What is called after that, and may fail.
    pub last: HostCall,
    /// What would switch off that the user lingers, which is left on: other
    /// services may count on it.
    pub linger: Option<HostCall>,
    here: Here,
}

/// The plan for removing the service; nothing if none is installed.
///
/// # Errors
/// If there are two, or what is there was written by somebody else.
pub fn removal(here: &Here, scope: Option<Scope>) -> Result<Option<UninstallPlan>, ServiceError> {
    let mut managers = Vec::new();
    for manager in Manager::all(here, scope)? {
        let file = manager.file(here)?;
        match read(&file)? {
            Some(text) if unit::is_ours(&text) => managers.push((manager, file)),
            Some(_) if scope.is_some() => return Err(ServiceError::Foreign(file)),
            Some(_) | None => {}
        }
    }
    if managers.len() > 1 {
        return Err(ServiceError::Two);
    }
    let Some((manager, file)) = managers.pop() else { return Ok(None) };
    if manager.scope == Scope::System && !rustix::process::geteuid().is_root() {
        return Err(ServiceError::NotRoot);
    }
    let linger = match here.tool("loginctl") {
        Some(loginctl) if manager.scope == Scope::User => {
            lingers(&loginctl, here)?.then(|| HostCall::new(&loginctl, &["disable-linger"]))
        }
        _ => None,
    };
    Ok(Some(UninstallPlan {
        first: manager.end(),
        then: manager.forget(),
        last: manager.forget_failure(),
        file,
        linger,
        here: here.clone(),
    }))
}

impl UninstallPlan {
    /// Does it.
    ///
    /// # Errors
    /// With the step that failed; the unit is only removed once the service has stopped.
    pub fn remove(&self, tell: &mut dyn FnMut(InstallEvent<'_>)) -> Result<(), ServiceError> {
        let call = |call: &HostCall| step(call, &self.here);
        call(&self.first)?;
        tell(InstallEvent::Called(&self.first));
        remove(&self.file)?;
        tell(InstallEvent::Removed(&self.file));
        call(&self.then)?;
        tell(InstallEvent::Called(&self.then));
        let _forgotten = call(&self.last);
        Ok(())
    }
}
