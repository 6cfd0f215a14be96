//! Small pieces beside their raw twins.

fn main() {}
