//! What the tests share: a root of their own, a model server that records what
//! it is sent, and the real agent CLIs pointed at it.

pub(crate) mod clis;
pub(crate) mod model;
pub(crate) mod root;
