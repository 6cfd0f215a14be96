//! Tables of messages and where they go.
