//! Being written.
use super::*;
/// The provider.
#[derive(Debug)]
pub(super) struct Codex;
impl Provider for Codex {
    fn name(&self) -> &'static str {
        "codex"
    }
    fn program(&self) -> Option<&'static str> {
        Some("codex")
    }
    fn login_hint(&self) -> &'static str {
        ""
    }
    fn holds(&self, _id: &str, _file: &Path) -> bool {
        false
    }
    fn prepare(&self, _turn: &Turn<'_>) -> Vec<Step> {
        Vec::new()
    }
    fn invocation(&self, turn: &Turn<'_>) -> Result<Invocation, ProviderError> {
        Ok(Invocation::of(turn.program))
    }
    fn parser(&self, _turn: &Turn<'_>) -> Box<dyn Parser> {
        unimplemented!()
    }
}
