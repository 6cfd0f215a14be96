//! With the real CLIs that can ask.
