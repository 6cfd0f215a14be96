//! What the tests share: a root of their own, a model server that keeps what it
//! is sent, the real agent CLIs pointed at it, and talking with them.

pub(crate) mod asked;
pub(crate) mod blocklog;
pub(crate) mod clis;
pub(crate) mod crash;
pub(crate) mod discord;
pub(crate) mod fake;
pub(crate) mod imports;
pub(crate) mod killat;
pub(crate) mod listener;
pub(crate) mod managers;
pub(crate) mod many;
pub(crate) mod model;
pub(crate) mod moving;
pub(crate) mod net;
pub(crate) mod promise;
pub(crate) mod proof;
pub(crate) mod pty;
pub(crate) mod renewal;
pub(crate) mod root;
pub(crate) mod server;
pub(crate) mod talk;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod tree;
pub(crate) mod walk;
pub(crate) mod words;
